"""The depthwise convolution that is computed by phases is the dilated one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from segattn.layers import DilatedDepthwiseConv2d


@pytest.fixture
def plain() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(4, 4, 7, padding=9, dilation=3, groups=4).double()


@pytest.fixture
def phased(plain: nn.Conv2d) -> DilatedDepthwiseConv2d:
    layer = DilatedDepthwiseConv2d(4, 7, dilation=3).double()
    layer.load_state_dict(plain.state_dict())
    return layer


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (12, 15), (13, 20), (32, 31)])
def test_values_and_gradients(
    plain: nn.Conv2d, phased: DilatedDepthwiseConv2d, size: tuple[int, int], layout: torch.memory_format
) -> None:
    x = torch.randn(2, 4, *size, dtype=torch.float64).to(memory_format=layout)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    got, wanted = phased(mine), plain(other)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(wanted)
    (got * weights).sum().backward()
    (wanted * weights).sum().backward()
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(phased.weight.grad, plain.weight.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(phased.bias.grad, plain.bias.grad, rtol=1e-12, atol=1e-12)


def test_no_dilated_convolution_runs(phased: DilatedDepthwiseConv2d) -> None:
    x = torch.randn(1, 4, 12, 13, dtype=torch.float64)
    with torch.no_grad(), torch.profiler.profile(record_shapes=True) as profile:
        phased(x)
    (inputs,) = {tuple(event.input_shapes[0]) for event in profile.events() if event.name == "aten::convolution"}
    assert inputs == (9, 4, 4, 5)


def test_an_export_has_the_plain_convolution(phased: DilatedDepthwiseConv2d) -> None:
    program = torch.export.export(phased, (torch.randn(1, 4, 12, 13, dtype=torch.float64),))
    (node,) = [node for node in program.graph.nodes if node.op == "call_function"]
    assert node.target is torch.ops.aten.conv2d.default
    assert node.args[5] == [3, 3]


def test_it_is_a_convolution_of_the_same_names(plain: nn.Conv2d, phased: DilatedDepthwiseConv2d) -> None:
    assert isinstance(copy.deepcopy(phased), nn.Conv2d)
    assert phased.state_dict().keys() == plain.state_dict().keys()
