"""Overlapping windows over a raster, and their scores blended so that no seam is left, a few rows at a time."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segattn.contracts import IGNORE

_BAND = 64  # rows whose arg-max is taken together


def starts(side: int, window: int, overlap: int) -> tuple[int, ...]:
    """The first pixels of the windows along a side: as few as overlap by `overlap` pixels or more, evenly spread."""
    if side <= window:
        return (0,)
    count = ceil((side - overlap) / (window - overlap))
    return tuple(round(i * (side - window) / (count - 1)) for i in range(count))


def hann(side: int) -> Tensor:
    """(side,) float32: sin^2(pi (i + 1/2) / side), which is 1 in a window's middle and nearly 0 at its borders.

    Positive everywhere, so that a pixel that a single window sees takes that window's scores.
    """
    return torch.sin(torch.pi * (torch.arange(side) + 0.5) / side).square()


class Strip:
    """Scores of the rows that windows still add to, (K, rows, columns) float32, as sums weighted by `hann`.

    The largest sum has the label of the largest weighted mean, so nothing is divided.

    Args:
        classes: K.
        rows: of a window.
        columns: of the strip; windows may stick out of it.
    """

    def __init__(self, classes: int, rows: int, columns: int) -> None:
        self._sums = torch.zeros(classes, rows, columns)
        self._seen = np.zeros((rows, columns), np.bool_)

    def add(self, scores: Tensor, valid: NDArray[np.bool_], left: int) -> None:
        """Add a window's scores (K, rows, w), and which of its pixels are valid (rows, w), from column `left` on."""
        _, rows, width = scores.shape
        begin, end = max(left, 0), min(left + width, self._sums.shape[2])
        inside = slice(begin - left, end - left)
        weights = hann(rows)[:, None] * hann(width)[None, inside]
        self._sums[:, :, begin:end].addcmul_(scores[:, :, inside], weights)
        self._seen[:, begin:end] |= valid[:, inside]

    def take(self, count: int) -> NDArray[np.uint8]:
        """The labels of the first `count` rows, which leave: (count, columns), 255 where no valid pixel was seen."""
        labels = np.concatenate(
            [self._sums[:, row : min(row + _BAND, count)].argmax(0).numpy() for row in range(0, count, _BAND)]
        ).astype(np.uint8)
        labels[~self._seen[:count]] = IGNORE
        kept = self._sums.shape[1] - count
        for plane in self._sums:
            plane[:kept] = plane[count:].clone()
        self._sums[:, kept:] = 0
        self._seen[:kept] = self._seen[count:].copy()
        self._seen[kept:] = False
        return labels


def panel_width(classes: int, rows: int, memory: int) -> int:
    """The most columns of a strip of so many bytes; a pixel of it takes 4 bytes a class and 1 more."""
    return memory // (rows * (4 * classes + 1))
