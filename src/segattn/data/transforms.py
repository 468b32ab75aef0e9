"""Augmentation: frozen dataclasses that say what is drawn, called as ``t(image=..., mask=..., rng=...)``.

Every transform takes the picture (H, W, 3) uint8 RGB, its mask (H, W) uint8 of training ids and a random generator, and
gives both as an `Item`. It changes neither argument and draws from nothing but `rng`, so that a sample is a function of
its seed alone. What belongs to one paper's released pipeline in another toolbox is in `transforms_papers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from segattn.contracts import BYTE, FACTOR, FRACTION, check, check_size
from segattn.data.pixels import (
    Item,
    Picture,
    apply_table,
    blend_table,
    blend_with_luminance,
    crop_pair,
    mean_luminance,
    pad_pair,
    resize_mask,
    resize_pair,
    resize_window,
)
from segattn.data.transforms_balanced import ClassBalancedCrop
from segattn.data.transforms_papers import (
    MEAN_COLOR,
    CategoryLimitedCrop,
    Pad,
    PhotometricDistortion,
    RandomFit,
    RandomShortSide,
    RandomTenths,
)


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Brightness, contrast and saturation times factors drawn uniformly from the ranges, in this order (AttaNet).

    A factor blends the picture with black, with the picture's mean luminance, or with each pixel's luminance; values
    are cut off to integers after each step. A range of (1, 1) leaves its property alone.
    """

    brightness: tuple[float, float] = (0.5, 1.5)
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            _check_range(name, getattr(self, name), least=0.0)

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        brightness, contrast, saturation = (
            float(rng.uniform(*limits)) for limits in (self.brightness, self.contrast, self.saturation)
        )
        if brightness != 1.0:
            image = apply_table(image, blend_table(0, brightness))
        if contrast != 1.0:
            image = apply_table(image, blend_table(mean_luminance(image), contrast))
        if saturation != 1.0:
            image = blend_with_luminance(image, saturation)
        return {"image": image, "mask": mask}


@dataclass(frozen=True, kw_only=True)
class HorizontalFlip:
    """Left and right change places with `probability`."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check(self, probability=FRACTION)

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        if rng.random() >= self.probability:
            return {"image": image, "mask": mask}
        return {"image": cv2.flip(image, 1), "mask": cv2.flip(mask, 1)}  # type: ignore[typeddict-item]


@dataclass(frozen=True, kw_only=True)
class Rotate90:
    """A quarter turn counter-clockwise with `probability`; height and width change places (AttaNet's code)."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check(self, probability=FRACTION)

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        if rng.random() >= self.probability:
            return {"image": image, "mask": mask}
        turn = cv2.ROTATE_90_COUNTERCLOCKWISE
        return {"image": cv2.rotate(image, turn), "mask": cv2.rotate(mask, turn)}  # type: ignore[typeddict-item]


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
        """The (height, width) that is drawn for a picture of height x width."""
        factor = self.factors[int(rng.integers(len(self.factors)))]
        return max(int(height * factor), 1), max(int(width * factor), 1)

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        return resize_pair(image, mask, *self.size(mask.shape[0], mask.shape[1], rng))


@dataclass(frozen=True, kw_only=True)
class RandomScale:
    """Resized by a factor drawn uniformly from `low` to `high`, sides rounded."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range("low, high:", (self.low, self.high), least=1e-3)

    def size(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """The (height, width) that is drawn for a picture of height x width."""
        factor = float(rng.uniform(self.low, self.high))
        return max(round(height * factor), 1), max(round(width * factor), 1)

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        return resize_pair(image, mask, *self.size(mask.shape[0], mask.shape[1], rng))


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Resized to `height` x `width`, whatever the shape was."""

    height: int
    width: int

    def __post_init__(self) -> None:
        check_size(self)

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        return resize_pair(image, mask, self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """A window of `height` x `width` at a uniformly drawn place, after padding where the picture is smaller.

    Padding is added below and to the right: `fill` in the picture, `IGNORE` in the mask.
    """

    height: int
    width: int
    fill: tuple[int, int, int] = MEAN_COLOR

    def __post_init__(self) -> None:
        check_size(self)
        check(self, fill=BYTE)

    def place(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """(top, left) of the window in a picture of height x width that is large enough."""
        return int(rng.integers(height - self.height + 1)), int(rng.integers(width - self.width + 1))

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        padded = pad_pair(image, mask, self.height, self.width, self.fill)
        top, left = self.place(padded["mask"].shape[0], padded["mask"].shape[1], rng)
        return crop_pair(padded["image"], padded["mask"], top, left, self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class EnlargingCrop:
    """A window of `height` x `width`; a smaller picture is enlarged first, never padded (AttaNet's code).

    A picture that is too small in one direction is resized so that its shorter side fills the window:
    ``int(side * factor + 1)``. Offsets are ``int(uniform * (side - window))``. Where the window is not square and this
    does not fill it, the larger of both factors is taken (the released code knows square windows only).
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        check_size(self)

    def place(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """(top, left) of the window in a picture of height x width that is large enough."""
        left = int(rng.random() * (width - self.width))
        return int(rng.random() * (height - self.height)), left

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
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
class GaussianBlur:
    """Blurred with `probability` by a deviation drawn uniformly from `sigma`, in pixels."""

    probability: float = 0.5
    sigma: tuple[float, float] = (0.3, 1.5)

    def __post_init__(self) -> None:
        check(self, probability=FRACTION)
        _check_range("sigma", self.sigma, least=1e-3)

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        if rng.random() >= self.probability:
            return {"image": image, "mask": mask}
        sigma = float(rng.uniform(*self.sigma))
        return {"image": cv2.GaussianBlur(image, (0, 0), sigma), "mask": mask}  # type: ignore[typeddict-item]


Transform = (
    ColorJitter
    | HorizontalFlip
    | Rotate90
    | ScaleChoice
    | RandomScale
    | Resize
    | RandomCrop
    | EnlargingCrop
    | ClassBalancedCrop
    | GaussianBlur
    | RandomShortSide
    | RandomTenths
    | RandomFit
    | CategoryLimitedCrop
    | PhotometricDistortion
    | Pad
)
"""Every transform that a recipe can name."""

Crop = RandomCrop | EnlargingCrop | ClassBalancedCrop
"""Crops that a scaling before them can be merged with."""


@dataclass(frozen=True)
class Compose:
    """Transforms one after the other, all drawing from one generator.

    Where a crop follows a scaling, only the window is resized (see `resize_window` for how equal that is).
    """

    transforms: Sequence[Transform]

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        item: Item = {"image": image, "mask": mask}
        waiting: ScaleChoice | RandomScale | None = None
        for transform, following in zip(self.transforms, (*self.transforms[1:], None), strict=True):
            if isinstance(transform, ScaleChoice | RandomScale) and isinstance(following, Crop):
                waiting = transform
            elif waiting is not None and isinstance(transform, Crop):
                item = _scale_and_crop(item, waiting, transform, rng)
                waiting = None
            else:
                item = transform(image=item["image"], mask=item["mask"], rng=rng)
        return item


def _scale_and_crop(item: Item, scaling: ScaleChoice | RandomScale, crop: Crop, rng: np.random.Generator) -> Item:
    size = scaling.size(item["mask"].shape[0], item["mask"].shape[1], rng)
    if size[0] < crop.height or size[1] < crop.width or size == item["mask"].shape:
        resized = resize_pair(item["image"], item["mask"], *size)
        return crop(image=resized["image"], mask=resized["mask"], rng=rng)
    if isinstance(crop, ClassBalancedCrop):
        top, left = crop.place(resize_mask(item["mask"], *size), rng)
    else:
        top, left = crop.place(*size, rng)
    return resize_window(item["image"], item["mask"], size, top=top, left=left, height=crop.height, width=crop.width)


def _check_range(name: str, limits: tuple[float, float], *, least: float) -> None:
    low, high = limits
    if not least <= low <= high <= 100:
        raise ValueError(f"{name} from {low:g} to {high:g}: expected two numbers in order, {least:g} to 100")
