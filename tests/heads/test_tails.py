"""The end of a head that says so gives a logit from the cells around it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import segattn
from segattn.models.build import HEADS
from segattn.models.segmenter import Segmenter

BACKBONES = {"attanet_light": "attanet_light"}
NAMES = [name for name in HEADS if name not in ("danet", "light_ham", "ham", "semantic_fpn", "fcn")]


def network(head: str) -> Segmenter:
    torch.manual_seed(0)
    model = segattn.build(BACKBONES.get(head, "resnet18"), head, num_classes=3).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # zeros beyond the border are then not what a norm gives there
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model


@pytest.mark.parametrize("name", HEADS)
def test_the_heads_that_end_in_convolutions_say_so(name: str) -> None:
    model = network(name) if name != "light_ham" else segattn.build("van_tiny", name, num_classes=3)
    assert hasattr(model.head, "tail") == (name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_cut_to_the_cells_around_it_a_logit_is_the_same(name: str) -> None:
    model = network(name)
    path, reach = model.head.tail
    module = model.head.get_submodule(path)
    torch.manual_seed(1)
    with torch.no_grad():
        features = model.backbone(torch.randn(1, 3, 97, 161))
        sizes: list[torch.Size] = []
        handle = module.register_forward_pre_hook(lambda _, maps: sizes.append(maps[0].shape[-2:]))
        whole = model.head.main(features)
        handle.remove()
        assert sizes == [whole.shape[-2:]]
        h, w = whole.shape[-2:]
        for row, column in ((0, 0), (h // 2, w // 2), (1, w - 1), (h - 1, w - 2)):
            top, left = max(row - reach, 0), max(column - reach, 0)

            def cut(_: nn.Module, maps: tuple[Tensor], top: int = top, left: int = left) -> Tensor:
                return maps[0][..., top : row + reach + 1, left : column + reach + 1]  # noqa: B023

            handle = module.register_forward_pre_hook(cut)
            part = model.head.main(features)
            handle.remove()
            assert part.shape[-2] <= 2 * reach + 1
            torch.testing.assert_close(
                part[..., row - top, column - left], whole[..., row, column], rtol=1e-5, atol=1e-6
            )
