"""Label Studio's run lengths of brush masks: bits of the format of thi.ng/rle-pack, of RGBA bytes along the rows.

A stream of bits, the highest of each byte first: 32 for the number of values, 5 for the bits of a value less 1, four
times 4 for the bits of a length less 1. Then runs: 1 for "the same value", 2 for which of the four, so many for the
length less 1, then one value, or as many as the length says. Values are the bytes of RGBA pixels; the mask is alpha.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import shown

_MOST_RUNS = 1 << 24
_OPAQUE = 128


def decode_brush(rle: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The bytes of `rle` -> (height, width) bool, true where alpha is 128 or more.

    Raises:
        ValueError: no list of bytes, cut short, or of another number of pixels.
    """
    if not isinstance(rle, list) or not rle or any(type(value) is not int or not 0 <= value <= 255 for value in rle):
        raise ValueError(f"rle: a list of bytes was expected, got {shown(rle)}")
    bits = _Bits(bytes(rle))
    count, word = bits.read(32), bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    height, width = size
    if count != 4 * height * width or word != 8:
        raise ValueError(f"a brush mask of {count} values of {word} bits for {width}x{height} RGBA pixels")
    values = np.zeros(count, np.uint8)
    position = runs = 0
    while position < count:
        runs += 1
        same = bits.read(1)
        length = bits.read(lengths[bits.read(2)]) + 1
        if position + length > count or runs > _MOST_RUNS:
            raise ValueError("a brush mask whose run lengths are more than its pixels")
        values[position : position + length] = bits.read(8) if same else bits.read_bytes(length)
        position += length
    return values.reshape(height, width, 4)[..., 3] >= _OPAQUE


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self._data = data
        self._place = 0

    def read(self, count: int) -> int:
        start, self._place = self._place, self._place + count
        if self._place > 8 * len(self._data):
            raise ValueError("a brush mask that is cut short")
        first, last = start // 8, (self._place + 7) // 8
        value = int.from_bytes(self._data[first:last], "big") >> (8 * last - self._place)
        return value & ((1 << count) - 1)

    def read_bytes(self, count: int) -> NDArray[np.uint8]:
        start, self._place = self._place, self._place + 8 * count
        if self._place > 8 * len(self._data):
            raise ValueError("a brush mask that is cut short")
        return np.packbits(self._bits[start : self._place])
