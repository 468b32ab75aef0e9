"""Where class-balanced crops go: classes, pixels and windows are drawn as the docstring says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from segattn.contracts import IGNORE
from segattn.recipes.serialize import from_dict, to_dict
from segattn.transforms.compose import ClassBalancedCrop, Compose
from segattn.transforms.crops import RandomCrop
from segattn.transforms.resizing import RandomScale

HEIGHT, WIDTH = 60, 90


@pytest.fixture
def pair() -> dict[str, np.ndarray]:
    """Class 0 nearly everywhere, 1 in one pixel, 2 in six, and ignored borders. The image numbers its pixels."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:5], mask[:, :3] = IGNORE, IGNORE
    mask[50, 80] = 1
    mask[10:12, 20:23] = 2
    number = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    return {"image": np.stack([number % 256, number // 256, number * 0], -1).astype(np.uint8), "mask": mask}


def corners(crop: ClassBalancedCrop, pair: dict[str, np.ndarray], draws: int) -> list[tuple[int, int]]:
    """(top, left) of many windows."""
    found = []
    for seed in range(draws):
        first = crop(**pair, rng=np.random.default_rng(seed))["image"][0, 0]
        found.append(divmod(int(first[0]) + 256 * int(first[1]), WIDTH))
    return found


def test_the_drawn_class_is_in_the_window(pair: dict[str, np.ndarray]) -> None:
    for wanted in (1, 2):
        weights = tuple(float(index == wanted) for index in range(3))
        crop = ClassBalancedCrop(height=8, width=12, probability=1.0, class_weights=weights)
        for seed in range(100):
            item = crop(**pair, rng=np.random.default_rng(seed))
            assert item["mask"].shape == (8, 12)
            assert (item["mask"] == wanted).any()
            assert item["image"].shape == (8, 12, 3)


def test_every_window_with_the_pixel_is_as_likely(pair: dict[str, np.ndarray]) -> None:
    crop = ClassBalancedCrop(height=3, width=4, probability=1.0, class_weights=(0, 1, 0))
    counts = Counter(corners(crop, pair, 3000))
    assert set(counts) == {(top, left) for top in (48, 49, 50) for left in (77, 78, 79, 80)}
    assert max(counts.values()) < 1.35 * 3000 / 12
    assert min(counts.values()) > 0.65 * 3000 / 12


def test_at_the_border_windows_stay_inside(pair: dict[str, np.ndarray]) -> None:
    crop = ClassBalancedCrop(height=20, width=30, probability=1.0, class_weights=(0, 1, 0))
    tops, lefts = zip(*corners(crop, pair, 800), strict=True)
    assert (min(tops), max(tops)) == (31, 40)  # 50 - 19 to 60 - 20
    assert (min(lefts), max(lefts)) == (51, 60)


def test_classes_are_drawn_by_weight_among_those_that_are_there(pair: dict[str, np.ndarray]) -> None:
    """Windows of one pixel show what was drawn; class 3 is not in the image, however heavy."""
    crop = ClassBalancedCrop(height=1, width=1, probability=1.0, class_weights=(1, 2, 5, 100))
    drawn = Counter(int(crop(**pair, rng=np.random.default_rng(seed))["mask"][0, 0]) for seed in range(2000))
    assert set(drawn) == {0, 1, 2}
    assert drawn[1] / drawn[0] == pytest.approx(2, rel=0.2)
    assert drawn[2] / drawn[0] == pytest.approx(5, rel=0.2)
    alike = ClassBalancedCrop(height=1, width=1, probability=1.0)
    drawn = Counter(int(alike(**pair, rng=np.random.default_rng(seed))["mask"][0, 0]) for seed in range(1500))
    assert {*drawn} == {0, 1, 2}
    assert min(drawn.values()) > 430


def test_without_balance_it_is_a_random_crop(pair: dict[str, np.ndarray]) -> None:
    """With the probability that is left, and where nothing is to be looked for."""
    nothing = {"image": pair["image"], "mask": np.full((HEIGHT, WIDTH), IGNORE, np.uint8)}
    plain = RandomCrop(height=8, width=12)
    never = ClassBalancedCrop(height=8, width=12, probability=0.0)
    without = ClassBalancedCrop(height=8, width=12, probability=1.0, class_weights=(0, 0, 0, 1))
    for crop, item in ((never, pair), (without, pair), (ClassBalancedCrop(height=8, width=12), nothing)):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            rng.random()  # whether to balance
            np.testing.assert_array_equal(
                crop(**item, rng=np.random.default_rng(seed))["image"], plain(**item, rng=rng)["image"]
            )


def test_the_probability_is_kept(pair: dict[str, np.ndarray]) -> None:
    crop = ClassBalancedCrop(height=2, width=2, probability=0.25, class_weights=(0, 1, 0))
    found = sum((crop(**pair, rng=np.random.default_rng(seed))["mask"] == 1).any() for seed in range(1000))
    assert 200 <= found <= 300  # a plain window shows it once in 1300 times


def test_rare_classes_appear_more_often_than_in_plain_crops(pair: dict[str, np.ndarray]) -> None:
    def share(crop: RandomCrop | ClassBalancedCrop) -> float:
        pipeline = Compose((RandomScale(low=0.75, high=1.5), crop))
        return np.mean([(pipeline(**pair, rng=np.random.default_rng(s))["mask"] == 2).any() for s in range(200)])

    balanced, plain = ClassBalancedCrop(height=16, width=16, probability=0.5), RandomCrop(height=16, width=16)
    assert share(balanced) > 2 * share(plain)


def test_a_small_image_is_padded(pair: dict[str, np.ndarray]) -> None:
    item = ClassBalancedCrop(height=70, width=100, fill=(1, 2, 3))(**pair, rng=np.random.default_rng(0))
    assert item["mask"].shape == (70, 100)
    assert (item["mask"][HEIGHT:] == IGNORE).all()
    assert (item["image"][:, WIDTH:] == (1, 2, 3)).all()
    np.testing.assert_array_equal(item["mask"][:HEIGHT, :WIDTH], pair["mask"])


def test_it_round_trips_as_part_of_a_recipe() -> None:
    crop = ClassBalancedCrop(height=8, width=12, class_weights=(1.0, 0.5))
    assert from_dict(ClassBalancedCrop, to_dict(crop)) == crop
    assert to_dict(crop)["class_weights"] == [1.0, 0.5]


def test_wrong_values_are_refused(pair: dict[str, np.ndarray]) -> None:
    crop = ClassBalancedCrop(height=2, width=2, probability=1.0, class_weights=(1, 1))
    with pytest.raises(ValueError, match=r"2 class_weights, but there is a mask with class 2; give one weight a class"):
        crop(**pair, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="size 0x5"):
        ClassBalancedCrop(height=0, width=5)
    with pytest.raises(ValueError, match=r"probability 1\.5"):
        ClassBalancedCrop(height=1, width=1, probability=1.5)
    for weights in ((), (0.0, 0.0), (1.0, -1.0), (float("nan"), 1.0), (float("inf"), 1.0)):
        with pytest.raises(ValueError, match="expected numbers from 0 on, one of them above 0"):
            ClassBalancedCrop(height=1, width=1, class_weights=weights)
