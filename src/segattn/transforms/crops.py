"""Transforms that cut out or pad.

Functions without `rng` are the same steps with the draws as arguments. `recipes` has the papers' whole pipelines.

Normalising is the model's part, so padding is in uint8 values. Where a paper's code pads with 0 after normalising, that
is the mean colour, here rounded to whole numbers: at most 0.5 of 255 off, and 0.009 after division by 0.225.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import cv2
import numpy as np

from segattn.contracts import BYTE, FRACTION, IGNORE, check, check_size
from segattn.transforms.pixels import Image, Item, crop_pair, pad_pair, resize_pair

MEAN_COLOR = (124, 116, 104)
"""ImageNet's mean (123.675, 116.28, 103.53) in whole numbers: padding that is about 0 after normalisation."""


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """A window of `height` x `width` at a uniformly drawn place, after padding where the image is smaller.

    Padding is added below and to the right: `fill` in the image, `IGNORE` in the mask.
    """

    height: int
    width: int
    fill: tuple[int, int, int] = MEAN_COLOR

    def __post_init__(self) -> None:
        check_size(self)
        check(self, fill=BYTE)

    def place(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """(top, left) of the window in an image of height x width that is large enough."""
        return int(rng.integers(height - self.height + 1)), int(rng.integers(width - self.width + 1))

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        padded = pad_pair(image, mask, self.height, self.width, self.fill)
        top, left = self.place(padded["mask"].shape[0], padded["mask"].shape[1], rng)
        return crop_pair(padded["image"], padded["mask"], top, left, self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class EnlargingCrop:
    """A window of `height` x `width`; a smaller image is enlarged first, never padded (AttaNet's code).

    An image that is too small in one direction is resized so that its shorter side fills the window:
    ``int(side * factor + 1)``. Offsets are ``int(uniform * (side - window))``. Where the window is not square and this
    does not fill it, the larger of both factors is taken (the released code knows square windows only).
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        check_size(self)

    def place(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """(top, left) of the window in an image of height x width that is large enough."""
        left = int(rng.random() * (width - self.width))
        return int(rng.random() * (height - self.height)), left

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        height, width = image.shape[:2]
        if height < self.height or width < self.width:
            factor = self.width / width if width < height else self.height / height
            if int(height * factor + 1) < self.height or int(width * factor + 1) < self.width:
                factor = max(self.width / width, self.height / height)
            height, width = int(height * factor + 1), int(width * factor + 1)
            enlarged = resize_pair(image, mask, height, width)
            image, mask = enlarged["image"], enlarged["mask"]
        top, left = self.place(height, width, rng)
        return crop_pair(image, mask, top, left, self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class ClassBalancedCrop:
    """A window of `height` x `width` that, with `probability`, shows a class drawn by weight; else any window.

    Of the classes in the image one is drawn, then one of its pixels, each as likely, then one of the windows with
    that pixel in them, each as likely. Otherwise, and where no class with a weight is in the image, the window is
    drawn as in `RandomCrop`, and like there smaller images are padded below and to the right: `fill` in the image,
    `IGNORE` in the mask.

    Attributes:
        class_weights: one a class, in any unit, 0 for classes that are not looked for; `segattn data stats` prints
            them. None: every class that the image has is as likely.
    """

    height: int
    width: int
    probability: float = 0.5
    class_weights: tuple[float, ...] | None = None
    fill: tuple[int, int, int] = MEAN_COLOR

    def __post_init__(self) -> None:
        check_size(self)
        check(self, probability=FRACTION, fill=BYTE)
        weights = self.class_weights
        if weights is not None and not (
            all(isfinite(weight) and weight >= 0 for weight in weights) and any(weight > 0 for weight in weights)
        ):
            raise ValueError(f"class_weights {weights}: expected numbers from 0 on, one of them above 0")

    def place(self, mask: Image, rng: np.random.Generator) -> tuple[int, int]:
        """(top, left) of the window in an image with this mask, which is large enough.

        Raises:
            ValueError: the mask holds a class that has no weight.
        """
        rows, columns = mask.shape[0] - self.height + 1, mask.shape[1] - self.width + 1
        if rng.random() < self.probability:
            pixel = self._pixel(mask, rng)
            if pixel is not None:
                top = _start(pixel // mask.shape[1], self.height, rows, rng)
                return top, _start(pixel % mask.shape[1], self.width, columns, rng)
        return int(rng.integers(rows)), int(rng.integers(columns))

    def _pixel(self, mask: Image, rng: np.random.Generator) -> int | None:
        """The position in the flattened mask of a pixel of the class that is drawn; None without such a class."""
        counts = cv2.calcHist([mask], [0], None, [IGNORE], [0, IGNORE]).ravel()
        weights = (counts > 0).astype(np.float64)
        if self.class_weights is not None:
            known = len(self.class_weights)
            if weights[known:].any():
                raise ValueError(
                    f"ClassBalancedCrop: {known} class_weights, but there is a mask with class"
                    f" {int(np.flatnonzero(weights)[-1])}; give one weight a class, in the order of the training ids"
                )
            weights[:known] *= self.class_weights
        if not weights.any():
            return None
        drawn = int(rng.choice(IGNORE, p=weights / weights.sum()))
        places = np.flatnonzero(mask.ravel() == drawn)
        return int(places[rng.integers(len(places))])

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        padded = pad_pair(image, mask, self.height, self.width, self.fill)
        top, left = self.place(padded["mask"], rng)
        return crop_pair(padded["image"], padded["mask"], top, left, self.height, self.width)


def _start(place: int, length: int, starts: int, rng: np.random.Generator) -> int:
    """The beginning of a window of `length` that holds `place`; windows begin at 0..starts - 1."""
    return int(rng.integers(max(place - length + 1, 0), min(place, starts - 1) + 1))


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

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        for _ in range(10):
            window = self._draw(image, mask, rng)
            if varied(window["mask"]):
                return window
        return self._draw(image, mask, rng)

    def _draw(self, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        top = int(rng.integers(0, max(mask.shape[0] - self.height, 0) + 1))
        left = int(rng.integers(0, max(mask.shape[1] - self.width, 0) + 1))
        return crop_pair(image, mask, top, left, self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class Pad:
    """Padded below and to the right to at least `height` x `width`: `fill` in the image, `IGNORE` in the mask."""

    height: int
    width: int
    fill: tuple[int, int, int] = MEAN_COLOR

    def __post_init__(self) -> None:
        check_size(self)
        check(self, fill=BYTE)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        return pad_pair(image, mask, self.height, self.width, self.fill)


def varied(mask: Image) -> bool:
    """Whether there are two classes or more and none covers 0.75 of the labelled pixels."""
    counts = np.bincount(mask[mask != IGNORE])
    return bool(np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < 0.75)
