from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from segattn.attention.eca import EfficientChannelAttention


def test_gives_the_reference_modules_output(parity: Any) -> None:
    case = parity.description("modules_cnn")["cases"]["acfnet.eca"]
    module = EfficientChannelAttention()
    module.load_state_dict(parity.state(case["keys"]))
    x = parity.case_input(case["inputs"]["x"]) + torch.linspace(-2, 2, 32).view(1, 32, 1, 1)
    expected = torch.from_numpy(parity.arrays("modules_cnn")["acfnet.eca.out"])
    with torch.no_grad():
        assert (module(x) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_is_the_loop_written_one(kernel_size: int) -> None:
    module = EfficientChannelAttention(kernel_size).double()
    x = torch.randn(2, 7, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        found = module(x)
    weights = module.conv.weight.flatten().tolist()
    for b in range(2):
        means = [x[b, c].mean().item() for c in range(7)]
        for c in range(7):
            neighbours = range(c - kernel_size // 2, c + kernel_size // 2 + 1)
            energy = sum(w * means[n] for w, n in zip(weights, neighbours, strict=True) if 0 <= n < 7)
            assert torch.allclose(found[b, c], x[b, c] / (1 + math.exp(-energy)))


@pytest.mark.parametrize("kernel_size", [0, 2, -3])
def test_refuses_kernels_without_a_middle(kernel_size: int) -> None:
    with pytest.raises(ValueError, match=f"{kernel_size}: expected an odd"):
        EfficientChannelAttention(kernel_size)
