"""Light-Ham and HamNet, piece by piece, on maps of odd sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.contracts import SegOutput
from segattn.heads.ham import HamNet, LightHam

CHANNELS = (8, 16, 24, 32)


def maps(sizes: list[tuple[int, int]], batch: int = 2) -> tuple[Tensor, ...]:
    return tuple(torch.randn(batch, channels, *size) for channels, size in zip(CHANNELS, sizes, strict=True))


def light() -> LightHam:
    return LightHam(CHANNELS, 5, ham_channels=32, channels=64, bases=6)


PYRAMID = [(17, 25), (9, 13), (5, 7), (3, 4)]
STRIDE_8 = [(17, 25), (9, 13), (9, 13), (9, 13)]
CASES = [
    pytest.param(light, PYRAMID, id="light"),
    pytest.param(lambda: HamNet(CHANNELS, 5, channels=32), STRIDE_8, id="ham"),
]


@pytest.mark.parametrize(("make", "sizes"), CASES)
def test_contract(make: Callable[[], nn.Module], sizes: list[tuple[int, int]]) -> None:
    head, features = make().eval(), maps(sizes)
    with torch.no_grad():
        output = head(features)
        assert isinstance(output, SegOutput)
        assert output.logits.shape == (2, 5, 9, 13)
        assert output.auxiliary == {}
        assert torch.equal(head.main(features), output.logits)
        single = torch.cat([head.main(tuple(feature[i : i + 1] for feature in features)) for i in range(2)])
        torch.testing.assert_close(single, output.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("make", "sizes"), CASES)
def test_every_parameter_gets_a_gradient(make: Callable[[], nn.Module], sizes: list[tuple[int, int]]) -> None:
    head = make().train()
    head(maps(sizes)).logits.square().sum().backward()
    assert [
        key for key, parameter in head.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ] == []


def test_light_ham_step_by_step() -> None:
    head, features = light().eval(), maps(PYRAMID)
    with torch.no_grad():
        resized = [F.interpolate(feature, (9, 13), mode="bilinear") for feature in features[1:]]
        x = head.squeeze(torch.cat(resized, 1))
        expected = head.classifier[1](head.align(head.hamburger(x)))
        torch.testing.assert_close(head.main(features), expected)
    assert head.squeeze.conv.kernel_size == (1, 1)


def test_hamnet_step_by_step() -> None:
    head, features = HamNet(CHANNELS, 5, channels=64, bases=6).eval(), maps(STRIDE_8)
    with torch.no_grad():
        context = head.align(head.hamburger(head.squeeze(features[3])))
        expected = head.classifier[1](head.conv_cat(torch.cat([features[3], context], 1)))
        torch.testing.assert_close(head.main(features), expected)
    assert head.squeeze.conv.kernel_size == (3, 3)


@pytest.mark.parametrize("random_bases_in_eval", [False, True])
def test_evaluation_repeats_unless_asked_otherwise(random_bases_in_eval: bool) -> None:
    kwargs = {"channels": 32, "bases": 6, "random_bases_in_eval": random_bases_in_eval}
    for head in (LightHam(CHANNELS, 5, ham_channels=32, **kwargs), HamNet(CHANNELS, 5, **kwargs)):
        features = maps(STRIDE_8)
        with torch.no_grad():
            assert torch.equal(head.eval().main(features), head.main(features)) is not random_bases_in_eval


def test_norms_are_group_norms_of_32() -> None:
    for head in (light(), HamNet(CHANNELS, 5, channels=64)):
        groups = [module.num_groups for module in head.modules() if isinstance(module, nn.GroupNorm)]
        assert groups
        assert set(groups) == {32}
        assert not any(isinstance(module, nn.BatchNorm2d) for module in head.modules())


def test_start_values() -> None:
    head = LightHam((32, 64, 160, 256), 150)
    assert head.hamburger.ham_in.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    assert not head.hamburger.ham_in.bias.any()
    assert head.classifier[1].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not head.classifier[1].bias.any()
