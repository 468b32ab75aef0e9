"""Transforms of size and orientation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import PIL.Image

from segattn.contracts import COUNT, FACTOR, FRACTION, PIXELS, Range, check, check_size
from segattn.transforms.pixels import Image, Item, _check_range, as_before, is_rgb, resize_pair


@dataclass(frozen=True, kw_only=True)
class HorizontalFlip:
    """Left and right change places with `probability`."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check(self, probability=FRACTION)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        if rng.random() >= self.probability:
            return {"image": image, "mask": mask}
        return {"image": as_before(cv2.flip(image, 1), image), "mask": cv2.flip(mask, 1)}


@dataclass(frozen=True, kw_only=True)
class Rotate90:
    """A quarter turn counter-clockwise with `probability`; height and width change places (AttaNet's code)."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check(self, probability=FRACTION)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        if rng.random() >= self.probability:
            return {"image": image, "mask": mask}
        turn = cv2.ROTATE_90_COUNTERCLOCKWISE
        if not is_rgb(image):  # of which OpenCV turns some numbers of bytes a pixel only
            return {"image": np.ascontiguousarray(np.rot90(image)), "mask": cv2.rotate(mask, turn)}
        return {"image": cv2.rotate(image, turn), "mask": cv2.rotate(mask, turn)}


@dataclass(frozen=True, kw_only=True)
class ScaleChoice:
    """Resized to ``int(side * factor)`` with one of `factors`, each as likely (AttaNet's code).

    The released code shrinks with an averaging filter, this with plain bilinear samples; enlarging is the same.
    """

    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.factors:
            raise ValueError("factors (): expected one or more numbers above 0")
        check(self, factors=FACTOR)

    def size(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """The (height, width) that is drawn for an image of height x width."""
        factor = self.factors[int(rng.integers(len(self.factors)))]
        return max(int(height * factor), 1), max(int(width * factor), 1)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        return resize_pair(image, mask, *self.size(mask.shape[0], mask.shape[1], rng))


@dataclass(frozen=True, kw_only=True)
class RandomScale:
    """Resized by a factor drawn uniformly from `low` to `high`, sides rounded."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range("low, high:", (self.low, self.high), least=1e-3)

    def size(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """The (height, width) that is drawn for an image of height x width."""
        factor = float(rng.uniform(self.low, self.high))
        return max(round(height * factor), 1), max(round(width * factor), 1)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        return resize_pair(image, mask, *self.size(mask.shape[0], mask.shape[1], rng))


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Resized to `height` x `width`, whatever the shape was."""

    height: int
    width: int

    def __post_init__(self) -> None:
        check_size(self)

    def middle(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image of height x width gets."""
        return self.height, self.width

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        return resize_pair(image, mask, self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class RandomShortSide:
    """DANet (2018 code): the short side becomes a random integer in [int(0.75 * base), int(2 * base)], both included.

    The other side keeps the aspect, rounded down. As in that code Pillow resizes: bilinear with antialiasing for the
    image, nearest for the mask. (Later code draws the long side in [0.5, 2] * base; the published result is older.)
    """

    base: int

    def __post_init__(self) -> None:
        check(self, base=Range(2, 16384, "a side of 2 to 16384 pixels"))

    def middle(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image of height x width gets with its short side at `base`."""
        factor = self.base / min(height, width)
        return int(height * factor), int(width * factor)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        return resize_short_side(image, mask, int(rng.integers(int(self.base * 0.75), int(self.base * 2.0) + 1)))


@dataclass(frozen=True, kw_only=True)
class RandomTenths:
    """ACFNet: both sides times 0.7, 0.8, ..., 2.1, each as likely, rounded.

    OpenCV's bilinear for the image and its nearest for the mask. (The paper's range is 0.5 to 2.)
    """

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
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

    def middle(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image of height x width gets with r = 1."""
        factor = min(self.long / max(height, width), self.short / min(height, width))
        return int(height * factor + 0.5), int(width * factor + 0.5)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        ratio = rng.uniform(0.5, 2.0)
        return fit(image, mask, int(self.long * ratio), int(self.short * ratio))


def resize_short_side(image: Image, mask: Image, short: int) -> Item:
    """The short side becomes `short`, the other keeps the aspect, rounded down (DANet)."""
    height, width = mask.shape
    size = (int(width * short / height), short) if width > height else (short, int(height * short / width))
    return {
        "image": _by_pillow(image, size),
        "mask": np.asarray(PIL.Image.fromarray(mask).resize(size, PIL.Image.Resampling.NEAREST)),
    }


def _by_pillow(image: Image, size: tuple[int, int]) -> Image:
    """The image at a (width, height), bilinear with antialiasing; bands other than RGB of 8 bits one by one."""
    method = PIL.Image.Resampling.BILINEAR
    if is_rgb(image):
        return np.asarray(PIL.Image.fromarray(image).resize(size, method))
    planes = [
        np.asarray(PIL.Image.fromarray(image[..., band].astype(np.float32)).resize(size, method))
        for band in range(image.shape[2])
    ]
    stacked = np.stack(planes, -1)
    return (np.rint(stacked) if image.dtype.kind == "u" else stacked).astype(image.dtype)


def scale(image: Image, mask: Image, factor: float) -> Item:
    """Both sides times `factor`, rounded, by OpenCV."""
    return {
        "image": as_before(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR), image),
        "mask": np.asarray(cv2.resize(mask, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST), np.uint8),
    }


def fit(image: Image, mask: Image, long: int, short: int) -> Item:
    """As large as fits into `long` x `short`, whichever way it lies; the aspect is kept and sides are rounded."""
    height, width = mask.shape
    factor = min(long / max(height, width), short / min(height, width))
    size = int(width * factor + 0.5), int(height * factor + 0.5)
    return {
        "image": as_before(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), image),
        "mask": np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8),
    }
