"""Whole files as bytes: read them, and refuse what is broken or too large before a decoder sees it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from segattn.data.headers import Header, NotAnImageError, read_header
from segattn.files import read_regular

MAX_PIXELS = 1 << 28
"""Larger images (268 million pixels, 800 MB decoded) are refused by their header, before anything is decoded."""
MAX_SCANNED = 1 << 32
"""Pixels times scans of a JPEG: a progressive one of 268 million pixels may have 16 scans (libjpeg writes 10)."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
READ_KINDS = "PNG, JPEG, TIFF, BMP, PGM, PPM, WebP, GIF, JPEG 2000 and AVIF"


class ImageFile(NamedTuple):
    """A file's bytes, and what its header says."""

    data: bytes
    header: Header


def read_checked(path: Path) -> ImageFile:
    """An image file that exists, is complete, holds one picture and is of a reasonable size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file, empty, cut short, of several pages or frames, larger than `MAX_PIXELS`, or
            no image at all.
    """
    data = read_regular(path)
    if not data:
        raise ValueError(f"{path}: the file is empty (0 bytes); copy it again from its source")
    try:
        header = read_header(data)
    except (EOFError, struct.error, IndexError):
        raise ValueError(
            f"{path}: the file is cut short after {len(data)} bytes (a broken download or copy?); copy it again"
        ) from None
    except NotAnImageError:
        raise ValueError(f"{path}: not an image that can be read ({READ_KINDS} can)") from None
    except ValueError as error:
        raise ValueError(f"{path}: the image is damaged ({error}); copy it again") from None
    width, height, pixels = header.width, header.height, header.width * header.height
    if pixels > MAX_PIXELS or pixels * header.scans > MAX_SCANNED:
        scans = f" in {header.scans} scans" if header.scans > 1 else ""
        raise ValueError(
            f"{path}: {width}x{height}{scans}, more than the {MAX_PIXELS} pixels that are read at most; "
            "cut it into tiles or make it smaller"
        )
    if not pixels:
        raise ValueError(f"{path}: the image is damaged (its size is {width}x{height}); copy it again")
    if header.room is not None and header.room < height * ((width * header.bits * header.channels + 7) // 8):
        raise ValueError(
            f"{path}: the image is damaged (it says {width}x{height} and holds {len(data)} bytes); copy it again"
        )
    if header.frames != 1:
        raise ValueError(f"{path}: holds {header.frames} pictures (pages or frames); save the one that is meant as PNG")
    return ImageFile(data, header)
