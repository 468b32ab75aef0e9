"""Large-kernel attention against a product written out, and what makes it special."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from segattn.attention.large_kernel import LargeKernelAttention, LargeKernelGate


def test_gate_multiplies_the_input_by_its_convolutions() -> None:
    gate = LargeKernelGate(8).double()
    x = torch.randn(2, 8, 11, 9, dtype=torch.float64)
    a = F.conv2d(x, gate.conv0.weight, gate.conv0.bias, padding=2, groups=8)
    a = F.conv2d(a, gate.conv_spatial.weight, gate.conv_spatial.bias, padding=9, dilation=3, groups=8)
    a = F.conv2d(a, gate.conv1.weight, gate.conv1.bias)
    torch.testing.assert_close(gate(x), x * a)


def test_gate_is_quadratic_without_biases() -> None:
    gate = LargeKernelGate(4).double()
    for name, parameter in gate.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(gate(3 * x), 9 * gate(x))


def test_gate_sees_eleven_cells_to_each_side() -> None:
    gate = LargeKernelGate(1).double()
    x = torch.randn(1, 1, 31, 31, dtype=torch.float64, requires_grad=True)
    gate(x)[0, 0, 15, 15].backward()
    assert x.grad is not None
    rows = x.grad[0, 0].abs().sum(1).nonzero().flatten().tolist()
    assert rows == list(range(15 - 11, 15 + 12))


def test_branch_adds_its_input() -> None:
    attention = LargeKernelAttention(4)
    torch.nn.init.zeros_(attention.proj_2.weight)
    torch.nn.init.zeros_(attention.proj_2.bias)
    x = torch.randn(2, 4, 5, 7)
    assert torch.equal(attention(x), x)
