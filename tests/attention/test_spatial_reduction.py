"""Spatial-reduction attention against its formula, token by token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from segattn.attention.spatial_reduction import SpatialReductionAttention


def slow_form(module: SpatialReductionAttention, x: Tensor, reduction: int) -> Tensor:
    """(h, w, C) -> (h, w, C)."""
    h, w, C = x.shape
    d = C // module.heads
    cells = []
    for i in range(h // reduction):
        for j in range(w // reduction):
            cell = x[i * reduction : (i + 1) * reduction, j * reduction : (j + 1) * reduction]
            if module.sr is not None and module.norm is not None:
                cells.append(module.norm(torch.einsum("yxc,ocyx->o", cell, module.sr.weight) + module.sr.bias))
            else:
                cells.append(cell[0, 0])
    kv = module.kv(torch.stack(cells))
    out = torch.empty_like(x)
    for i in range(h):
        for j in range(w):
            q = module.q(x[i, j])
            for m in range(module.heads):
                part = slice(m * d, (m + 1) * d)
                weights = (kv[:, :C][:, part] @ q[part] / d**0.5).softmax(0)
                out[i, j, part] = weights @ kv[:, C:][:, part]
    return module.proj(out)


@pytest.mark.parametrize(("reduction", "size"), [(1, (3, 4)), (2, (4, 6)), (2, (5, 7)), (3, (8, 3))])
def test_equals_the_slow_form(reduction: int, size: tuple[int, int]) -> None:
    module = SpatialReductionAttention(6, 2, reduction=reduction).double()
    x = torch.randn(2, *size, 6, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([slow_form(module, part, reduction) for part in x])
        torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("reduction", [1, 2])
def test_every_parameter_receives_a_gradient(reduction: int) -> None:
    module = SpatialReductionAttention(6, 2, reduction=reduction)
    assert ("sr.weight" in module.state_dict()) == (reduction > 1)
    module(torch.randn(2, 4, 6, 6)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_heads_must_divide_channels() -> None:
    with pytest.raises(ValueError, match="6 channels do not divide into 4 heads"):
        SpatialReductionAttention(6, 4, reduction=1)
