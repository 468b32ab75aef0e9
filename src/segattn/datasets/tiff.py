"""The directories of TIFF files (TIFF 6.0, and BigTIFF), which EXIF data are made of too."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION = 274
DEFLATE = (8, 32946)
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MEANING, _FILL, _SAMPLES = 256, 257, 258, 259, 262, 266, 277
_PLANAR, _EXTRA, _FORMAT, _SUBFILE = 284, 338, 339, 254
_PLACES, _COUNTS = (273, 324), (279, 325)
_GEO_KEYS = 34735

_WANTED = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MEANING, _FILL, _SAMPLES, _PLANAR, _EXTRA, _FORMAT, _SUBFILE, ORIENTATION,
    _GEO_KEYS, *_PLACES, *_COUNTS,
}  # fmt: skip

_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_PAGES = 100


@dataclass(frozen=True)
class Tags:
    """The tags of a directory, by the names of TIFF 6.0.

    Attributes:
        meaning: PhotometricInterpretation: 0 grey with 0 as white, 1 grey, 2 RGB, 3 palette, 4 transparency, 5 CMYK,
            6 YCbCr.
        extra: ExtraSamples: of each channel beyond the colours 0 unspecified, 1 associated alpha (the colours are
            multiplied by it), 2 unassociated alpha.
        sample_format: 1 unsigned, 2 signed, 3 floating point.
        held: bytes of pixels, as they are packed.
        orientation_at: where the orientation's value is in the file; None where none is stated.
    """

    width: int
    height: int
    bits: int
    samples: int
    compression: int
    meaning: int
    extra: tuple[int, ...]
    sample_format: int
    planar: bool
    reversed_bits: bool
    held: int
    orientation: int
    orientation_at: int | None


class _Directory:
    """The wanted entries at a place in a file: tag -> (values, where they are), and where the next directory is."""

    def __init__(self, data: bytes, position: int, order: str, *, big: bool) -> None:
        self.entries: dict[int, tuple[tuple[int, ...], int]] = {}
        if position > len(data):  # of 64 bits, which is more than struct takes
            raise EOFError
        count = struct.unpack_from(order + ("Q" if big else "H"), data, position)[0]
        position += 8 if big else 2
        length, word = (20, "Q") if big else (12, "I")
        if position + length * count > len(data):
            raise EOFError
        for place in range(position, position + length * count, length):
            tag, kind, number = struct.unpack_from(f"{order}HH{word}", data, place)
            if tag not in _WANTED or kind not in _CODES:
                continue
            code, value = _CODES[kind], place + length - struct.calcsize(word)
            if number * struct.calcsize(code) > struct.calcsize(word):
                value = struct.unpack_from(order + word, data, value)[0]
            if value + number * struct.calcsize(code) > len(data):
                raise EOFError
            self.entries[tag] = struct.unpack_from(f"{order}{number}{code}", data, value), value
        self.next: int = struct.unpack_from(order + word, data, position + length * count)[0]

    def values(self, *tags: int) -> tuple[int, ...]:
        return next((self.entries[tag][0] for tag in tags if tag in self.entries), ())

    def value(self, tag: int, default: int) -> int:
        return next(iter(self.values(tag)), default)


def pages(data: bytes) -> list[Tags]:
    """The images of a TIFF file; reduced copies and transparency masks of another one are left out.

    Raises:
        EOFError, struct.error: the file ends before its pixels do.
        ValueError: there is no image, or directories that lead in a circle.
    """
    order, big, position = _beginning(data)
    found: list[Tags] = []
    seen: set[int] = set()
    while position:
        if position in seen:
            raise ValueError("its pages lead in a circle")
        seen.add(position)
        directory = _Directory(data, position, order, big=big)
        if len(seen) == 1 or not directory.value(_SUBFILE, 0) & 0b101:
            found.append(_tags(data, directory))
        if len(seen) > _MOST_PAGES:
            raise ValueError(f"more than {_MOST_PAGES} pages")
        position = directory.next
    if not found:
        raise ValueError("it has no pages")
    return found


def orientation(data: bytes) -> int:
    """1..8 as EXIF data say; 1 where they say nothing, or nothing that can be read."""
    try:
        order, big, position = _beginning(data)
        value = _Directory(data, position, order, big=big).value(ORIENTATION, 1)
    except (EOFError, struct.error, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def is_georeferenced(path: Path) -> bool:
    """Whether a file is a GeoTIFF, which says where on Earth it lies; False where it can't be read."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            order, big, position = _beginning(data)  # type: ignore[arg-type]  # is indexed as bytes are
            return bool(_Directory(data, position, order, big=big).values(_GEO_KEYS))  # type: ignore[arg-type]
    except (OSError, EOFError, struct.error, ValueError):
        return False


def _beginning(data: bytes) -> tuple[str, bool, int]:
    if data[:4] not in SIGNATURES:
        raise ValueError("it begins otherwise")
    order, big = "<" if data[:1] == b"I" else ">", b"+" in data[:4]
    return order, big, struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]


def _tags(data: bytes, directory: _Directory) -> Tags:
    places, counts = directory.values(*_PLACES), directory.values(*_COUNTS)
    if any(place + count > len(data) for place, count in zip(places, counts, strict=False)):
        raise EOFError
    bits = set(directory.values(_BITS)) or {1}
    turned = directory.value(ORIENTATION, 1)
    return Tags(
        width=directory.value(_WIDTH, 0),
        height=directory.value(_HEIGHT, 0),
        bits=max(bits) if len(bits) == 1 else 0,
        samples=directory.value(_SAMPLES, 1),
        compression=directory.value(_COMPRESSION, 1),
        meaning=directory.value(_MEANING, -1),
        extra=directory.values(_EXTRA),
        sample_format=directory.value(_FORMAT, 1),
        planar=directory.value(_PLANAR, 1) != 1,
        reversed_bits=directory.value(_FILL, 1) != 1,
        held=sum(counts) if counts else len(data),
        orientation=turned if 1 <= turned <= 8 else 1,
        orientation_at=directory.entries[ORIENTATION][1] if ORIENTATION in directory.entries else None,
    )
