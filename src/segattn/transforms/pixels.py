"""Image and mask together: resizing, padding and cutting out, and checks of settings."""

from __future__ import annotations

from typing import Any, TypedDict, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE

Image = NDArray[Any]
"""(H, W, 3) uint8 RGB, or bands (H, W, C) as they are stored; of masks (H, W) uint8."""

_OFF = 1 / 1024


class Item(TypedDict):
    """A transform's result: an image and its mask (H, W) uint8, of one size."""

    image: Image
    mask: Image


def resize_pair(image: Image, mask: Image, height: int, width: int) -> Item:
    """Both at height x width: bilinear without antialiasing, the mask by nearest; pixel centres agree."""
    if image.shape[:2] == (height, width):
        return {"image": image, "mask": mask}
    return {
        "image": as_before(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), image),
        "mask": resize_mask(mask, height, width),
    }


def resize_mask(mask: Image, height: int, width: int) -> Image:
    """The mask of `resize_pair` alone."""
    return _uint8(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def as_before(result: Any, image: Image) -> Image:
    """What OpenCV made of an image, of the image's type and with its last axis, which OpenCV drops of a single band."""
    assert result.dtype == image.dtype
    return cast("Image", result[..., None] if result.ndim < image.ndim else result)


def is_rgb(image: Image) -> bool:
    """Whether an image is RGB of 8 bits, or may be."""
    return image.dtype == np.uint8 and image.shape[2] == 3


def pad_pair(image: Image, mask: Image, height: int, width: int, fill: tuple[int, int, int]) -> Item:
    """Both at least height x width: `fill` and `IGNORE` are added below and to the right where they are smaller.

    `fill` is of RGB of 8 bits; other images are filled with the mean of each band.
    """
    below, right = max(height - image.shape[0], 0), max(width - image.shape[1], 0)
    if not below and not right:
        return {"image": image, "mask": mask}
    border = (0, below, 0, right, cv2.BORDER_CONSTANT)
    if is_rgb(image):
        padded = _uint8(cv2.copyMakeBorder(image, *border, value=fill))
    else:
        mean = image.mean((0, 1), dtype=np.float64).astype(image.dtype)
        padded = np.empty((image.shape[0] + below, image.shape[1] + right, image.shape[2]), image.dtype)
        padded[:] = mean
        padded[: image.shape[0], : image.shape[1]] = image
    return {
        "image": padded,
        "mask": _uint8(cv2.copyMakeBorder(mask, *border, value=(IGNORE,))),
    }


def crop_pair(image: Image, mask: Image, top: int, left: int, height: int, width: int) -> Item:
    """The window of both, as views."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    return {"image": image[rows, columns], "mask": mask[rows, columns]}


def resize_window(
    image: Image, mask: Image, size: tuple[int, int], *, top: int, left: int, height: int, width: int
) -> Item:
    """The window of ``resize_pair(image, mask, *size)`` without computing the rest of it.

    The mask is equal. Values in the image differ by one level at most: what is resized has to begin at a whole pixel
    of the image and of the result, which is allowed to be wrong by `_OFF` pixels.
    """
    rows, columns = _Span(mask.shape[0], size[0], top, height), _Span(mask.shape[1], size[1], left, width)
    part = image[rows.source, columns.source]
    resized = cv2.resize(part, (0, 0), fx=columns.factor, fy=rows.factor, interpolation=cv2.INTER_LINEAR)
    return {
        "image": as_before(resized, part)[rows.inside, columns.inside],
        "mask": mask[rows.nearest()].take(columns.nearest(), 1),
    }


class _Span:
    """One axis of a window: `source` is what to resize, `inside` where the window then lies in it."""

    def __init__(self, source: int, target: int, start: int, length: int) -> None:
        self._source, self._target, self._start, self._length = source, target, start, length
        self.factor = target / source
        margin = int(np.ceil(self.factor)) + 1
        # the last place before the window whose position in the source is (nearly) whole; the beginning always is
        places = np.arange(max(start - margin, 0) + 1)
        positions = places / self.factor
        anchor = int(np.flatnonzero(np.abs(positions - np.round(positions)) <= _OFF)[-1])
        first = round(anchor / self.factor)
        last = min(int((start + length) / self.factor) + 3, source)
        self.source = slice(first, last)
        self.inside = slice(start - anchor, start - anchor + length)

    def nearest(self) -> NDArray[np.intp]:
        """The source index of every place in the window."""
        places = np.arange(self._start, self._start + self._length)
        return ((2 * places + 1) * self._source // (2 * self._target)).astype(np.intp)


def _uint8(array: Any) -> Image:
    assert array.dtype == np.uint8
    return cast("Image", array)


def _check_range(name: str, limits: tuple[float, float], *, least: float) -> None:
    low, high = limits
    if not least <= low <= high <= 100:
        raise ValueError(f"{name} from {low:g} to {high:g}: expected two numbers in order, {least:g} to 100")
