"""Run-length masks as the COCO tools write them, which the PASCAL in Detail annotations use too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def decode_rle(segmentation: Any) -> NDArray[np.bool_]:
    """A run-length mask -> (height, width) bool.

    Args:
        segmentation: ``{"size": [height, width], "counts": ...}``. Runs alternate between outside and inside, beginning
            outside, and go down the columns. `counts` is their list, or their packed text: five bits a character from
            "0" on, low bits first, the sixth bit says that more follow; from the fourth run on what is packed is the
            difference from the run two before.

    Raises:
        ValueError: it has another structure, or its runs do not fill the mask exactly.
    """
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError(f'a run-length mask with "size" and "counts" was expected, got {str(segmentation)[:60]}')
    height, width = (int(side) for side in segmentation["size"])
    counts = segmentation["counts"]
    runs = np.asarray(_unpack(counts) if isinstance(counts, str) else counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"run lengths add up to {runs.sum()}, not to {width}x{height} = {width * height} pixels")
    inside = np.arange(len(runs)) % 2 == 1
    mask: NDArray[np.bool_] = np.repeat(inside, runs).reshape(width, height).T
    return mask


def _unpack(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {character!r} does not occur in packed run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # the highest bit of the last group is the sign
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("packed run lengths end inside a number")
    return runs
