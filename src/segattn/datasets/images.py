"""Images and masks from files as they are stored, and the files of a folder.

Links are followed, to files and to folders; one that leads back to a folder that it is in is cut. Hidden files and
folders, and what tools leave behind, are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.datasets import decoding
from segattn.datasets.headers import Header, ImageFile, checked, read_checked
from segattn.files import link_to_nothing

_AS_PNG = "save masks as PNG, from the original ids"

_INEXACT = {
    "JPEG": f"JPEG changes the ids of a mask; {_AS_PNG}",
    "WebP": f"WebP has colours, no ids, and may change them; {_AS_PNG}",
    "JPEG 2000": f"JPEG 2000 may change the ids of a mask and doesn't say so; {_AS_PNG}",
    "AVIF": f"AVIF has colours, no ids, and may change them; {_AS_PNG}",
}

_EXACT_TIFF = frozenset({1, 5, 8, 32773, 32946, 34925, 50000, 2, 3, 4})
"""TIFF compressions that change nothing: none, LZW, deflate, PackBits, LZMA, Zstandard, CCITT."""


class Photo(NamedTuple):
    """An image (H, W, 3) uint8 RGB, and the orientation, 1..8 as in EXIF, that its file states."""

    pixels: NDArray[np.uint8]
    orientation: int


def read_image(path: str | Path, *, upright: bool = False) -> NDArray[np.uint8]:
    """An image file as (H, W, 3) uint8, RGB.

    Grey becomes three equal channels. 16-bit values are divided by 257 and rounded, so that 0..65535 becomes 0..255.
    Alpha is dropped, not blended with a background: what lies under it is the photo, and models are trained on photos.

    Args:
        upright: turn the image as its file says (EXIF orientation and its like), as viewers do: for photos that people
            hand in. False gives the pixels as they are stored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: empty, cut short, damaged, too large, of several frames or no image, with the file's name and what
            to do.
    """
    return read_photo(path, upright=upright).pixels


def read_photo(path: str | Path, *, upright: bool = False) -> Photo:
    """`read_image`, and the orientation that the file states."""
    path = Path(path)
    return _photo(read_checked(path), str(path), upright)


def decode_image(data: bytes, *, name: str, upright: bool = False) -> NDArray[np.uint8]:
    """`read_image` of a file's bytes; `name` is what errors call it. Raises ValueError as there."""
    return _photo(checked(data, name), name, upright).pixels


def _photo(file: ImageFile, name: str, upright: bool) -> Photo:
    with _naming(name):
        pixels = decoding.plain_png(file, 2)
        if pixels is None:
            pixels = _eight_bits(_colours(file), file.header.largest)
    turn = file.header.orientation if upright else 1
    return Photo(pixels if turn == 1 else decoding.upright(pixels, turn), file.header.orientation)


def read_ids(path: str | Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A label file as (H, W) uint8 or uint16: the stored ids, or, where there is a palette, the indices into it.

    Grey values of 1, 2 and 4 bits are the stored ones too (decoders stretch them to 0..255). PNG, TIFF, BMP, PGM and
    GIF are read; docs/datasets.md has the table.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: empty, cut short, damaged, too large, no image, lossy, of several channels or frames, or stored in a
            way that readers understand differently (white as 0, an orientation).
    """
    path = Path(path)
    file = read_checked(path)
    header = file.header
    with _naming(str(path)):
        if header.kind in _INEXACT:
            raise ValueError(_INEXACT[header.kind])
        if header.orientation != 1:
            raise ValueError(f"the mask is stored turned (orientation {header.orientation}); save it upright as PNG")
        ids = _ids(file)
        if ids.ndim != 2:
            raise _channels(ids.shape[2])
        if ids.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"ids of type {ids.dtype}; 8 or 16 bit were expected, so save it as PNG")
    return ids


def _colours(file: ImageFile) -> NDArray[Any]:
    """(H, W, 3) RGB, or (H, W) grey, of 8 or 16 bits."""
    header = file.header
    if header.kind == "PNM":
        pixels = decoding.pnm(file)
        return 1 - pixels if header.form == 4 else pixels
    if header.kind == "TIFF":
        _check_tiff_image(header)
    if header.kind == "GIF":
        _check_gif(header)
    if header.kind in ("GIF", "AVIF", "BMP") or (header.kind == "TIFF" and header.bits <= 8):
        return decoding.pillow(file, colours=True)
    if header.kind == "JPEG 2000" and not (header.plain and header.bits in (8, 16)):
        raise ValueError("JPEG 2000 of a kind that readers understand differently; save it as PNG or JPEG")
    pixels = decoding.opencv(file, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels of type {pixels.dtype}; 8 or 16 bit were expected, so convert it to PNG or JPEG")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels))


def _eight_bits(pixels: NDArray[Any], largest: int) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3) of 0..`largest`, or of all 16 bits -> (H, W, 3) uint8."""
    if pixels.dtype == np.uint16 and largest == 255:
        largest = 65535
    if largest != 255:
        pixels = ((pixels.astype(np.uint32) * 255 + largest // 2) // largest).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels, np.uint8)


def _ids(file: ImageFile) -> NDArray[Any]:
    header = file.header
    fast = decoding.plain_png(file, 0)
    if fast is not None:
        return fast[..., 0]
    if header.kind == "PNG":
        return _png_ids(file)
    if header.kind == "TIFF":
        return _tiff_ids(file)
    if header.kind == "GIF":
        _check_gif(header)
        return decoding.pillow(file, colours=False)
    if header.kind == "PNM":
        if header.form == 4:
            raise ValueError("PBM stores black as 1, and readers give 0 for it; save it as PGM or PNG")
        return decoding.pnm(file)
    if header.bits > 8:
        raise _channels(header.bits // 8)
    if header.form or header.bits not in (1, 4, 8):
        raise ValueError(f"compressed BMP masks are not read, nor others than of 1, 4 and 8 bits; {_AS_PNG}")
    return decoding.bmp_indices(file)


def _png_ids(file: ImageFile) -> NDArray[Any]:
    header = file.header
    if header.form == 3:  # OpenCV knows only the colours of a palette PNG, not its indices
        return decoding.pillow(file, colours=False)
    if header.channels > 1:
        raise _channels(header.channels)
    ids = decoding.opencv(file, cv2.IMREAD_UNCHANGED)
    if ids.ndim == 3:
        ids = ids[..., 0]  # grey with a transparent value is decoded to equal channels and alpha
    return ids // np.uint8(255 // ((1 << header.bits) - 1)) if header.bits < 8 else ids


def _tiff_ids(file: ImageFile) -> NDArray[Any]:
    header, tags = file.header, file.header.tags
    assert tags is not None
    if tags.samples != 1:
        raise _channels(tags.samples)
    if tags.compression not in _EXACT_TIFF:
        raise ValueError(f"this TIFF is compressed in a way ({tags.compression}) that may change ids; {_AS_PNG}")
    if tags.meaning == 0:
        raise ValueError(
            "this TIFF stores white as 0 (min-is-white), and readers give other ids for it; save it as PNG"
        )
    if tags.meaning not in (1, 3) or tags.reversed_bits:
        raise ValueError(f"a TIFF of grey or palette ids was expected, this is of kind {tags.meaning}; save it as PNG")
    if header.bits not in (1, 2, 4, 8, 16) or tags.sample_format != 1 or (header.bits == 16 and tags.meaning == 3):
        raise ValueError(f"ids of type {_type(header)}; unsigned 8 or 16 bit were expected, so save it as PNG")
    ids = decoding.pillow(file, colours=False)
    if header.bits in (1, 16):  # Pillow gives bits as bool, and 16 bits in the file's order of bytes
        return ids.astype(np.uint8 if header.bits == 1 else np.uint16)
    # Pillow stretches grey values of 2 and 4 bits, but not indices
    return ids // np.uint8(255 // ((1 << header.bits) - 1)) if header.bits < 8 and tags.meaning == 1 else ids


def _check_gif(header: Header) -> None:
    if not header.plain:
        raise ValueError("the image in this GIF doesn't fill it; save it as PNG")


def _check_tiff_image(header: Header) -> None:
    """Raises ValueError for kinds of TIFF that decoders don't agree about."""
    tags = header.tags
    assert tags is not None
    colours = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}.get(tags.meaning, 0)
    alpha = tags.samples - colours
    known = colours and (alpha == 0 or (alpha == 1 and tags.meaning in (1, 2)))
    if header.bits == 16:
        known = known and tags.meaning in (1, 2) and (tags.meaning, alpha) != (1, 1) and not tags.planar
    elif header.bits < 8:
        known = known and tags.samples == 1
    if not known or header.bits not in (1, 2, 4, 8, 16) or tags.sample_format != 1:
        raise ValueError(
            f"a TIFF of kind {tags.meaning} with {tags.samples} channels of type {_type(header)}; grey or RGB of "
            "unsigned 8 or 16 bit was expected, so save it as PNG or JPEG"
        )
    if alpha and 1 in tags.extra:
        raise ValueError("its colours are multiplied by alpha (associated alpha); save it without alpha, or as PNG")


def _type(header: Header) -> str:
    assert header.tags is not None
    word = {1: "uint", 2: "int", 3: "float"}.get(header.tags.sample_format, "unknown")
    return f"{word}{header.bits}" if header.bits else "mixed bits"


def _channels(count: int) -> ValueError:
    return ValueError(
        f"a mask of one channel of class ids was expected, this has {count} channels (colours?); "
        "convert it once, as `segattn data import rgb SRC DST` does: for each class, "
        "ids[(mask == colour).all(axis=2)] = id, saved as an 8-bit grey PNG"
    )


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


MOST_FOLDERS = 100_000
"""Sub-folders, those counted again that several links lead to."""

_LEFTOVERS = frozenset(
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini")
)


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is hidden or a tool's: .DS_Store, ._photo.png, .ipynb_checkpoints, ..."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def files_below(folder: Path) -> Iterator[Path]:
    """All that is no folder below `folder` and its sub-folders, sorted by path in each; pipes and the like too.

    Raises:
        FileNotFoundError: a link leads to nothing.
        OSError: a folder can't be read.
        ValueError: more than `MOST_FOLDERS` sub-folders.
    """
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    visited = 0
    while waiting:
        here, above = waiting.pop()
        found = here.stat()
        identity = (found.st_dev, found.st_ino)
        if identity in above:
            continue
        visited += 1
        if visited > MOST_FOLDERS:
            raise ValueError(f"{folder}: more than {MOST_FOLDERS} folders below it; do links lead to each other there?")
        below = []
        for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
            if is_leftover(entry.name):
                continue
            path = here / entry.name
            if entry.is_symlink() and not path.exists():
                raise link_to_nothing(path)
            if entry.is_dir():
                below.append((path, above | {identity}))
            else:
                yield path
        waiting += reversed(below)
