"""Run-length masks as the COCO tools write them, which the PASCAL in Detail annotations use too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.data.files import MAX_PIXELS

_LONGEST = 60
"""Bits of a packed run length: enough for every mask that is read, and too few for slow arithmetic."""


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
        raise ValueError(f'a run-length mask with "size" and "counts" was expected, got {shortened(segmentation)}')
    size, counts = segmentation["size"], segmentation["counts"]
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(map(is_whole, size)) or min(size) < 1:
        raise ValueError(f"size: [height, width] in whole pixels was expected, got {shortened(size)}")
    height, width = size
    if height * width > MAX_PIXELS:
        raise ValueError(f"size: {shortened(size)} is more than the {MAX_PIXELS} pixels that are read at most")
    runs = _unpack(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list | tuple) or not all(map(is_whole, runs)):
        raise ValueError(
            f"counts: a list of whole run lengths or their packed text was expected, got {shortened(runs)}"
        )
    if runs and min(runs) < 0:
        raise ValueError(f"run lengths can't be negative, and {shortened(min(runs))} is among them")
    if sum(runs) != height * width:  # of Python's integers, which don't overflow
        raise ValueError(
            f"run lengths add up to {shortened(sum(runs))}, not to {width}x{height} = {width * height} pixels"
        )
    inside = np.arange(len(runs)) % 2 == 1
    mask: NDArray[np.bool_] = np.repeat(inside, runs).reshape(width, height).T
    return mask


def is_whole(value: object) -> bool:
    """Whether it is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def shortened(value: object) -> str:
    """What was found, for an error message; of anything large no more than its kind and size."""
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else f"a number of {value.bit_length()} bits"
    if isinstance(value, list | tuple | dict | str) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}" if _is_nested(value) else str(value)[:60]
    return repr(value)[:60]


def _is_nested(value: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> bool:
    parts = value.values() if isinstance(value, dict) else value
    return not all(
        isinstance(part, float) or part is None or (is_whole(part) and part.bit_length() <= 64) for part in parts
    )


def _unpack(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {character!r} does not occur in packed run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if shift > _LONGEST:
            raise ValueError("a packed run length is longer than any mask")
        if bits & 32:
            continue
        if bits & 16:  # the highest bit of the last group is the sign
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("packed run lengths end inside a number")
    return runs
