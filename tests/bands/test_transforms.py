"""Transforms of images of other bands than RGB of 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segattn.contracts import IGNORE
from segattn.transforms import compose
from segattn.transforms.colours import GaussianBlur
from segattn.transforms.crops import CategoryLimitedCrop, ClassBalancedCrop, EnlargingCrop, Pad, RandomCrop
from segattn.transforms.mixing import ClassMix, CutMix
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

GEOMETRIC: list[Any] = [
    HorizontalFlip(probability=1.0),
    Rotate90(probability=1.0),
    ScaleChoice(factors=(0.5, 1.5)),
    RandomScale(low=0.5, high=2.0),
    Resize(height=20, width=30),
    RandomCrop(height=64, width=64),
    EnlargingCrop(height=64, width=64),
    ClassBalancedCrop(height=16, width=16),
    GaussianBlur(probability=1.0),
    RandomShortSide(base=32),
    RandomTenths(),
    RandomFit(long=64, short=32),
    CategoryLimitedCrop(height=16, width=16),
    Pad(height=64, width=64),
]


def test_every_transform_is_of_one_of_both_kinds() -> None:
    names = {type(transform).__name__ for transform in GEOMETRIC} | {kind.__name__ for kind in compose.RGB_ONLY}
    assert names == {kind.__name__ for kind in compose.Transform.__args__}


@pytest.mark.parametrize("transform", GEOMETRIC, ids=lambda transform: type(transform).__name__)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("bands", [1, 2, 5, 13])
def test_bands_go_the_way_of_three(transform: Any, dtype: Any, bands: int) -> None:
    """Each band as it would go alone, in the type that it has, and the mask as with any image."""
    rng = np.random.default_rng(0)
    image = (rng.random((40, 48, bands)) * 200).astype(dtype)
    mask = rng.integers(0, 3, (40, 48)).astype(np.uint8)
    item = transform(image=image, mask=mask, rng=np.random.default_rng(7))
    assert item["image"].dtype == dtype
    assert item["image"].shape == (*item["mask"].shape, bands)
    alike = np.repeat(image[..., :1], 3, axis=2)
    three = transform(image=alike, mask=mask, rng=np.random.default_rng(7))
    assert np.array_equal(three["mask"], item["mask"])
    labelled = item["mask"] != IGNORE
    difference = np.abs(item["image"][..., 0].astype(float) - three["image"][..., 0])[labelled]
    assert difference.max() <= (1 if dtype != np.float32 else 1e-3)


def test_a_scaling_and_a_crop_in_one() -> None:
    image = np.random.default_rng(0).integers(0, 60000, (40, 48, 5)).astype(np.uint16)
    mask = np.zeros((40, 48), np.uint8)
    both = compose.Compose((RandomScale(low=1.3, high=1.4), RandomCrop(height=32, width=32)))
    item = both(image=image, mask=mask, rng=np.random.default_rng(1))
    assert (item["image"].shape, item["image"].dtype) == ((32, 32, 5), np.uint16)


def test_padding_is_the_mean_of_each_band() -> None:
    image = np.full((4, 4, 5), 1, np.uint16) * np.array([10, 200, 3000, 40000, 5], np.uint16)
    item = Pad(height=6, width=5)(image=image, mask=np.zeros((4, 4), np.uint8), rng=np.random.default_rng(0))
    assert (item["image"] == image[0, 0]).all()
    assert (item["mask"][4:] == IGNORE).all()


@pytest.mark.parametrize("mixing", [CutMix(probability=1.0), ClassMix(probability=1.0)])
def test_mixing(mixing: Any) -> None:
    rng = np.random.default_rng(0)
    items: list[Any] = [
        {
            "image": np.full((16, 16, 5), value, np.uint16),
            "mask": rng.integers(0, 3, (16, 16)).astype(np.uint8),
        }
        for value in (300, 60000)
    ]
    mixed = mixing(*items, rng)
    assert mixed["image"].dtype == np.uint16
    assert set(np.unique(mixed["image"])) <= {300, 60000}
