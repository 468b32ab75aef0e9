"""Headers of image files: kind, size and bit depth, read before any pixel is decoded.

Decoders differ in what they do with a file that is cut short (some fill the rest with grey), with several images in
one file and with orientation, so all of that is found here, from the formats' specifications.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from segattn.datasets import tiff
from segattn.datasets.tiff import Tags
from segattn.files import read_regular

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEFLATE_RATIO = 1032  # the most that deflate can shrink
_J2K, _JP2 = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


class NotAnImageError(ValueError):
    """The file begins like none of the known kinds."""


@dataclass(frozen=True)
class Header:
    """The header of an image file.

    Attributes:
        kind: PNG, JPEG, TIFF, BMP, PNM, WebP, GIF, JPEG 2000 or AVIF, by its first bytes, whatever it is called.
        width, height: of the pixels as they are stored.
        bits: of a value of one channel (of all channels together in BMP).
        channels: with alpha; 1 for a palette.
        form: the format's own number for what the values mean: a PNG's colour type, a BMP's compression, the digit of a
            PNM.
        orientation: 1..8 as in EXIF: how to turn the stored pixels upright.
        frames: images in the file, reduced copies of one not counted.
        scans: passes over the pixels.
        offset: where the pixels begin, in PNM and BMP.
        largest: value that means white, in PNM.
        plain: nothing in it asks for special treatment (interlacing in PNG, unusual components in JPEG 2000).
        room: bytes of pixels that the file can hold at most, unpacked; None where that is not known.
        tags: of a TIFF.
    """

    kind: str
    width: int
    height: int
    bits: int = 8
    channels: int = 3
    form: int = 0
    orientation: int = 1
    frames: int = 1
    scans: int = 1
    offset: int = 0
    largest: int = 255
    plain: bool = True
    room: int | None = None
    tags: Tags | None = None


def read_header(data: bytes) -> Header:
    """The header of a complete image file.

    Raises:
        NotAnImageError: none of the known kinds.
        EOFError, struct.error, IndexError: the file ends before its format says that it does.
        ValueError: it contradicts itself.
    """
    if data.startswith(PNG_SIGNATURE):
        return _png(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[:4] in tiff.SIGNATURES:
        return _tiff(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if re.match(rb"P[1-6]\s", data):
        return _pnm(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _gif(data)
    if data.startswith((_J2K, _JP2)):
        return _jpeg2000(data)
    if data[4:8] == b"ftyp":
        return _avif(data)
    raise NotAnImageError


def _png(data: bytes) -> Header:
    width, height, bits, form, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    position, kind = len(PNG_SIGNATURE), b""
    orientation, frames, packed = 1, 1, 0
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        position = start + length + 4
        if kind == b"eXIf":
            orientation = tiff.orientation(data[start : start + length])
        elif kind == b"acTL":
            frames = struct.unpack_from(">I", data, start)[0]
        elif kind == b"IDAT":
            packed += length
    if position > len(data):
        raise EOFError
    if form not in _PNG_CHANNELS:
        raise ValueError(f"there is no colour type {form}")
    return Header(
        "PNG",
        width,
        height,
        bits,
        _PNG_CHANNELS[form],
        form,
        orientation,
        frames,
        plain=not interlaced,
        room=_DEFLATE_RATIO * (packed + 64),
    )


def _jpeg(data: bytes) -> Header:
    size: tuple[int, int, int, int] | None = None
    orientation, position, densest = 1, 2, 0
    while True:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = struct.unpack_from(">H", data, position + 2)[0]
        if marker in _JPEG_FRAMES:
            size = struct.unpack_from(">BHHB", data, position + 4)
            if marker < 0xC8:  # Huffman codes: a bit at least for each block of 8 x 8, or for several that lie together
                factors = data[position + 11 : position + 2 + length : 3]
                densest = 8 * 64 * max(n >> 4 for n in factors) * max(n & 15 for n in factors) if size[3] > 1 else 512
        elif marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = tiff.orientation(data[position + 10 : position + 2 + length])
        position += 2 + length
        if marker == 0xDA:
            break
    # in the coded image FF is followed by 00 or a restart marker, so the end marker cannot occur before the end
    if size is None or data.find(b"\xff\xd9", position) < 0:
        raise EOFError
    bits, height, width, channels = size
    scans = 1 + data.count(b"\xff\xda", position)
    room = densest * (len(data) - position) * channels if densest else None
    return Header("JPEG", width, height, bits, channels, orientation=orientation, scans=scans, room=room)


def _tiff(data: bytes) -> Header:
    pages = tiff.pages(data)
    tags = pages[0]
    ratio = 1 if tags.compression == 1 else _DEFLATE_RATIO
    known = tags.compression in (1, *tiff.DEFLATE) and tags.meaning != 6  # whose colours have fewer pixels
    return Header(
        "TIFF",
        tags.width,
        tags.height,
        tags.bits,
        tags.samples,
        orientation=tags.orientation,
        frames=len(pages),
        room=tags.held * ratio if known else None,
        tags=tags,
    )


def _bmp(data: bytes) -> Header:
    stated, offset, size = struct.unpack_from("<I4xII", data, 2)
    if size < 40:
        width, height, bits, form = *struct.unpack_from("<HH2xH", data, 18), 0
    else:
        width, height, bits, form = struct.unpack_from("<ii2xHI", data, 18)
    if width < 0:
        raise ValueError(f"its width is {width}")
    if stated > len(data) or (form in (0, 3) and offset + abs(height) * ((width * bits + 31) // 32 * 4) > len(data)):
        raise EOFError
    # a negative height says that the first row is the uppermost
    return Header("BMP", width, abs(height), bits, form=form, offset=offset, plain=height > 0)


def _pnm(data: bytes) -> Header:
    form = data[1] - ord("0")
    position, numbers, frames = 2, [], 1
    for _ in range(2 if form in (1, 4) else 3):
        number = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})(?=\s)").match(data, position)
        if number is None:
            raise ValueError("its header has no size") if len(data) > position + 10000 else EOFError
        numbers.append(int(number[1]))
        position = number.end()
    width, height, largest = [*numbers, 1][:3]
    if not 0 < largest < 1 << 16:
        raise ValueError(f"its largest value is {largest}")
    channels = 3 if form in (3, 6) else 1
    bits = 1 if form in (1, 4) else 8 if largest < 256 else 16
    if form > 3:
        end = position + 1 + height * ((width * channels * bits + 7) // 8)
        if end > len(data):
            raise EOFError
        frames += re.compile(rb"\s{0,9}P[1-6]\s").match(data, end) is not None
    return Header("PNM", width, height, bits, channels, form, frames=frames, offset=position + 1, largest=largest)


def _webp(data: bytes) -> Header:
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise EOFError
    size: tuple[int, int] | None = None
    orientation, moving, position = 1, 0, 12
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if kind == b"VP8X" and size is None:
            size = (
                1 + int.from_bytes(data[start + 4 : start + 7], "little"),
                1 + int.from_bytes(data[start + 7 : start + 10], "little"),
            )
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", data, start + 6)
            size = width & 0x3FFF, height & 0x3FFF
        elif kind == b"VP8L" and size is None:
            packed = struct.unpack_from("<I", data, start + 1)[0]
            size = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
        elif kind == b"EXIF":
            orientation = tiff.orientation(data[start : start + length].removeprefix(b"Exif\0\0"))
        elif kind == b"ANMF":
            moving += 1
        position = start + length + length % 2
    if size is None:
        raise ValueError("it holds no image")
    return Header("WebP", *size, orientation=orientation, frames=moving or 1)


def _gif(data: bytes) -> Header:
    """`plain` is false where the image doesn't fill its canvas."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames, filled = 0, True
    while data[position] != 0x3B:
        if data[position] == 0x2C:
            frames += 1
            *place, flags = struct.unpack_from("<HHHHB", data, position + 1)
            filled &= place == [0, 0, width, height]
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif data[position] == 0x21:
            position += 2
        else:
            raise ValueError(f"a block begins with {data[position]}")
        while data[position]:  # parts of 255 bytes at most, the last one empty
            position += 1 + data[position]
        position += 1
    return Header("GIF", width, height, channels=1, frames=frames, plain=filled)


def _jpeg2000(data: bytes) -> Header:
    """`plain` is false for palettes, colours other than sRGB and grey, signed values and channels of several sizes."""
    start = data.find(_J2K)
    if start < 0:
        raise EOFError
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, start + 8)
    channels = struct.unpack_from(">H", data, start + 40)[0]
    components = {struct.unpack_from(">BBB", data, start + 42 + 3 * number) for number in range(channels)}
    if data.find(b"\xff\xd9", start) < 0:
        raise EOFError
    if not tile_width or not tile_height or right < left or bottom < top:
        raise ValueError("its tiles have no size")
    boxes = data[:start]
    colours = boxes.find(b"colr\x01")
    known = colours < 0 or boxes[colours + 7 : colours + 11] in (b"\0\0\0\x10", b"\0\0\0\x11")
    depth = min(components, default=(0, 0, 0))[0]
    plain = known and b"pclr" not in boxes and components == {(depth, 1, 1)} and depth < 128
    return Header("JPEG 2000", right - left, bottom - top, (depth & 127) + 1, channels, plain=plain)


def _avif(data: bytes) -> Header:
    position = 0
    while position < len(data):
        length = struct.unpack_from(">I", data, position)[0]
        if length == 1:
            length = struct.unpack_from(">Q", data, position + 8)[0]
        if length == 0:
            break
        position += max(length, 8)
    if position > len(data):
        raise EOFError
    try:
        with Image.open(io.BytesIO(data), formats=["AVIF"]) as image:
            frames, turned = getattr(image, "n_frames", 1), image.getexif().get(tiff.ORIENTATION, 1)
            return Header("AVIF", image.width, image.height, orientation=_valid(turned), frames=frames)
    except Exception:  # Pillow has no narrower type, nor do versions without AVIF know the format
        raise NotAnImageError from None


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


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
    """An image file that exists, is complete, holds one image and is of a reasonable size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file, empty, cut short, of several pages or frames, larger than `MAX_PIXELS`, or
            no image at all.
    """
    return checked(read_regular(path), str(path))


def checked(data: bytes, name: str) -> ImageFile:
    """An image file of these bytes; `name` is what errors call it. Raises ValueError as `read_checked`."""
    if not data:
        raise ValueError(f"{name}: the file is empty (0 bytes); copy it again from its source")
    try:
        header = read_header(data)
    except (EOFError, struct.error, IndexError):
        raise ValueError(
            f"{name}: the file is cut short after {len(data)} bytes (a broken download or copy?); copy it again"
        ) from None
    except NotAnImageError:
        raise ValueError(f"{name}: not an image that can be read ({READ_KINDS} can)") from None
    except ValueError as error:
        raise ValueError(f"{name}: the image is damaged ({error}); copy it again") from None
    width, height, pixels = header.width, header.height, header.width * header.height
    if pixels > MAX_PIXELS or pixels * header.scans > MAX_SCANNED:
        scans = f" in {header.scans} scans" if header.scans > 1 else ""
        raise ValueError(
            f"{name}: {width}x{height}{scans}, more than the {MAX_PIXELS} pixels that are read at most; "
            "cut it into tiles or make it smaller"
        )
    if not pixels:
        raise ValueError(f"{name}: the image is damaged (its size is {width}x{height}); copy it again")
    if header.room is not None and header.room < height * ((width * header.bits * header.channels + 7) // 8):
        raise ValueError(
            f"{name}: the image is damaged (it says {width}x{height} and holds {len(data)} bytes); copy it again"
        )
    if header.frames != 1:
        raise ValueError(f"{name}: holds {header.frames} images (pages or frames); save the one that is meant as PNG")
    return ImageFile(data, header)
