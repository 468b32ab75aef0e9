"""The papers' augmentations: mmsegmentation's against its own output, the others against expectations by hand."""

from __future__ import annotations

import numpy as np
import pytest

from segattn.contracts import IGNORE
from segattn.recipes.acfnet import ACFNET_MEAN, acfnet_augmentation
from segattn.recipes.ade20k import mm_augmentation
from segattn.recipes.danet import BLACK, danet_augmentation
from segattn.transforms.colours import PhotometricDistortion, linear, saturate, turn_hue
from segattn.transforms.compose import Compose
from segattn.transforms.crops import MEAN_COLOR, CategoryLimitedCrop, Pad, RandomCrop, varied
from segattn.transforms.resizing import RandomFit, RandomShortSide, RandomTenths, fit, resize_short_side, scale


class Draws:
    """Stands in for a generator: gives what it was told to and remembers between which bounds it was asked."""

    def __init__(self, *values):
        self.values, self.asked = list(values), []

    def random(self):
        self.asked.append("random")
        return self.values.pop(0)

    def uniform(self, low, high):
        self.asked.append((low, high))
        return self.values.pop(0)

    def integers(self, low, high):
        self.asked.append((low, high))
        value = self.values.pop(0)
        assert low <= value < high
        return value


def random_pair(height, width, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return {"image": image, "mask": rng.integers(0, 19, (height, width), dtype=np.uint8)}


def test_photometric_steps_equal_mmsegmentation(parity):
    arrays = parity.arrays("protocols_mm")
    names = parity.description("protocols_mm")["augment"]["photometric"]["arrays"]
    image = np.random.default_rng(7).integers(0, 256, (12, 14, 3)).astype(np.uint8)
    steps = {
        "brightness": lambda value: linear(image, offset=value),
        "contrast": lambda value: linear(image, factor=value),
        "saturation": lambda value: saturate(image, value),
        "hue": lambda value: turn_hue(image, int(value)),
    }
    assert len(names) == 8
    for name in names:
        step, value = name.removeprefix("augment.").split()
        np.testing.assert_array_equal(steps[step](float(value)), arrays[name], err_msg=name)


def test_fit_equals_mmsegmentation(parity):
    arrays = parity.arrays("protocols_mm")
    cases = parity.description("protocols_mm")["augment"]["resize"]["cases"]
    image = np.random.default_rng(9).integers(0, 256, (30, 45, 3)).astype(np.uint8)
    mask = np.random.default_rng(8).integers(0, 151, (30, 45)).astype(np.uint8)
    assert len(cases) == 3
    for case in cases:
        result = fit(image, mask, *case["scale"])
        np.testing.assert_array_equal(result["image"], arrays[case["arrays"][0]])
        np.testing.assert_array_equal(result["mask"], arrays[case["arrays"][1]])
        ratio = case["scale"][1] / 20
        drawn = RandomFit(long=80, short=20)(image=image, mask=mask, rng=Draws(ratio))
        np.testing.assert_array_equal(drawn["image"], result["image"])


def test_random_fit_cuts_the_bounds_before_the_factor():
    # r = 0.99: bounds int(158.4) = 158, int(39.6) = 39; factor min(158/60, 39/40) = 0.975; 58.5 -> 59, 39
    result = RandomFit(long=160, short=40)(**random_pair(40, 60), rng=Draws(0.99))
    assert result["mask"].shape == (39, 59)


def test_photometric_distortion_orders_its_steps():
    sample = random_pair(9, 11)
    image = sample["image"]
    # brightness, contrast early, saturation, hue
    rng = Draws(0.1, 20.0, 0.1, 0.1, 1.2, 0.1, 0.7, 0.1, 5)
    expected = turn_hue(saturate(linear(linear(image, offset=20.0), factor=1.2), 0.7), 5)
    np.testing.assert_array_equal(PhotometricDistortion()(**sample, rng=rng)["image"], expected)
    assert rng.asked == ["random", (-32, 32), "random", "random", (0.5, 1.5), "random", (0.5, 1.5), "random", (-18, 18)]
    # no brightness, contrast last, no saturation, hue
    expected = linear(turn_hue(image, -18), factor=0.6)
    rng = Draws(0.9, 0.9, 0.9, 0.1, -18, 0.1, 0.6)
    result = PhotometricDistortion()(**sample, rng=rng)
    np.testing.assert_array_equal(result["image"], expected)
    assert result["mask"] is sample["mask"]
    # nothing at all, wherever the contrast would have been
    for draws in ((0.9, 0.1, 0.9, 0.9, 0.9), (0.9, 0.9, 0.9, 0.9, 0.9)):
        np.testing.assert_array_equal(PhotometricDistortion()(**sample, rng=Draws(*draws))["image"], image)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([0, 0, 0, 1], False),  # exactly 0.75
        ([0, 0, 1, 1], True),
        ([0, 0, 0, 0], False),
        ([IGNORE] * 4, False),
        ([0, 0, 1, IGNORE], True),  # 2 of 3
        ([0, 0, 0, 1, IGNORE, IGNORE], False),  # 3 of 4: ignored pixels don't dilute
        ([3, IGNORE, IGNORE, IGNORE], False),
    ],
)
def test_varied(mask, expected):
    assert varied(np.array([mask], np.uint8)) is expected


def test_category_limited_crop_draws_again():
    mask = np.zeros((4, 8), np.uint8)
    mask[:, 6:] = 1
    sample = {"image": np.arange(96, dtype=np.uint8).reshape(4, 8, 3), "mask": mask}
    refused, good = (0, 0), (0, 4)
    result = CategoryLimitedCrop(height=4, width=4)(**sample, rng=Draws(*refused, *refused, *good))
    np.testing.assert_array_equal(result["image"], sample["image"][:, 4:])
    # the eleventh is taken unchecked
    rng = Draws(*refused * 10, 0, 1)
    result = CategoryLimitedCrop(height=4, width=4)(**sample, rng=rng)
    np.testing.assert_array_equal(result["image"], sample["image"][:, 1:5])
    assert not rng.values
    # a smaller side is kept whole
    assert CategoryLimitedCrop(height=6, width=6)(**sample, rng=np.random.default_rng(0))["mask"].shape == (4, 6)


def test_danet_short_side():
    rng = Draws(15)
    result = RandomShortSide(base=10)(**random_pair(10, 33), rng=rng)
    assert rng.asked == [(7, 21)]  # int(7.5) and int(20.0), both included
    assert result["image"].shape == (15, 49, 3)  # int(33 * 15 / 10) = int(49.5)
    assert RandomShortSide(base=10)(**random_pair(33, 10), rng=Draws(15))["mask"].shape == (49, 15)
    assert RandomShortSide(base=10)(**random_pair(10, 10), rng=Draws(20))["mask"].shape == (20, 20)


def test_danet_resizes_with_antialiasing_and_centred_nearest():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 1] = 255
    mask = np.tile(np.arange(4, dtype=np.uint8), (4, 1))
    result = resize_short_side(image, mask, 2)
    # triangles of half-width 2 around columns 0.5 and 2.5 weigh columns 0..2 with 3, 3, 1 and columns 1..3 with 1, 3, 3
    np.testing.assert_array_equal(result["image"][0, :, 0], [round(255 * 3 / 7), round(255 / 7)])
    np.testing.assert_array_equal(result["mask"], [[1, 3], [1, 3]])


def test_acfnet_scales():
    seen = set()
    for step in range(15):
        rng = Draws(step)
        seen.add(RandomTenths()(**random_pair(100, 50), rng=rng)["mask"].shape)
        assert rng.asked == [(0, 15)]
    assert seen == {(10 * tenths, 5 * tenths) for tenths in range(7, 22)}
    doubled = scale(np.zeros((2, 2, 3), np.uint8), np.array([[1, 2], [3, 255]], np.uint8), 2.0)
    assert doubled["mask"].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 255, 255], [3, 3, 255, 255]]


def test_padding():
    sample = random_pair(3, 5)
    result = Pad(height=4, width=4, fill=(9, 8, 7))(**sample, rng=Draws())
    assert result["image"].shape == (4, 5, 3)
    assert (result["image"][3] == (9, 8, 7)).all()
    assert (result["mask"][3] == IGNORE).all()
    np.testing.assert_array_equal(result["image"][:3], sample["image"])
    np.testing.assert_array_equal(result["mask"][:3], sample["mask"])


def test_paddings_are_the_networks_zero():
    """At most half a grey level from the exact mean colour."""
    assert BLACK == (0, 0, 0)
    np.testing.assert_allclose(MEAN_COLOR, np.array([0.485, 0.456, 0.406]) * 255, atol=0.5)
    np.testing.assert_allclose(ACFNET_MEAN, [122.67891434, 116.66876762, 104.00698793], atol=0.5)


def test_the_orders_of_the_papers():
    def names(steps):
        return [type(step).__name__ for step in steps]

    assert names(danet_augmentation(base=1024, crop=768)) == ["HorizontalFlip", "RandomShortSide", "RandomCrop"]
    assert names(acfnet_augmentation(crop=769)) == ["RandomTenths", "RandomCrop", "HorizontalFlip"]
    assert names(mm_augmentation(crop=512)) == [
        "RandomFit",
        "CategoryLimitedCrop",
        "HorizontalFlip",
        "PhotometricDistortion",
        "Pad",
    ]
    assert mm_augmentation(crop=512)[0] == RandomFit(long=2048, short=512)


def test_padding_is_below_and_to_the_right_before_the_crop():
    image = np.full((60, 60, 3), 200, np.uint8)
    mask = np.zeros((60, 60), np.uint8)
    danet = Compose(danet_augmentation(base=80, crop=100))
    results = (danet(image=image, mask=mask, rng=np.random.default_rng(seed)) for seed in range(20))
    result = next(result for result in results if (result["mask"] == IGNORE).any())  # a short side under 100 was drawn
    inside = int((result["mask"][0] == 0).sum())
    assert 60 <= inside < 100
    assert (result["mask"][:inside, :inside] == 0).all()
    assert (result["mask"][inside:] == IGNORE).all()
    assert (result["image"][inside:] == BLACK).all()
    assert (result["image"][:inside, :inside] == 200).all()

    acfnet = Compose((RandomTenths(), RandomCrop(height=130, width=130, fill=ACFNET_MEAN)))
    assert (acfnet(image=image, mask=mask, rng=np.random.default_rng(0))["image"][-1] == ACFNET_MEAN).all()


@pytest.mark.parametrize("size", [(40, 70), (200, 90), (61, 61)])
@pytest.mark.parametrize(
    ("steps", "crop"),
    [
        (danet_augmentation(base=64, crop=48), 48),
        (acfnet_augmentation(crop=65), 65),
        (mm_augmentation(crop=64, long=256, short=64), 64),
    ],
    ids=["danet", "acfnet", "mm"],
)
def test_whole_augmentations(steps, crop, size):
    original = random_pair(*size)
    for seed in range(6):
        sample = random_pair(*size)
        first = Compose(steps)(**sample, rng=np.random.default_rng(seed))
        second = Compose(steps)(**sample, rng=np.random.default_rng(seed))
        assert first["image"].shape == (crop, crop, 3)
        assert first["mask"].shape == (crop, crop)
        assert first["image"].dtype == first["mask"].dtype == np.uint8
        np.testing.assert_array_equal(first["image"], second["image"], err_msg="same draws, same crop")
        np.testing.assert_array_equal(first["mask"], second["mask"])
        assert set(np.unique(first["mask"])) <= {*range(19), IGNORE}
        np.testing.assert_array_equal(sample["image"], original["image"], err_msg="the arguments are not changed")
        np.testing.assert_array_equal(sample["mask"], original["mask"])


def test_refuses_sizes_that_make_no_sense():
    for make in (
        lambda: RandomShortSide(base=0),
        lambda: RandomFit(long=512, short=2048),
        lambda: CategoryLimitedCrop(height=0, width=4),
        lambda: Pad(height=4, width=-1),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()
