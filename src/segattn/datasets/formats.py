"""Label maps in other files than images: MATLAB's, and COCO's run lengths.

Only what such files hold is read: numeric arrays, text, cells and structures, compressed or not.
The format is described in MathWorks' "MAT-File Format", chapter 1.
"""

from __future__ import annotations

import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.datasets.headers import MAX_PIXELS
from segattn.files import read_regular

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = range(6, 16)
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


_STORED |= {16: "u1", 17: "u2"}  # text, of which only characters of one unit are met


_LARGEST = 1 << 28
"""Bytes of all variables of a file together, unpacked."""

_MOST_PARTS = 1 << 16
"""Cells or fields of all elements of one array."""

_LONGEST_TEXT = 1 << 16


def read_mat(path: str | Path) -> dict[str, Any]:
    """Variables by name.

    Numeric arrays are arrays of the type that they are stored with (MATLAB stores whole numbers as small as they fit),
    text is str, structures of one element are dicts, other structures and cells are lists, in MATLAB's order.
    Variables of other kinds (functions, sparse matrices, objects, complex numbers) are None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a regular file, not a level 5 file (such as version 7.3, which is HDF5), damaged, or too large.
    """
    path = Path(path)
    data = read_regular(path, "MATLAB file", largest=_LARGEST)
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data.startswith(b"MATLAB 7.3"):
        raise ValueError(f"{path}: a MATLAB 7.3 (HDF5) file; save it in MATLAB with the option -v7")
    if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
        raise ValueError(f"{path}: not a MATLAB file of level 5; copy it again from its source")
    order = "<" if data[126:128] == b"IM" else ">"
    try:
        return dict(_variables(data, 128, order))
    except (struct.error, zlib.error, ValueError, KeyError, IndexError, RecursionError) as error:
        what = f"there is no type {error}" if isinstance(error, KeyError) else str(error)[:200]
        raise ValueError(f"{path}: the MATLAB file is damaged ({what}); copy it again from its source") from None


def _variables(data: bytes, position: int, order: str) -> list[tuple[str, Any]]:
    found = []
    room = _LARGEST
    while position < len(data):
        kind, payload, position = _element(data, position, order, padded=False)
        if kind == _COMPRESSED:
            inflate = zlib.decompressobj()
            payload = inflate.decompress(payload, max(room, 1))
            room -= len(payload)
            if not inflate.eof or room < 0:
                raise ValueError(f"a compressed variable is cut short, or they hold more than {_LARGEST} bytes")
            kind, payload, _ = _element(payload, 0, order)
        if kind != _MATRIX:
            raise ValueError(f"element of type {kind} where a variable was expected")
        found.append(_matrix(payload, order))
    return found


def _element(data: bytes, position: int, order: str, *, padded: bool = True) -> tuple[int, bytes, int]:
    """(type, contents, where the next one begins). Short contents share eight bytes with the tag."""
    kind, size = struct.unpack_from(order + "II", data, position)
    if kind >> 16:
        kind, size = kind & 0xFFFF, kind >> 16
        start, following = position + 4, position + 8
    else:
        start = position + 8
        following = start + size + (-size % 8 if padded else 0)
    if start + size > len(data):
        raise ValueError("it ends too early")
    return kind, data[start : start + size], following


def _numbers(data: bytes, position: int, order: str) -> tuple[NDArray[Any], int]:
    kind, payload, position = _element(data, position, order)
    return np.frombuffer(payload, order + _STORED[kind]), position


def _text(data: bytes, position: int, order: str) -> tuple[str, int]:
    codes, position = _numbers(data, position, order)
    if len(codes) > _LONGEST_TEXT or codes.dtype.kind not in "iu":
        raise ValueError("a text is too long or made of fractions")
    return "".join(map(chr, codes.tolist())), position


def _matrix(data: bytes, order: str) -> tuple[str, Any]:
    if not data:
        return "", np.zeros((0, 0))
    flags, position = _numbers(data, 0, order)
    shape, position = _numbers(data, position, order)
    name, position = _text(data, position, order)
    kind, is_complex = int(flags[0]) & 0xFF, int(flags[0]) & 0x800
    if shape.dtype.kind not in "iu" or not 2 <= len(shape) <= 8 or min(shape.tolist()) < 0:
        raise ValueError("an array has no size")
    size = prod(shape.tolist())
    if is_complex:
        return name, None
    if kind in _NUMERIC:
        values, _ = _numbers(data, position, order)
        if len(values) != size:
            raise ValueError(f"an array of {size} numbers holds {len(values)}")
        return name, values.reshape(shape, order="F")
    if kind == _CHAR:
        return name, _text(data, position, order)[0]
    if kind == _CELL:
        return name, _matrices(data, position, order, size)
    if kind == _STRUCT:
        width, position = _numbers(data, position, order)
        _, names, position = _element(data, position, order)
        if int(width[0]) < 1:
            raise ValueError("names of fields have no length")
        fields = [names[i : i + int(width[0])].split(b"\0")[0].decode() for i in range(0, len(names), int(width[0]))]
        contents = _matrices(data, position, order, size * len(fields))
        elements = [
            dict(zip(fields, contents[i : i + len(fields)], strict=True)) for i in range(0, len(contents), len(fields))
        ]
        return name, elements[0] if size == 1 else elements
    return name, None


def _matrices(data: bytes, position: int, order: str, count: int) -> list[Any]:
    if count > _MOST_PARTS:
        raise ValueError(f"more than {_MOST_PARTS} cells or fields")
    values = []
    for _ in range(count):
        _, payload, position = _element(data, position, order)
        values.append(_matrix(payload, order)[1])
    return values


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


def encode_rle(inside: NDArray[np.bool_]) -> dict[str, Any]:
    """(height, width) bool -> the run-length mask that `decode_rle` reads, packed."""
    columns = inside.T.ravel()
    changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [columns.size]])).tolist()
    if columns.size and columns[0]:
        runs.insert(0, 0)
    packed = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        while True:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            packed.append(chr(48 + group + 32 * more))
            if not more:
                break
    return {"size": list(inside.shape), "counts": "".join(packed)}


def is_whole(value: object) -> bool:
    """Whether it is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def shortened(value: object) -> str:
    """A found value, for an error message; of anything large no more than its kind and size."""
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
