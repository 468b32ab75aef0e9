"""The VAN segmenters as wholes: shapes at odd sizes, repeatability, key names, export."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from segattn.models.segmenter import Segmenter
from segattn.models.van import VANHamNet, VANLightHam, VANSemanticFPN, VANUperNet

NETWORKS = {
    "light_ham": (VANLightHam(size="tiny", ham_channels=256, channels=256, bases=16), (9, 13)),
    "hamnet": (VANHamNet(size="tiny"), (9, 13)),
    "upernet": (VANUperNet(size="tiny"), (17, 25)),
    "semantic_fpn": (VANSemanticFPN(size="tiny"), (17, 25)),
}


def build(name: str) -> Segmenter:
    network, _ = NETWORKS[name]
    return network.build(7).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_at_an_odd_size(name: str) -> None:
    model, x = build(name), torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        output, logits = model.segment(x), model.logits(x)
        assert output.logits.shape == (2, 7, *NETWORKS[name][1])
        assert torch.equal(logits, output.logits)
        assert torch.equal(model.logits(x), logits)
        single = torch.cat([model.logits(image[None]) for image in x])
        torch.testing.assert_close(single, logits, atol=1e-5, rtol=1e-3)
        assert model(torch.zeros(1, 3, 65, 97, dtype=torch.uint8)).shape == (1, 7, 65, 97)
    auxiliary = {key: tuple(value.shape) for key, value in output.auxiliary.items()}
    expected = {"hamnet": {"aux": (2, 7, 9, 13)}, "upernet": {"aux": (2, 7, 5, 7)}}
    assert auxiliary == expected.get(name, {})
    assert model.align_corners == "edges"


def test_auxiliary_norms() -> None:
    """Group norm beside HamNet, batch norm beside UperNet."""
    for name, norm in (("hamnet", nn.GroupNorm), ("upernet", nn.BatchNorm2d)):
        auxiliary_head = build(name).auxiliary_head
        assert isinstance(auxiliary_head, nn.Module)
        assert isinstance(auxiliary_head.get_submodule("block.norm"), norm)


def test_the_arguments_of_a_description_arrive() -> None:
    network = VANLightHam(size="tiny", drop_path=0.3, norm_eps=1e-5, ham_channels=64, channels=96, bases=5)
    with torch.device("meta"):
        model = network.build(7)
    backbone, head = model.backbone, model.head
    assert isinstance(backbone, nn.Module)
    assert isinstance(head, nn.Module)
    assert backbone.get_submodule("norm4").eps == 1e-5
    assert backbone.get_submodule("block4.1.drop_path").rate == pytest.approx(0.3)
    assert head.get_submodule("hamburger.ham").fixed.shape == (1, 64, 5)
    assert head.get_submodule("classifier.1").weight.shape == (7, 96, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_exports_once_for_every_size(name: str) -> None:
    model = build(name)
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(model, (torch.rand(1, 3, 100, 132),), dynamic_shapes=({2: dynamic, 3: dynamic},))
    run: Callable[[Tensor], Tensor] = program.module()
    for size in [(100, 132), (64, 256), (71, 93), (224, 224)]:
        x = torch.rand(1, 3, *size)
        with torch.no_grad():
            torch.testing.assert_close(run(x), model(x), atol=1e-5, rtol=1e-4)
