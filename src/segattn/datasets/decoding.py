"""Decoders called so that what they give is what is stored: no turning, no stretching, no multiplying by alpha.

Which decoder reads what follows from comparisons: OpenCV multiplies a TIFF's colours by its alpha, turns it and
stretches its bits; Pillow cuts 16-bit colours to 8. All errors are ValueErrors without the file's name.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segattn.datasets.headers import PNG_SIGNATURE, ImageFile

try:  # decodes PNG two to three times as fast as OpenCV, which stays the judge of everything unusual
    from kornia_rs.io import decode_image_png_u8 as _decode_png
except ImportError:  # pragma: no cover - a platform without a wheel
    _decode_png = None


_DAMAGED = "the image is damaged; copy it again"


class _Quiet:
    """While any thread is inside, Pillow's and rasterio's warnings and OpenCV's log are off: errors say what matters.

    Lines that libjpeg and libtiff write to the process's standard error stream on their own can't be turned off, only
    be lost together with what other threads write there, which would be worse.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
                warnings.filterwarnings("ignore", message="Dataset has no geotransform")
                log = cv2.utils.logging
                self._before.callback(log.setLogLevel, log.setLogLevel(log.LOG_LEVEL_SILENT))
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.close()


quiet = _Quiet()


def opencv(file: ImageFile, flags: int) -> NDArray[Any]:
    """A file as OpenCV decodes it, not turned: BGR where it has colours."""
    if file.header.kind == "PNG":
        _check_png(file)  # libpng would print its own line
    try:
        with quiet:
            pixels = cv2.imdecode(np.frombuffer(_unturned(file), np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (file.header.height, file.header.width):
        raise ValueError(_DAMAGED)
    return pixels


def pillow(file: ImageFile, *, colours: bool) -> NDArray[Any]:
    """A file as Pillow decodes it, not turned: (H, W, 3) RGB, alpha dropped, or with `colours` false as it is stored.

    Of palettes the latter gives the indices.
    """
    data = _unturned(file)
    if data.startswith(b"MM\0+"):
        raise ValueError("a BigTIFF with the highest byte first, which few programs read; save it as PNG")
    try:
        with quiet, Image.open(io.BytesIO(data), formats=[file.header.kind]) as image:
            pixels = np.array(image.convert("RGB") if colours else image)
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        size = f"{file.header.width}x{file.header.height}"
        raise ValueError(f"{size}, more pixels than Pillow reads of a {file.header.kind}; cut it into tiles") from None
    except Exception:  # Pillow has no narrower type: decoders raise whatever they stumble over
        raise ValueError(f"{_DAMAGED}, or, if it is of a rare kind, save it as PNG") from None
    if pixels.shape[:2] != (file.header.height, file.header.width):
        raise ValueError(_DAMAGED)
    return pixels


def _unturned(file: ImageFile) -> bytes | bytearray:
    """The file's bytes, in a TIFF with an orientation of 1: both decoders turn TIFFs, whatever they are told."""
    tags = file.header.tags
    if tags is None or tags.orientation_at is None:
        return file.data
    data = bytearray(file.data)
    data[tags.orientation_at : tags.orientation_at + 2] = b"\1\0" if data[:1] == b"I" else b"\0\1"
    return data


def plain_png(file: ImageFile, form: int) -> NDArray[np.uint8] | None:
    """(H, W, 3 or 1) of an 8-bit PNG of colour type `form`, 2 (RGB) or 0 (grey); None for others, and broken ones."""
    header = file.header
    if _decode_png is None or (header.kind, header.bits, header.form, header.plain) != ("PNG", 8, form, True):
        return None
    size, mode = (header.height, header.width), "rgb" if form == 2 else "mono"
    try:
        pixels: NDArray[np.uint8] = _decode_png(file.data, size, mode)
    except Exception:  # the decoder has no narrower type; what is wrong is found and said by the slow way
        return None
    return pixels


def pnm(file: ImageFile) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(H, W) or (H, W, 3) of a binary PNM: values 0..`largest` as they are stored; of a PBM 1 is black."""
    header = file.header
    if header.form < 4:
        raise ValueError("numbers written as text, as in PNM's plain forms, are not read; save it as PNG")
    if header.form == 4:
        rows = np.frombuffer(file.data, np.uint8, header.height * -(-header.width // 8), header.offset)
        return np.unpackbits(rows.reshape(header.height, -1), axis=1, count=header.width)
    shape = (header.height, header.width, 3)[: 3 if header.form == 6 else 2]
    kind = np.dtype(np.uint8 if header.bits == 8 else ">u2")
    pixels = np.frombuffer(file.data, kind, int(np.prod(shape)), header.offset).reshape(shape)
    if pixels.max() > header.largest:
        raise ValueError(f"the image is damaged (a value is above its largest, {header.largest}); copy it again")
    return pixels.astype(kind.newbyteorder("="))


def bmp_indices(file: ImageFile) -> NDArray[np.uint8]:
    """(H, W) of an uncompressed BMP of 1, 4 or 8 bits: the indices into its palette."""
    header = file.header
    stride = (header.width * header.bits + 31) // 32 * 4
    rows = np.frombuffer(file.data, np.uint8, header.height * stride, header.offset).reshape(header.height, stride)
    if header.bits < 8:
        bits = np.unpackbits(rows, axis=1).reshape(header.height, -1, header.bits)
        rows = np.packbits(bits, axis=2)[..., 0] >> np.uint8(8 - header.bits)
    rows = rows[:, : header.width]
    return np.ascontiguousarray(rows[::-1] if header.plain else rows)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """(H, W, ...) turned as an EXIF orientation of 1..8 says."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _check_png(file: ImageFile) -> None:
    """Raises ValueError where a checksum is wrong, or the packed pixels are too few or not packed by deflate."""
    position, kind, unpacked, inflate = len(PNG_SIGNATURE), b"", 0, zlib.decompressobj()
    try:
        while kind != b"IEND":
            length, kind = struct.unpack_from(">I4s", file.data, position)
            content = file.data[position + 8 : position + 8 + length]
            if zlib.crc32(content, zlib.crc32(kind)) != struct.unpack_from(">I", file.data, position + 8 + length)[0]:
                raise ValueError("the image is damaged (a checksum is wrong); copy it again")
            if kind == b"IDAT":
                while content:
                    unpacked += len(inflate.decompress(content, 1 << 20))
                    content = inflate.unconsumed_tail
            position += 12 + length
    except zlib.error:
        raise ValueError(_DAMAGED) from None
    header = file.header
    rows = header.height * ((header.width * header.bits * header.channels + 7) // 8)
    if not inflate.eof or unpacked < rows:
        raise ValueError(_DAMAGED)
