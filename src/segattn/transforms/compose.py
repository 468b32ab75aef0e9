"""The transforms of a recipe one after another, and the union of their types.

Every transform takes the image (H, W, 3) uint8 RGB, its mask (H, W) uint8 of training ids and a random generator, and
gives both as an `Item`; all but `RGB_ONLY` take bands (H, W, C) as they are stored too. It changes neither argument and
draws from nothing but `rng`, so that a sample is a function of its seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segattn.transforms.colours import (
    ColorJitter,
    GaussianBlur,
    GaussianNoise,
    Illumination,
    PhotometricDistortion,
    RandomGrayscale,
)
from segattn.transforms.crops import CategoryLimitedCrop, ClassBalancedCrop, EnlargingCrop, Pad, RandomCrop
from segattn.transforms.pixels import Image, Item, resize_mask, resize_pair, resize_window
from segattn.transforms.resizing import (
    HorizontalFlip,
    RandomFit,
    RandomScale,
    RandomShortSide,
    RandomTenths,
    Resize,
    Rotate90,
    ScaleChoice,
)

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
    | GaussianNoise
    | Illumination
    | RandomGrayscale
    | RandomShortSide
    | RandomTenths
    | RandomFit
    | CategoryLimitedCrop
    | PhotometricDistortion
    | Pad
)
"""Every transform that a recipe can name."""

RGB_ONLY = (ColorJitter, GaussianNoise, Illumination, RandomGrayscale, PhotometricDistortion)
"""Transforms that are made for red, green and blue of 8 bits."""

Crop = RandomCrop | EnlargingCrop | ClassBalancedCrop
"""Crops that a scaling before them can be merged with."""

Fitting = Resize | RandomShortSide | RandomFit
"""Transforms after which an image's size is not its own times a factor; `middle` is the usual one."""


@dataclass(frozen=True)
class Compose:
    """Transforms one after the other, all drawing from one generator.

    Where a crop follows a scaling, only the window is resized (see `resize_window` for how equal that is).
    """

    transforms: Sequence[Transform]

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        item: Item = {"image": image, "mask": mask}
        waiting: ScaleChoice | RandomScale | None = None
        for transform, following in zip(self.transforms, (*self.transforms[1:], None), strict=False):
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
