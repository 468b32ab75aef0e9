"""Gives the frames of an MP4 file that OpenCV wrote the times that they had: its writer knows only a constant rate.

The table of durations and the lengths are all that says so. They are in one box (`moov`) at the end of the file, which
is written again; what was encoded stays where it is. ISO/IEC 14496-12 describes the boxes.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from fractions import Fraction
from itertools import chain, groupby, pairwise
from pathlib import Path
from struct import pack, unpack_from
from typing import BinaryIO

_NESTED = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_FINE, _COARSE = 90_000, 1_000  # ticks a second, as long as lengths fit 32 bits; the second for 49 days
_LONGEST_IN_FINE = 40_000.0  # seconds


class CutShortError(ValueError):
    """A file does not hold what was written to it."""


def set_times(path: Path, times: array[float], end: float, pixel_aspect: Fraction = Fraction(1)) -> None:
    """Write the times of the frames into an MP4 file of one video track without reordered frames.

    Args:
        times: of each frame in seconds, rising, the first 0.
        end: when the last one ends, in seconds.
        pixel_aspect: width of a pixel by its height.

    Raises:
        CutShortError: the file does not hold that many frames, or not all that its index names.
    """
    ticks = _FINE if end < _LONGEST_IN_FINE else _COARSE
    at = chain((round(time * ticks) for time in times), [round(end * ticks)])
    durations = array("Q", (max(after - before, 1) for before, after in pairwise(at)))
    length = sum(durations)
    with path.open("r+b") as file:
        place, index = _index(file)

        def changed(kind: bytes, box: bytes) -> bytes | None:
            wide = box[0] == 1 if box else False
            if kind in (b"mvhd", b"mdhd"):
                start = 20 if wide else 12
                return box[:start] + pack(">IQ" if wide else ">II", ticks, length) + box[start + (12 if wide else 8) :]
            if kind == b"tkhd":
                start = 28 if wide else 20
                box = box[:start] + pack(">Q" if wide else ">I", length) + box[start + (8 if wide else 4) :]
                width = unpack_from(">I", box, len(box) - 8)[0]
                return box[:-8] + pack(">I", round(width * pixel_aspect)) + box[-4:]
            if kind == b"stsd" and pixel_aspect != 1:
                return _with_pixel_aspect(box, pixel_aspect)
            if kind == b"stsz" and unpack_from(">I", box, 8)[0] != len(times):
                raise CutShortError(f"{unpack_from('>I', box, 8)[0]} frames in the file, {len(times)} written")
            if kind == b"stts":
                runs = [(sum(1 for _ in run), duration) for duration, run in groupby(durations)]
                return pack(">II", 0, len(runs)) + b"".join(pack(">II", *run) for run in runs)
            if kind in (b"edts", b"ctts"):  # the first frame is at 0, and none is out of order
                return None
            return box

        rebuilt = _rebuilt(b"moov", index, changed)
        file.seek(place)
        file.write(rebuilt)
        file.truncate()


def _index(file: BinaryIO) -> tuple[int, bytes]:
    """Where the last box of the file, `moov`, begins, and what is in it."""
    size = os.fstat(file.fileno()).st_size
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or place + length > size:
            break
        if kind == b"moov" and place + length == size:
            file.seek(place + 8)
            return place, file.read(length - 8)
        place += length
    raise CutShortError("the file has no index at its end")


def _rebuilt(kind: bytes, content: bytes, changed: Callable[[bytes, bytes], bytes | None]) -> bytes:
    """A box of boxes with each of them changed, or left out where that gives None."""
    parts = []
    place = 0
    while place + 8 <= len(content):
        length, inner = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if length < 8 or place + length > len(content):
            raise CutShortError("the file's index is damaged")
        box = content[place + 8 : place + length]
        new = _rebuilt(inner, box, changed)[8:] if inner in _NESTED else changed(inner, box)
        if new is not None:
            parts.append(pack(">I", 8 + len(new)) + inner + new)
        place += length
    joined = b"".join(parts)
    return pack(">I", 8 + len(joined)) + kind + joined


def _with_pixel_aspect(descriptions: bytes, aspect: Fraction) -> bytes:
    """The description of a track's one codec, `stsd`, with a `pasp` box."""
    box = pack(">I4sII", 16, b"pasp", aspect.numerator, aspect.denominator)
    before = descriptions.find(b"pasp")
    if before >= 0:
        return descriptions[: before - 4] + box + descriptions[before + 12 :]
    length = unpack_from(">I", descriptions, 8)[0]
    return descriptions[:8] + pack(">I", length + len(box)) + descriptions[12:] + box
