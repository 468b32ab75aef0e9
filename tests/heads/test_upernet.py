"""UperNet and the FCN auxiliary head, piece by piece, on maps of odd sizes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.contracts import SegOutput
from segattn.heads.fcn import FCN
from segattn.heads.upernet import UperNet

CHANNELS = (8, 16, 24, 32)
SIZES = [(17, 25), (9, 13), (5, 7), (3, 4)]


def maps(batch: int = 2) -> tuple[Tensor, ...]:
    return tuple(torch.randn(batch, channels, *size) for channels, size in zip(CHANNELS, SIZES, strict=True))


@pytest.mark.parametrize(
    ("head", "size"),
    [(UperNet(CHANNELS, 5, channels=16), SIZES[0]), (FCN(CHANNELS, 5, channels=16), SIZES[2])],
    ids=["upernet", "fcn"],
)
def test_contract(head: nn.Module, size: tuple[int, int]) -> None:
    head.eval()
    features = maps()
    with torch.no_grad():
        output = head(features)
        assert isinstance(output, SegOutput)
        assert output.logits.shape == (2, 5, *size)
        assert output.auxiliary == {}
        assert torch.equal(head.main(features), output.logits)
        single = torch.cat([head.main(tuple(feature[i : i + 1] for feature in features)) for i in range(2)])
        torch.testing.assert_close(single, output.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", [UperNet(CHANNELS, 5, channels=16), FCN(CHANNELS, 5, channels=16)])
def test_every_parameter_gets_a_gradient(head: nn.Module) -> None:
    head.train()
    head(maps()).logits.square().sum().backward()
    assert [
        key for key, parameter in head.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ] == []


def test_upernet_step_by_step() -> None:
    head, (c1, c2, c3, c4) = UperNet(CHANNELS, 5, channels=16).eval(), maps()

    def up(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[-2:], mode="bilinear")

    with torch.no_grad():
        pooled = [
            up(conv(F.adaptive_avg_pool2d(c4, size)), c4) for conv, size in zip(head.pyramid, (1, 2, 3, 6), strict=True)
        ]
        l4 = head.bottleneck(torch.cat([c4, *pooled], 1))
        l3 = head.lateral_convs[2](c3) + up(l4, c3)
        l2 = head.lateral_convs[1](c2) + up(l3, c2)
        l1 = head.lateral_convs[0](c1) + up(l2, c1)
        outs = [head.fpn_convs[0](l1), up(head.fpn_convs[1](l2), c1), up(head.fpn_convs[2](l3), c1), up(l4, c1)]
        expected = head.classifier[1](head.fpn_bottleneck(torch.cat(outs, 1)))
        torch.testing.assert_close(head.main((c1, c2, c3, c4)), expected, atol=1e-5, rtol=1e-4)


def test_the_1x1_branch_needs_two_images_in_training() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        UperNet(CHANNELS, 5, channels=16).train()(maps(batch=1))


def test_fcn_reads_the_last_stage_but_one_with_the_norm_it_is_given() -> None:
    head, features = FCN(CHANNELS, 5, channels=64, norm=partial(nn.GroupNorm, 32)).eval(), maps()
    assert isinstance(head.block.norm, nn.GroupNorm)
    with torch.no_grad():
        torch.testing.assert_close(head.main(features), head.classifier[1](head.block(features[2])))
    assert isinstance(FCN(CHANNELS, 5).block.norm, nn.BatchNorm2d)
