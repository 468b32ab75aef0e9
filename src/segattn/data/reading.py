"""Image and label files to arrays. Whatever is wrong with one ends in a line that names it and the fix."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segattn.data.files import damaged_chunk, is_jpeg, png_header, read_checked

try:  # decodes PNG two to three times as fast as OpenCV, which stays the judge of everything unusual
    from kornia_rs.io import decode_image_png_u8 as _decode_png
except ImportError:  # pragma: no cover - a platform without a wheel
    _decode_png = None


def read_image(path: str | Path, *, upright: bool = False) -> NDArray[np.uint8]:
    """An image file as (H, W, 3) uint8, RGB.

    Grey becomes three equal channels. 16-bit values are divided by 257 and rounded, so that 0..65535 becomes 0..255.
    Alpha is dropped, not blended with a background: what lies under it is the photo, and models are trained on photos.

    Args:
        upright: turn the image as its EXIF orientation says, as viewers do: for photos that people hand in. False gives
            the pixels as they are stored: the same rows and columns that the label file beside an image has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: empty, cut short, damaged, too large or no image, with the file's name and what to do.
    """
    path = Path(path)
    data = read_checked(path)
    fast = _decode_plain_png(data, 2)
    if fast is not None:
        return fast
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    pixels = _decode(data, flags, path)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise ValueError(
            f"{path}: pixels of type {pixels.dtype}; 8 or 16 bit were expected, so convert it to PNG or JPEG"
        )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), np.uint8)


def read_ids(path: str | Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A label file as (H, W) uint8 or uint16: the stored ids, or, in a palette PNG, the indices into the palette.

    Grey PNGs of 1, 2 and 4 bits give their stored values too (decoders stretch them to 0..255).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: empty, cut short, damaged, too large, no image, lossy (JPEG), or of several channels.
    """
    path = Path(path)
    data = read_checked(path)
    if is_jpeg(data):
        raise ValueError(f"{path}: JPEG changes the ids of a mask; save masks as PNG, from the original ids")
    fast = _decode_plain_png(data, 0)
    if fast is not None:
        return fast[..., 0]
    depth, kind = png_header(data) or (8, 0)
    if kind == 3:
        return _palette_indices(data, path)
    ids = _decode(data, cv2.IMREAD_UNCHANGED, path)
    if ids.ndim == 3 and kind == 0 and png_header(data):
        ids = ids[..., 0]  # grey with a transparent value is decoded to equal channels and alpha
    if ids.ndim != 2:
        raise ValueError(
            f"{path}: a mask of one channel of class ids was expected, this has {ids.shape[2]} channels (colours?); "
            "convert it once: for each class, ids[(mask == colour).all(axis=2)] = id, saved as an 8-bit grey PNG"
        )
    if ids.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: ids of type {ids.dtype}; 8 or 16 bit were expected, so save it as PNG")
    return ids // np.uint8(255 // ((1 << depth) - 1)) if depth < 8 else ids


def _decode(data: bytes, flags: int, path: Path) -> NDArray[Any]:
    if damaged_chunk(data):  # libpng would print its own line
        raise ValueError(f"{path}: the image is damaged (a checksum is wrong); copy it again")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ValueError(f"{path}: the image is damaged or of an unknown kind; copy it again or save it as PNG")
    return pixels


def _decode_plain_png(data: bytes, kind: int) -> NDArray[np.uint8] | None:
    """(H, W, 3 or 1) of an 8-bit PNG of colour type `kind`, 2 (RGB) or 0 (grey); None for all others and broken ones.

    Orientation in a PNG is rare enough to leave to the slow way.
    """
    if _decode_png is None or png_header(data) != (8, kind) or data[28] or b"eXIf" in data[:4096]:
        return None
    size = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    try:
        pixels: NDArray[np.uint8] = _decode_png(data, size, "rgb" if kind == 2 else "mono")
    except Exception:  # the decoder has no narrower type; what is wrong is found and said by the slow way
        return None
    return pixels


def _palette_indices(data: bytes, path: Path) -> NDArray[np.uint8]:
    """OpenCV knows only the colours of a palette PNG, not its indices."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image, np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise ValueError(f"{path}: the image is damaged; copy it again") from None
