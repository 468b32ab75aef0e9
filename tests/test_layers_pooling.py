"""The pooling that survives export: equal to torch's operator at every kind of size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segattn.layers import adaptive_average_pool

SIZES = [(1, 1), (6, 6), (4, 5), (7, 9), (16, 64), (2, 3), (13, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("output", [1, 2, 3, 6, 7, (3, 5), (12, 2)])
def test_equals_the_operator(size: tuple[int, int], output: int | tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(adaptive_average_pool(x, output), F.adaptive_avg_pool2d(x, output))


def test_gradient_equals_the_operators() -> None:
    x = torch.randn(1, 2, 5, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 2, 3, 6, dtype=torch.float64)
    (ours,) = torch.autograd.grad((adaptive_average_pool(x, (3, 6)) * weight).sum(), x)
    (theirs,) = torch.autograd.grad((F.adaptive_avg_pool2d(x, (3, 6)) * weight).sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_exports_with_dynamic_sizes() -> None:
    class Pool(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return adaptive_average_pool(x, 6)

    dim = torch.export.Dim
    shapes = ({2: dim("h", min=2, max=64), 3: dim("w", min=2, max=64)},)
    program = torch.export.export(Pool(), (torch.randn(1, 2, 8, 9),), dynamic_shapes=shapes)
    for size in [(8, 9), (16, 16), (5, 31)]:
        x = torch.randn(1, 2, *size)
        torch.testing.assert_close(program.module()(x), F.adaptive_avg_pool2d(x, 6))
