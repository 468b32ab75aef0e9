"""Resizing on the grid: answers of strided convolutions land on the pixels that they come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segattn.alignment import grid_stride
from segattn.layers import resize

SIDES = [1, 2, 8, 9, 12, 16, 17, 65, 96, 353, 360, 361, 480]


@pytest.mark.parametrize("stride", [1, 2, 8, 16, 32])
@pytest.mark.parametrize("side", SIDES)
def test_answers_lie_on_their_pixels(side: int, stride: int) -> None:
    """A network that answers with the place of every `stride`-th pixel: the image of places comes back."""
    x, y = torch.arange(side, dtype=torch.float64), 3 * torch.arange(40, dtype=torch.float64)
    image = (y[:, None] + x)[None, None]
    back = resize(image[..., ::4, ::stride], (40, side), align_corners="grid")
    last_row, last_column = 36, (side - 1) // stride * stride
    torch.testing.assert_close(back, y.clamp(max=3 * last_row)[None, None, :, None] + x.clamp(max=last_column))


@pytest.mark.parametrize("side", [481, 480])
def test_aligned_corners_are_the_same_on_sides_that_fit_alone(side: int) -> None:
    columns = torch.arange(side, dtype=torch.float32).view(1, 1, 1, side)
    aligned = resize(columns[..., ::8], (1, side), align_corners="corners")
    on_grid = resize(columns[..., ::8], (1, side), align_corners="grid")
    assert torch.equal(aligned, on_grid) == (side == 481)
    assert (aligned - columns).abs().max().item() == pytest.approx(0.0 if side == 481 else 7.0, abs=1e-3)


def test_the_stride_is_that_of_halvings() -> None:
    for side in range(1, 200):
        cells = side
        for stride in (1, 2, 4, 8, 16, 32):
            found = grid_stride(cells, side)
            assert found == stride or cells == 1
            assert -(-side // found) == cells
            cells = (cells - 1) // 2 + 1
    with pytest.raises(ValueError, match="33 cells on 100 pixels: no stride that is a power of two"):
        grid_stride(33, 100)
    with pytest.raises(ValueError, match="5 cells on 4 pixels"):
        resize(torch.zeros(1, 1, 5, 5), (4, 5), align_corners="grid")


def test_the_gradient_of_what_is_repeated_reaches_its_cell() -> None:
    cells = torch.zeros(1, 1, 1, 2, dtype=torch.float64, requires_grad=True)
    resize(cells, (1, 16), align_corners="grid").sum().backward()
    assert cells.grad is not None
    torch.testing.assert_close(cells.grad.flatten(), torch.tensor([4.5, 11.5], dtype=torch.float64))


def test_the_other_forms_are_torchs() -> None:
    x = torch.randn(1, 2, 5, 6)
    for align_corners, torchs in (("edges", False), ("corners", True)):
        expected = F.interpolate(x, (40, 47), mode="bilinear", align_corners=torchs)
        assert torch.equal(resize(x, (40, 47), align_corners=align_corners), expected)


def test_a_flag_is_refused_rather_than_taken_for_edges() -> None:
    for flag in (False, True):
        with pytest.raises(
            ValueError, match=rf"align_corners: found {flag}, expected one of 'corners', 'edges', 'grid'"
        ):
            resize(torch.zeros(1, 1, 5, 5), (9, 9), align_corners=flag)  # type: ignore[arg-type]
