"""Images and masks that are in memory already: arrays, tensors, Pillow's images and bytes of a file."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from segattn.contracts import cut
from segattn.datasets.images import decode_image

ACCEPTED = (
    "a PIL.Image, the bytes of an image file, an array (H, W) or (H, W, 1 to 4) or a tensor (H, W) or (1 to 4, H, W):"
    " grey or RGB, with alpha or without, uint8, uint16 or float 0..1"
)
"""The forms of an image that `as_image` takes, for errors."""

_EXACT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})
"""Modes of Pillow with 8 bits a channel, which it converts to RGB."""


def as_image(value: object, *, name: str = "image", upright: bool = False) -> NDArray[np.uint8]:
    """An image in memory as (H, W, 3) uint8, RGB.

    Grey becomes three equal channels, alpha is dropped, 16 bits are divided by 257 and floats multiplied by 255, both
    rounded.

    Args:
        value: see `ACCEPTED`. Channels come last in arrays and first in tensors, as is the habit of both.
        name: what errors call it.
        upright: turn what has an EXIF orientation, bytes and Pillow's images, as it says.

    Raises:
        ValueError: none of these, of another shape or type, or a file that can't be decoded.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return decode_image(bytes(value), name=name, upright=upright)
    if isinstance(value, Image.Image):
        return _from_pillow(value, name, upright)
    array = as_array(value)
    if array is None:
        raise ValueError(f"{name}: of type {type(value).__name__}; expected {ACCEPTED}")
    return _colours(array, name, given=value)


def as_ids(value: object, *, name: str = "mask") -> NDArray[np.integer[Any]]:
    """A mask in memory as (H, W) integer ids: an array, a tensor, or an image of Pillow's, palettes by index.

    Raises:
        ValueError: something else.
    """
    if isinstance(value, Image.Image):
        if value.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
            raise ValueError(f"{name}: an image of mode {value.mode}; expected one of ids (L, P or I)")
        array: NDArray[Any] | None = np.asarray(value)
    else:
        array = as_array(value, channels_first=False)
    if array is None:
        raise ValueError(
            f"{name}: of type {type(value).__name__}; expected an array or tensor (H, W) of ids, or a PIL.Image"
        )
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}: of shape {array.shape} and type {array.dtype}; expected (H, W) integers, class ids")
    return array


def as_array(value: object, *, channels_first: bool = True) -> NDArray[Any] | None:
    """The array of an array or tensor, None for other things; a tensor's channels are put last if `channels_first`."""
    if isinstance(value, np.ndarray):
        return value
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    tensor = value.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    array: NDArray[Any] = tensor.numpy()
    return np.moveaxis(array, 0, -1) if channels_first and array.ndim == 3 else array


def _from_pillow(image: Image.Image, name: str, upright: bool) -> NDArray[np.uint8]:
    try:
        image.load()
    except OSError as error:
        raise ValueError(f"{name}: can't be read ({cut(str(error))})") from None
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _colours(np.asarray(image).astype(np.uint16), name)
    if image.mode not in _EXACT:
        raise ValueError(
            f"{name}: an image of mode {cut(image.mode)}, whose white is not known; convert it to an array of uint8,"
            " uint16 or float 0..1"
        )
    with_alpha = image.convert("RGBA") if image.mode in ("P", "PA") else image  # whose transparency Pillow warns of
    return np.array(with_alpha.convert("RGB"), np.uint8)


def _colours(array: NDArray[Any], name: str, *, given: object = None) -> NDArray[np.uint8]:
    """Arrays as RGB of 8 bits; `given` is what the array was made of, a tensor's channels then moved."""
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        hint, shape = "", array.shape
        if given is not None and not isinstance(given, np.ndarray) and array.ndim == 3:
            shape = (shape[-1], *shape[:-1])
            hint = "; are its channels last? image.permute(2, 0, 1) puts them first" if shape[-1] in (1, 3, 4) else ""
        elif array.ndim == 3 and shape[0] in (1, 3, 4):
            hint = "; are its channels first? image.transpose(1, 2, 0) puts them last"
        raise ValueError(f"{name}: of shape {shape}; expected {ACCEPTED}{hint}")
    if pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"{name}: floats from {low:g} to {high:g}; expected 0..1, not normalised")
        pixels = np.rint(pixels * 255).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise ValueError(f"{name}: of type {pixels.dtype}; expected {ACCEPTED}")
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)
