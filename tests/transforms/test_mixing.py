"""What CutMix and ClassMix put over a crop: how much, of which classes, and the mask with the image."""

from __future__ import annotations

import numpy as np
import pytest

from segattn.contracts import IGNORE
from segattn.transforms.mixing import ClassMix, CutMix, Mixing
from segattn.transforms.pixels import Item

HEIGHT, WIDTH = 40, 60


def crop(value: int, mask: np.ndarray | int) -> Item:
    full = np.zeros((HEIGHT, WIDTH), np.uint8)
    full[:] = mask
    return {"image": np.full((HEIGHT, WIDTH, 3), value, np.uint8), "mask": full}


@pytest.mark.parametrize("mixing", [CutMix(), ClassMix()], ids=lambda mixing: type(mixing).__name__)
def test_image_and_mask_move_together_and_both_crops_stay(mixing: Mixing) -> None:
    below, above = crop(10, 3), crop(20, np.arange(WIDTH, dtype=np.uint8) // 10)
    before = above["mask"].copy()
    for seed in range(30):
        mixed = mixing(below, above, np.random.default_rng(seed))
        again = mixing(below, above, np.random.default_rng(seed))
        np.testing.assert_array_equal(mixed["image"], again["image"])
        taken = (mixed["image"] == 20).all(-1)
        assert (mixed["image"][~taken] == 10).all()
        np.testing.assert_array_equal(mixed["mask"], np.where(taken, above["mask"], 3))
        assert mixed["image"].dtype == mixed["mask"].dtype == np.uint8
    np.testing.assert_array_equal(above["mask"], before)
    assert (below["mask"] == 3).all()
    assert (below["image"] == 10).all()


def test_cutmix_puts_one_rectangle_anywhere() -> None:
    covered, shares = np.zeros((HEIGHT, WIDTH), int), []
    for seed in range(400):
        taken = CutMix()(crop(1, 0), crop(2, 1), np.random.default_rng(seed))["mask"] == 1
        rows, columns = np.flatnonzero(taken.any(1)), np.flatnonzero(taken.any(0))
        assert taken.sum() == len(rows) * len(columns)
        covered += taken
        shares.append(taken.mean())
    assert covered.min() > 40, "corners too"
    assert 0.25 < np.mean(shares) < 0.4  # half of the area, less what is cut off
    assert max(shares) > 0.8


def test_cutmix_of_a_small_alpha_takes_nearly_all_or_nothing() -> None:
    areas = [CutMix(alpha=0.01)(crop(1, 0), crop(2, 1), np.random.default_rng(s))["mask"].mean() for s in range(100)]
    assert sum(area == 0 for area in areas) > 35


def test_classmix_takes_half_of_the_labelled_classes() -> None:
    mask = np.repeat(np.array([0, 4, 7, 9, 10, IGNORE], np.uint8), WIDTH // 6)
    counts: dict[int, int] = dict.fromkeys([0, 4, 7, 9, 10], 0)
    for seed in range(300):
        mixed = ClassMix()(crop(1, 2), crop(2, mask), np.random.default_rng(seed))["mask"]
        taken = set(np.unique(mixed).tolist()) - {2}
        assert len(taken) == 3
        for label in taken:
            assert (mixed == label).sum() == HEIGHT * WIDTH // 6, "all pixels of the class"
            counts[label] += 1
    assert min(counts.values()) > 140
    assert set(counts) == {0, 4, 7, 9, 10}


def test_classmix_of_a_crop_without_classes_changes_nothing() -> None:
    mixed = ClassMix()(crop(1, 2), crop(2, IGNORE), np.random.default_rng(0))
    assert (mixed["mask"] == 2).all()
    assert (mixed["image"] == 1).all()


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"probability 1\.5"):
        ClassMix(probability=1.5)
    with pytest.raises(ValueError, match="alpha 0"):
        CutMix(alpha=0.0)
