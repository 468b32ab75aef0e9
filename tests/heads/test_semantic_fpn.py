"""Semantic FPN, piece by piece, on maps of odd sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.contracts import SegOutput
from segattn.heads.semantic_fpn import SemanticFPN

CHANNELS = (8, 16, 24, 32)
SIZES = [(17, 25), (9, 13), (5, 7), (3, 4)]


def maps(batch: int = 2) -> tuple[Tensor, ...]:
    return tuple(torch.randn(batch, channels, *size) for channels, size in zip(CHANNELS, SIZES, strict=True))


def make() -> SemanticFPN:
    return SemanticFPN(CHANNELS, 5, neck_channels=12, channels=16)


def test_contract() -> None:
    head, features = make().eval(), maps()
    with torch.no_grad():
        output = head(features)
        assert isinstance(output, SegOutput)
        assert output.logits.shape == (2, 5, 17, 25)
        assert output.auxiliary == {}
        assert torch.equal(head.main(features), output.logits)
        single = torch.cat([head.main(tuple(feature[i : i + 1] for feature in features)) for i in range(2)])
        torch.testing.assert_close(single, output.logits, atol=1e-5, rtol=1e-4)


def test_every_parameter_gets_a_gradient() -> None:
    head = make().train()
    head(maps()).logits.square().sum().backward()
    assert [
        key for key, parameter in head.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ] == []


def test_step_by_step() -> None:
    head, features = make().eval(), maps()

    def double(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    with torch.no_grad():
        sums = [conv(feature) for conv, feature in zip(head.neck.lateral_convs, features, strict=True)]
        for i in (2, 1, 0):
            sums[i] = sums[i] + F.interpolate(sums[i + 1], sums[i].shape[-2:], mode="nearest")
        p1, p2, p3, p4 = (conv(x) for conv, x in zip(head.neck.fpn_convs, sums, strict=True))
        s1, s2, s3, s4 = head.scale_heads
        branches = [s1[0](p1), double(s2[0](p2)), double(s3[2](double(s3[0](p3))))]
        branches.append(double(s4[4](double(s4[2](double(s4[0](p4)))))))
        assert [tuple(x.shape[-2:]) for x in branches] == [(17, 25), (18, 26), (20, 28), (24, 32)]
        total = sum(F.interpolate(x, (17, 25), mode="bilinear") for x in branches)
        torch.testing.assert_close(head.main(features), head.classifier[1](total), atol=1e-5, rtol=1e-4)


def test_neck_has_biases_and_neither_norm_nor_activation() -> None:
    modules = [module for module in make().neck.modules() if not list(module.children())]
    assert len(modules) == 8
    assert all(isinstance(module, nn.Conv2d) and module.bias is not None for module in modules)


def test_neck_starts_with_xavier_uniform() -> None:
    weight = SemanticFPN((64, 128, 320, 512), 150).neck.fpn_convs[0].weight
    bound = (6 / (2 * 9 * 256)) ** 0.5
    assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
