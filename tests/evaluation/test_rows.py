"""Score maps made row by row, against the same made whole."""

from __future__ import annotations

import pytest
import torch

from segattn.evaluation.rows import Held, Placed, Resized, Sum, Windows, exponential, mirrored, softmax
from segattn.layers import resize


def joined(source, step: int = 3) -> torch.Tensor:
    """(1, K, H, W) from a few rows at a time."""
    height = source.size[0]
    parts = [source.rows(start, min(start + step, height)) for start in range(0, height, step)]
    return torch.cat(parts).transpose(0, 1)[None]


@pytest.mark.parametrize(
    ("before", "after"), [((6, 8), (23, 31)), ((23, 31), (6, 8)), ((5, 7), (5, 14)), ((1, 1), (4, 3))]
)
@pytest.mark.parametrize("align_corners", ["edges", "corners"])
def test_resized_rows_are_those_of_the_resized_map(before, after, align_corners):
    maps = torch.randn(1, 4, *before)
    whole = resize(maps, after, align_corners=align_corners)
    torch.testing.assert_close(joined(Resized(Held(maps), after, align_corners)), whole, atol=1e-6, rtol=1e-6)


def test_resized_rows_on_the_grid():
    maps = torch.randn(1, 4, 12, 16)
    whole = resize(maps, (45, 61), align_corners="grid")
    torch.testing.assert_close(joined(Resized(Held(maps), (45, 61), "grid")), whole, atol=1e-6, rtol=1e-6)


def test_resizes_follow_one_another():
    maps = torch.randn(1, 4, 6, 8)
    whole = resize(resize(maps, (41, 52), align_corners="corners"), (20, 30), align_corners="edges")
    twice = Resized(Resized(Held(maps), (41, 52), "corners"), (20, 30), "edges")
    torch.testing.assert_close(joined(twice), whole, atol=1e-6, rtol=1e-6)


def test_rows_by_themselves_and_sums():
    one, other = torch.randn(2, 1, 4, 9, 5)
    assert torch.equal(joined(mirrored(Held(one))), one.flip(-1))
    torch.testing.assert_close(joined(softmax(Held(one))), one.softmax(1))
    torch.testing.assert_close(joined(exponential(Held(one))), one.exp())
    assert torch.equal(joined(Sum([Held(one), Held(other)], mean=False)), one + other)
    assert torch.equal(joined(Sum([Held(one), Held(other)], mean=True)), (one + other) / 2)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("step", [1, 3, 100])
def test_windows_are_summed_or_averaged_where_they_overlap(mean, step):
    canvas, crop, corners = (9, 11), 5, [(0, 0), (0, 4), (0, 6), (4, 0), (4, 4), (4, 6)]
    maps = [torch.randn(1, 3, crop, crop) for _ in corners]
    total, cover = torch.zeros(1, 3, *canvas), torch.zeros(canvas)
    for (top, left), scores in zip(corners, maps, strict=True):
        total[..., top : top + crop, left : left + crop] += scores
        cover[top : top + crop, left : left + crop] += 1
    expected = (total / cover if mean else total)[..., 1:8, 2:11]
    placed = [Placed(Held(scores), *corner) for corner, scores in zip(corners, maps, strict=True)]
    torch.testing.assert_close(joined(Windows(placed, canvas, (1, 2), (7, 9), mean), step), expected)
