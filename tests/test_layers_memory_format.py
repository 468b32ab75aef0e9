from __future__ import annotations

import pytest
import torch
from torch import nn

from segattn.layers import channels_last


class Mixed(nn.Module):
    """A kernel, a parameter of five dimensions as agent biases have, and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3)
        self.bias = nn.Parameter(torch.randn(1, 2, 3, 1, 5))
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) + self.bias.sum()


def test_kernels_are_laid_out_and_nothing_else_changes() -> None:
    model = Mixed().eval()
    parameters, x = list(model.parameters()), torch.randn(2, 4, 7, 9)
    before = model(x)
    assert channels_last(model) is model
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.conv.weight.is_contiguous()
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True)), "an optimiser would lose these"
    torch.testing.assert_close(model(x), before)


def test_torchs_own_way_still_fails_there() -> None:
    """Once it does not, `channels_last` can go."""
    with pytest.raises(RuntimeError, match="rank 4"):
        Mixed().to(memory_format=torch.channels_last)
