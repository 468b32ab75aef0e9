"""A reader of MATLAB files (level 5, as of MATLAB 6 and 7), for data sets whose masks are distributed in them.

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
