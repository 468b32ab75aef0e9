"""Window attention against a token-by-token form, plain and shifted, at sizes that fill the windows and that don't."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

import segattn.attention.window
from segattn.attention.window import WindowAttention, region_mask, relative_position_index


def slow_form(module: WindowAttention, x: Tensor) -> Tensor:
    path = Path(__file__).parents[1] / "oracles" / "window_attention.py"
    spec = importlib.util.spec_from_file_location("oracle_window_attention", path)
    assert spec is not None
    assert spec.loader is not None
    oracle: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    return oracle.window_attention(module, x)


def make(*, shifted: bool, window: int = 3) -> WindowAttention:
    module = WindowAttention(4, 2, window=window, shifted=shifted).double()
    nn.init.normal_(module.relative_position_bias_table)
    return module.eval()


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(6, 9), (5, 7), (3, 3), (2, 4), (1, 1)])
def test_equals_the_slow_form(size: tuple[int, int], shifted: bool) -> None:
    module = make(shifted=shifted)
    x = torch.randn(2, *size, 4, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([slow_form(module, part) for part in x])
        torch.testing.assert_close(module(x), expected)


def test_even_windows_shift_by_half() -> None:
    module = make(shifted=True, window=4)
    x = torch.randn(1, 6, 8, 4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(module(x)[0], slow_form(module, x[0]))


def test_relative_position_index_of_the_released_files() -> None:
    index = relative_position_index(7)
    assert index.shape == (49, 49)
    assert index[0, 0] == 84  # (0 + 6) * 13 + 6
    assert index[0, 48] == 0
    assert index[48, 0] == 168
    assert index[1, 0] == 85
    assert "relative_position_index" in make(shifted=False).state_dict()


def test_one_window_is_cut_into_four_regions() -> None:
    mask = region_mask(1, 1, 7, 3, torch.ones(1))
    assert mask.shape == (1, 49, 49)
    assert len(mask[0].unique(dim=0)) == 4
    assert set(mask.unique().tolist()) == {-100.0, 0.0}


def test_masks_are_kept_by_size_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []

    def counted(rows: int, columns: int, M: int, shift: int, like: Tensor) -> Tensor:
        made.append((rows, columns))
        return region_mask(rows, columns, M, shift, like)

    monkeypatch.setattr(segattn.attention.window, "region_mask", counted)
    module = make(shifted=True)
    for size in [(6, 9), (5, 8), (3, 3), (4, 7), (1, 2)]:
        module(torch.randn(1, *size, 4, dtype=torch.float64))
    assert made == [(2, 3), (1, 1)]
    module.float()
    assert module(torch.randn(1, 3, 3, 4)).dtype == torch.float32
    module.train()
    module(torch.randn(1, 3, 3, 4))
    module(torch.randn(1, 3, 3, 4))
    assert made == [(2, 3), (1, 1), (1, 1), (1, 1), (1, 1)]


def test_every_parameter_receives_a_gradient() -> None:
    module = make(shifted=True).train()
    module(torch.randn(2, 5, 7, 4, dtype=torch.float64)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    table = module.relative_position_bias_table.grad
    assert table is not None
    assert (table.abs().sum(1) > 0).all()


def test_heads_must_divide_channels() -> None:
    with pytest.raises(ValueError, match="4 channels do not divide into 3 heads"):
        WindowAttention(4, 3, window=3, shifted=False)


@pytest.mark.slow
def test_exports_with_dynamic_sizes() -> None:
    module = make(shifted=True)
    x = torch.randn(1, 5, 7, 4, dtype=torch.float64)
    side = {1: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        module(x)
        program = torch.export.export(module, (x,), dynamic_shapes={"x": side}).module()
        for size in [(5, 7), (6, 9), (8, 4)]:
            other = torch.randn(1, *size, 4, dtype=torch.float64)
            torch.testing.assert_close(program(other), module(other))
