"""Settings that all ADE20K recipes share: they were trained in one toolbox, with one augmentation and one loss."""

from __future__ import annotations

from segattn.losses.terms import CrossEntropy
from segattn.recipes.schema import AdamW, Data, LinearWarmup, Schedule
from segattn.transforms.colours import PhotometricDistortion
from segattn.transforms.compose import Transform
from segattn.transforms.crops import CategoryLimitedCrop, Pad
from segattn.transforms.resizing import HorizontalFlip, RandomFit


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


FIT_512 = (512, 683)
"""An image of 4:3, as most of ADE20K and VOC are, fitted into 2048x512: the scale at which both are trained."""

ADE20K = Data(dataset="ade20k", num_classes=150, count_at=(512, 512), trained_at=FIT_512)
AUGMENTATION = mm_augmentation(crop=512)
MAIN_LOSS = CrossEntropy(output="main", divisor="all")
AUXILIARY_LOSS = CrossEntropy(output="aux", weight=0.4, divisor="all")
LONG_OPTIMIZER = AdamW(weight_decay=0.01)

LONG_SCHEDULE = Schedule(lr=6e-5, iterations=160_000, power=1.0, warmup=LinearWarmup(iterations=1500, ratio=1e-6))
"""160 000 iterations: Light-Ham, HamNet and UperNet."""

FPN_OPTIMIZER = AdamW(weight_decay=1e-4)

FPN_SCHEDULE = Schedule(lr=2e-4, iterations=40_000, power=0.9)
"""40 000 iterations: Semantic FPN."""
