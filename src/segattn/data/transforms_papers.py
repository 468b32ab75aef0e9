"""What DANet, ACFNet and the mmsegmentation recipes (VAN, Agent Attention) add to `transforms`, step by step.

Functions without `rng` are the same steps with the draws as arguments. `augmentations` has the papers' whole pipelines.

Normalising is the model's part, so padding is in uint8 values. Where a paper's code pads with 0 after normalising, that
is the mean colour, here rounded to whole numbers: at most 0.5 of 255 off, and 0.009 after division by 0.225.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from segattn.contracts import BYTE, COUNT, IGNORE, PIXELS, Range, check, check_size
from segattn.data.pixels import Item, Picture, apply_table, crop_pair, pad_pair

MEAN_COLOR = (124, 116, 104)
"""ImageNet's mean (123.675, 116.28, 103.53) in whole numbers: padding that is about 0 after normalisation."""


@dataclass(frozen=True, kw_only=True)
class RandomShortSide:
    """DANet (2018 code): the short side becomes a random integer in [int(0.75 * base), int(2 * base)], both included.

    The other side keeps the aspect, rounded down. As in that code Pillow resizes: bilinear with antialiasing for the
    image, nearest for the mask. (Later code draws the long side in [0.5, 2] * base; the published result is older.)
    """

    base: int

    def __post_init__(self) -> None:
        check(self, base=Range(2, 16384, "a side of 2 to 16384 pixels"))

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        return resize_short_side(image, mask, int(rng.integers(int(self.base * 0.75), int(self.base * 2.0) + 1)))


@dataclass(frozen=True, kw_only=True)
class RandomTenths:
    """ACFNet: both sides times 0.7, 0.8, ..., 2.1, each as likely, rounded.

    OpenCV's bilinear for the image and its nearest for the mask. (The paper's range is 0.5 to 2.)
    """

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        return scale(image, mask, 0.7 + int(rng.integers(0, 15)) / 10)


@dataclass(frozen=True, kw_only=True)
class RandomFit:
    """mmsegmentation: resized to fit (`long` r, `short` r) with r uniform in [0.5, 2), the aspect kept.

    `long` bounds the longer side, `short` the shorter one; OpenCV's bilinear for the image, its nearest for the mask.
    """

    long: int = 2048
    short: int = 512

    def __post_init__(self) -> None:
        check(self, long=COUNT, short=PIXELS)
        if not 2 <= self.short <= self.long:
            raise ValueError(f"short {self.short}, long {self.long}: expected 2 <= short <= long")

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        ratio = rng.uniform(0.5, 2.0)
        return fit(image, mask, int(self.long * ratio), int(self.short * ratio))


@dataclass(frozen=True, kw_only=True)
class CategoryLimitedCrop:
    """mmsegmentation: a random window in which no class covers 0.75 of the labelled pixels or more.

    Up to ten windows that break the rule, or hold fewer than two classes, are drawn again; the next is taken as it is.
    A smaller side of the image is kept whole (see `Pad`).
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        check_size(self)

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        for _ in range(10):
            window = self._draw(image, mask, rng)
            if varied(window["mask"]):
                return window
        return self._draw(image, mask, rng)

    def _draw(self, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        top = int(rng.integers(0, max(mask.shape[0] - self.height, 0) + 1))
        left = int(rng.integers(0, max(mask.shape[1] - self.width, 0) + 1))
        return crop_pair(image, mask, top, left, self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class PhotometricDistortion:
    """mmsegmentation: each step with a probability of 1/2, the image clipped and cut to whole numbers after each.

    Brightness + [-32, 32), contrast * [0.5, 1.5) here or last, saturation * [0.5, 1.5), hue + an integer in [-18, 17].
    """

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        if rng.random() < 0.5:
            image = linear(image, offset=rng.uniform(-32.0, 32.0))
        early = rng.random() < 0.5
        if early and rng.random() < 0.5:
            image = linear(image, factor=rng.uniform(0.5, 1.5))
        if rng.random() < 0.5:
            image = saturate(image, rng.uniform(0.5, 1.5))
        if rng.random() < 0.5:
            image = turn_hue(image, int(rng.integers(-18, 18)))
        if not early and rng.random() < 0.5:
            image = linear(image, factor=rng.uniform(0.5, 1.5))
        return {"image": image, "mask": mask}


@dataclass(frozen=True, kw_only=True)
class Pad:
    """Padded below and to the right to at least `height` x `width`: `fill` in the image, `IGNORE` in the mask."""

    height: int
    width: int
    fill: tuple[int, int, int] = MEAN_COLOR

    def __post_init__(self) -> None:
        check_size(self)
        check(self, fill=BYTE)

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        return pad_pair(image, mask, self.height, self.width, self.fill)


def resize_short_side(image: Picture, mask: Picture, short: int) -> Item:
    """The short side becomes `short`, the other keeps the aspect, rounded down (DANet)."""
    height, width = mask.shape
    size = (int(width * short / height), short) if width > height else (short, int(height * short / width))
    return {
        "image": np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)),
        "mask": np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)),
    }


def scale(image: Picture, mask: Picture, factor: float) -> Item:
    """Both sides times `factor`, rounded, by OpenCV."""
    return {
        "image": np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR), np.uint8),
        "mask": np.asarray(cv2.resize(mask, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST), np.uint8),
    }


def fit(image: Picture, mask: Picture, long: int, short: int) -> Item:
    """As large as fits into `long` x `short`, whichever way it lies; the aspect is kept and sides are rounded."""
    height, width = mask.shape
    factor = min(long / max(height, width), short / min(height, width))
    size = int(width * factor + 0.5), int(height * factor + 0.5)
    return {
        "image": np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8),
        "mask": np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8),
    }


def varied(mask: Picture) -> bool:
    """Whether there are two classes or more and none covers 0.75 of the labelled pixels."""
    counts = np.bincount(mask[mask != IGNORE])
    return bool(np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < 0.75)


def linear(image: Picture, *, factor: float = 1.0, offset: float = 0.0) -> Picture:
    """``image * factor + offset``, clipped to 0..255 and cut to whole numbers: contrast and brightness."""
    table = np.clip(np.arange(256, dtype=np.float32) * factor + offset, 0, 255).astype(np.uint8)
    return apply_table(image, table)


def saturate(image: Picture, factor: float) -> Picture:
    """The saturation of OpenCV's 8-bit HSV times `factor`."""
    hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.uint8)
    hsv[..., 1] = linear(np.ascontiguousarray(hsv[..., 1]), factor=factor)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def turn_hue(image: Picture, steps: int) -> Picture:
    """The hue of OpenCV's 8-bit HSV, in steps of two degrees, plus `steps`."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int64) + steps) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
