"""The confusion matrix as a page shows it: cells in colour, a picture of them, and the most confused pairs.

Counts are (K, K) pixels whose rows are the truth, and shares fractions of a row.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.reports.page import data_uri

Counts = NDArray[np.int64]
Colour = tuple[int, int, int]

_RIGHT, _CONFUSED = (36, 87, 166), (214, 72, 40)
_SIDE = 640
"""Of the picture, about; pixels."""


class Cell(NamedTuple):
    """Pixels of one class that were taken for one class, of the first one's in percent; `strong` on dark colours."""

    pixels: int
    percent: float
    colour: str
    strong: bool


class Pair(NamedTuple):
    """Two classes by their ids, and how much of the first was taken for the second."""

    truth: int
    predicted: int
    pixels: int
    percent: float


def matrix(counts: Counts) -> list[list[Cell | None]]:
    """The rows of a table; None in those of classes that are nowhere labelled."""
    shares = _shares(counts)
    cells = range(len(counts))
    return [[_cell(counts, shares, i, j) if counts[i].any() else None for j in cells] for i in cells]


def heat_map(counts: Counts) -> str:
    """The same as a see-through PNG, a few pixels a cell, for more classes than a table holds."""
    shares, count = _shares(counts), len(counts)
    pixels = np.zeros((count, count, 4), np.uint8)
    for truth, predicted in np.argwhere(shares > 0):
        (red, green, blue), alpha = _heat(float(shares[truth, predicted]), right=bool(truth == predicted))
        pixels[truth, predicted] = blue, green, red, round(255 * alpha)
    side = max(1, _SIDE // count)
    done, data = cv2.imencode(".png", np.kron(pixels, np.ones((side, side, 1), np.uint8)))
    assert done
    return data_uri(data.tobytes(), "png")


def most_confused(counts: Counts, limit: int) -> list[Pair]:
    """Pairs of two classes by the share of the first one's pixels, the largest first; none of no pixel."""
    wrong = _shares(counts) * (1 - np.eye(len(counts)))
    order = [divmod(int(place), len(wrong)) for place in np.argsort(-wrong, axis=None, kind="stable")[:limit]]
    return [Pair(i, j, int(counts[i, j]), float(100 * wrong[i, j])) for i, j in order if wrong[i, j] > 0]


def _shares(counts: Counts) -> NDArray[np.float64]:
    labelled = counts.sum(1, keepdims=True)
    return np.asarray(counts / np.where(labelled, labelled, 1))


def _cell(counts: Counts, shares: NDArray[np.float64], truth: int, predicted: int) -> Cell:
    share = float(shares[truth, predicted])
    (red, green, blue), alpha = _heat(share, right=truth == predicted)
    colour = f"rgb({red} {green} {blue} / {alpha:.2f})"
    return Cell(int(counts[truth, predicted]), 100 * share, colour, alpha > 0.5)


def _heat(share: float, *, right: bool) -> tuple[Colour, float]:
    """Colour and opacity: mistakes are drawn stronger than their share, as even small ones matter."""
    return (_RIGHT, 0.08 + 0.87 * share) if right else (_CONFUSED, 0.04 + 0.91 * share**0.6)
