"""Whole image files as bytes: read them, and refuse what is broken or too large before a decoder sees it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from segattn.files import read_regular

MAX_PIXELS = 1 << 28
"""Larger images (268 million pixels, 800 MB decoded) are refused by their header, before anything is decoded."""

MAX_BYTES = 8 * MAX_PIXELS
"""Of an image file: four channels of 16 bits of the largest image, not compressed."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def read_checked(path: Path) -> bytes:
    """The bytes of an image file that exists, is complete and is of a reasonable size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, a pipe or a device, empty, cut short, larger than `MAX_PIXELS`, or no image at all.
    """
    data = read_regular(path, largest=MAX_BYTES)
    if not data:
        raise ValueError(f"{path}: the file is empty (0 bytes); copy it again from its source")
    try:
        width, height = _size_of_complete(data)
    except (EOFError, struct.error, IndexError):
        raise ValueError(
            f"{path}: the file is cut short after {len(data)} bytes (a broken download or copy?); copy it again"
        ) from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError, SyntaxError) as error:
        if isinstance(error, Image.DecompressionBombError):
            raise ValueError(f"{path}: {_too_large()}") from None
        raise ValueError(f"{path}: not an image that can be read ({', '.join(IMAGE_SUFFIXES)} can)") from None
    if width * height > MAX_PIXELS:
        raise ValueError(f"{path}: {width}x{height}, {_too_large()}")
    return data


def png_header(data: bytes) -> tuple[int, int] | None:
    """(bit depth, colour type) of a PNG file, None for others. Types: 0 grey, 2 RGB, 3 palette, 4 and 6 with alpha."""
    return (data[24], data[25]) if data.startswith(PNG_SIGNATURE) else None


def damaged_chunk(data: bytes) -> bool:
    """Whether a chunk of a complete PNG file has a wrong checksum; False for other formats."""
    if not data.startswith(PNG_SIGNATURE):
        return False
    position, kind = len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if zlib.crc32(memoryview(data)[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return True
        position = end + 4
    return False


def is_jpeg(data: bytes) -> bool:
    """Whether the file is a JPEG, whatever it is called."""
    return data.startswith(b"\xff\xd8")


def _too_large() -> str:
    return f"more than the {MAX_PIXELS} pixels that are read at most; cut it into tiles or make it smaller"


def _size_of_complete(data: bytes) -> tuple[int, int]:
    """(width, height) by the header. Raises EOFError and the like where the file ends before its format says it does.

    Decoders differ in what they do with a file that is cut short (some fill the rest with grey), so it is found here.
    """
    if data.startswith(PNG_SIGNATURE):
        return _png(data)
    if is_jpeg(data):
        return _jpeg(data)
    if data.startswith(b"RIFF") and struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise EOFError
    if data.startswith(b"BM") and struct.unpack_from("<I", data, 2)[0] > len(data):
        raise EOFError
    with Image.open(io.BytesIO(data)) as image:  # reads the header only
        return (image.width, image.height)


def _png(data: bytes) -> tuple[int, int]:
    width: int
    height: int
    width, height = struct.unpack_from(">II", data, 16)
    position = len(PNG_SIGNATURE)
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        position += length + 12
        if kind == b"IEND":
            if position > len(data):
                raise EOFError
            return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    position = 2
    while True:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            size = width, height
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
        if marker == 0xDA:
            break
    # in the coded picture FF is followed by 00 or a restart marker, so the end marker cannot occur before the end
    if size is None or data.find(b"\xff\xd9", position) < 0:
        raise EOFError
    return size
