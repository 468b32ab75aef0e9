"""The papers' training augmentations as recipes list them, from the decoded image to the crop."""

from __future__ import annotations

from segattn.data.transforms import HorizontalFlip, RandomCrop, Transform
from segattn.data.transforms_papers import (
    CategoryLimitedCrop,
    Pad,
    PhotometricDistortion,
    RandomFit,
    RandomShortSide,
    RandomTenths,
)

BLACK = (0, 0, 0)
ACFNET_MEAN = (123, 117, 104)
"""(122.67891434, 116.66876762, 104.00698793) in whole numbers: ACFNet's padding, the zero of its normalised input."""


def danet_augmentation(*, base: int, crop: int) -> tuple[Transform, ...]:
    """DANet's steps of 2018, as for the published model: base 1024 and crop 768 for Cityscapes, 608 and 576 else.

    Padding is black before normalising and the label is ignored there; its later code pads labels with 0.
    """
    return HorizontalFlip(), RandomShortSide(base=base), RandomCrop(height=crop, width=crop, fill=BLACK)


def acfnet_augmentation(*, crop: int) -> tuple[Transform, ...]:
    """ACFNet's steps as in its code: crop 769 for Cityscapes."""
    return RandomTenths(), RandomCrop(height=crop, width=crop, fill=ACFNET_MEAN), HorizontalFlip()


def mm_augmentation(*, crop: int | tuple[int, int], long: int = 2048, short: int = 512) -> tuple[Transform, ...]:
    """mmsegmentation's steps, with crop 512 for all ADE20K recipes; `crop` is a side, or height and width."""
    height, width = (crop, crop) if isinstance(crop, int) else crop
    return (
        RandomFit(long=long, short=short),
        CategoryLimitedCrop(height=height, width=width),
        HorizontalFlip(),
        PhotometricDistortion(),
        Pad(height=height, width=width),
    )
