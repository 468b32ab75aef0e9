"""Windows cover a side evenly, and blended scores have no seam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segattn.predicting.raster.blend import Strip, hann, panel_width, starts


@given(st.integers(1, 3000), st.integers(2, 600), st.floats(0, 0.75))
def test_windows_cover_the_side_and_overlap_enough(side: int, window: int, share: float) -> None:
    overlap = int(share * window)
    tops = starts(side, window, overlap)
    if side <= window:
        assert tops == (0,)
        return
    assert (tops[0], tops[-1]) == (0, side - window)
    steps = np.diff(tops)
    assert steps.max() <= window - overlap
    assert steps.max() - steps.min() <= 1
    assert len(tops) == 2 or (side - window) / (len(tops) - 2) > window - overlap  # one fewer would not do


def test_hann_is_what_it_is_called() -> None:
    weights = hann(8)
    assert torch.allclose(weights, weights.flip(0))
    assert torch.allclose(weights[:4] + weights[4:], torch.ones(4))  # of windows that overlap by a half
    assert weights.min() > 0


def test_a_strip_gives_the_largest_weighted_mean_and_nothing_where_nothing_was_seen() -> None:
    rng = np.random.default_rng(0)
    lefts, rows, width, columns = (-3, 2, 5), 6, 7, 10
    scores = [torch.from_numpy(rng.normal(size=(3, rows, width)).astype(np.float32)) for _ in lefts]
    strip = Strip(3, rows, columns)
    total = np.zeros((3, rows, columns))
    for left, each in zip(lefts, scores, strict=True):
        valid = np.ones((rows, width), np.bool_)
        valid[0] = False
        strip.add(each, valid, left)
        weights = np.outer(hann(rows), hann(width))
        for x in range(width):
            if 0 <= left + x < columns:
                total[:, :, left + x] += each[:, :, x].numpy() * weights[:, x]
    first, rest = strip.take(4), strip.take(2)
    assert (first[0] == 255).all()
    assert np.array_equal(np.concatenate([first[1:], rest]), total.argmax(0)[1:])
    assert (strip.take(rows) == 255).all()  # all have left


@pytest.mark.parametrize(("memory", "width"), [(512 * 45 * 100, 100), (1, 0)])
def test_a_panel_is_as_wide_as_memory_allows(memory: int, width: int) -> None:
    assert panel_width(11, 512, memory) == width
