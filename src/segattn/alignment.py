"""The cells of a coarse map that a pixel lies between, for each way of placing them on the image. Without torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import AlignCorners


class Between(NamedTuple):
    """Of each pixel along a side: the two cells that it lies between, and how far it is from the first, 0..1.

    Attributes:
        first, second: (side,) int64; the same at the border.
        share: (side,) float32, of the second.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    share: NDArray[np.float32]


def between_cells(cells: int, side: int, align_corners: AlignCorners) -> Between:
    """Bilinear resizing along one side, from `cells` to `side`, in float32 as PyTorch does it.

    Raises:
        ValueError: "grid", and no stride that is a power of two gives as many cells.
    """
    pixel = np.arange(side, dtype=np.float32)
    if align_corners == "grid":
        place = np.minimum(pixel / np.float32(grid_stride(cells, side)), np.float32(cells - 1))
    elif align_corners == "corners":
        place = pixel * np.float32((cells - 1) / (side - 1) if side > 1 else 0.0)
    else:
        half = np.float32(0.5)
        place = np.maximum((pixel + half) * np.float32(cells / side) - half, np.float32(0))
    first = np.minimum(place.astype(np.int64), cells - 1)
    return Between(first, np.minimum(first + 1, cells - 1), place - first.astype(np.float32))


def grid_stride(cells: int, side: int) -> int:
    """The power of two s with ``cells == ceil(side / s)``: that of the strided convolutions between the two.

    Raises:
        ValueError: there is none.
    """
    stride = 1
    while -(-side // stride) > cells:
        stride *= 2
    if -(-side // stride) != cells:
        raise ValueError(f"{cells} cells on {side} pixels: no stride that is a power of two gives as many")
    return stride
