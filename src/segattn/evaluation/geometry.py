"""Geometry of inference: the size at which the network sees an image, and the windows that it is cut into.

Sizes are (height, width) in pixels. Every side is 1 at least: an image of one row has one at a scale of 0.5 too.
Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

from segattn.contracts import COUNT, PIXELS, check, check_size

Size = tuple[int, int]

NEAR = (0.9, 2.0)
"""An image is read as it is where its long side is so many times that of training: measured, see docs/predicting.md."""


@dataclass(frozen=True, kw_only=True)
class NativeSize:
    """The image at its own size times the scale, rounded down (AttaNet and ACFNet). Resizes the normalised input."""

    def size(self, height: int, width: int, scale: float) -> Size:
        return _at_least_one(height * scale, width * scale)


@dataclass(frozen=True, kw_only=True)
class FixedSize:
    """Every image at one size times the scale, whatever its aspect. Resizes the normalised input."""

    height: int
    width: int

    def __post_init__(self) -> None:
        check_size(self)

    def size(self, height: int, width: int, scale: float) -> Size:
        return _at_least_one(self.height * scale, self.width * scale)


@dataclass(frozen=True, kw_only=True)
class LongSide:
    """The long side at `pixels` times the scale, rounded up; the other side follows, rounded to the nearest (DANet).

    Resizes the normalised input. An image is brought to this size at scale 1 too.
    """

    pixels: int

    def __post_init__(self) -> None:
        check(self, pixels=PIXELS)

    def size(self, height: int, width: int, scale: float) -> Size:
        long = ceil(self.pixels * scale)
        if height > width:
            return _at_least_one(long, width * long / height + 0.5)
        return _at_least_one(height * long / width + 0.5, long)


def size_near(height: int, width: int, trained_at: Size | None) -> Size:
    """The size at which a network that was trained on images of `trained_at` should read one of height x width.

    The long side of both the same, the aspect kept. An image's own size where it is near enough (`NEAR`), and where
    nobody has said at which size the network was trained.
    """
    if trained_at is None:
        return height, width
    factor = max(height, width) / max(trained_at)
    if NEAR[0] <= factor <= NEAR[1]:
        return height, width
    return LongSide(pixels=max(trained_at)).size(height, width, 1.0)


@dataclass(frozen=True, kw_only=True)
class FitInside:
    """The largest size of the same aspect whose sides are at most `long` and `short`, both times the scale (ADE20K).

    Resizes the image itself with OpenCV's bilinear interpolation, so uint8 values are rounded.

    Attributes:
        divisor: resize a second time, each side up to a multiple of it, the aspect not kept; None for no second time.
    """

    long: int
    short: int
    divisor: int | None = None

    def __post_init__(self) -> None:
        check(self, long=COUNT, short=PIXELS, divisor=PIXELS)

    def steps(self, height: int, width: int, scale: float) -> tuple[Size, ...]:
        """The sizes that the image takes one after the other."""
        long, short = _at_least_one(self.long * scale, self.short * scale)
        factor = min(long / max(height, width), short / min(height, width))
        kept = _at_least_one(height * factor + 0.5, width * factor + 0.5)
        if self.divisor is None:
            return (kept,)
        return kept, (ceil(kept[0] / self.divisor) * self.divisor, ceil(kept[1] / self.divisor) * self.divisor)

    def size(self, height: int, width: int, scale: float) -> Size:
        return self.steps(height, width, scale)[-1]


@dataclass(frozen=True, kw_only=True)
class Pad:
    """The padding of an input that is smaller than a window.

    Attributes:
        value: "zero" after normalisation, which is the mean colour, or "black", which is black before it.
        place: on both sides (the odd pixel at the right or bottom), or at the right and bottom only.
    """

    value: Literal["zero", "black"]
    place: Literal["around", "end"]


@dataclass(frozen=True, kw_only=True)
class ShiftedWindows:
    """Square windows every `stride` pixels, the last of each axis shifted back to end at the border.

    Attributes:
        pad: brings sides below `crop` up to it; None lets the window be as small as the input.
    """

    crop: int
    stride: int
    pad: Pad | None = None

    def __post_init__(self) -> None:
        check(self, crop=PIXELS)
        _check_windows(self.crop, self.stride)

    def canvas(self, height: int, width: int) -> Size:
        """The size of the padded input that the windows lie on."""
        return (max(height, self.crop), max(width, self.crop)) if self.pad else (height, width)

    def corners(self, height: int, width: int) -> tuple[Size, ...]:
        """Top and left of each window on a canvas of this size, row by row."""
        return tuple((top, left) for top in self._starts(height) for left in self._starts(width))

    def _starts(self, side: int) -> tuple[int, ...]:
        last = max(side - self.crop, 0)
        return tuple(min(i * self.stride, last) for i in range(_count(side, self.crop, self.stride)))


@dataclass(frozen=True, kw_only=True)
class OverhangingWindows:
    """Square windows every `stride` pixels; the last of each axis stays in its place and what overhangs is padding."""

    crop: int
    stride: int
    pad: Pad

    def __post_init__(self) -> None:
        check(self, crop=PIXELS)
        _check_windows(self.crop, self.stride)

    def canvas(self, height: int, width: int) -> Size:
        """The size of the padded input that the windows lie on."""
        return self._extent(height), self._extent(width)

    def corners(self, height: int, width: int) -> tuple[Size, ...]:
        """Top and left of each window on a canvas of this size, row by row."""
        return tuple((top, left) for top in self._starts(height) for left in self._starts(width))

    def _extent(self, side: int) -> int:
        return (_count(side, self.crop, self.stride) - 1) * self.stride + self.crop

    def _starts(self, side: int) -> tuple[int, ...]:
        return tuple(i * self.stride for i in range(_count(side, self.crop, self.stride)))


def _at_least_one(height: float, width: float) -> Size:
    """Both rounded down, and 1 pixel at least."""
    return max(int(height), 1), max(int(width), 1)


def _check_windows(crop: int, stride: int) -> None:
    if not 0 < stride <= crop:
        raise ValueError(f"windows of {crop} every {stride} pixels: expected a stride from 1 to the crop")


def _count(side: int, crop: int, stride: int) -> int:
    return ceil(max(side - crop, 0) / stride) + 1
