import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from segattn.contracts import IGNORE
from segattn.transforms.colours import ColorJitter, GaussianBlur, GaussianNoise, Illumination, RandomGrayscale
from segattn.transforms.compose import ClassBalancedCrop, Compose, Transform
from segattn.transforms.crops import EnlargingCrop, RandomCrop
from segattn.transforms.resizing import HorizontalFlip, RandomScale, Resize, Rotate90, ScaleChoice

ALL: tuple[Transform, ...] = (
    ColorJitter(),
    HorizontalFlip(),
    Rotate90(),
    ScaleChoice(factors=(0.75, 1.0, 1.5)),
    RandomScale(low=0.5, high=2.0),
    Resize(height=20, width=30),
    RandomCrop(height=40, width=50),
    EnlargingCrop(height=40, width=40),
    ClassBalancedCrop(height=40, width=50),
    GaussianBlur(),
    GaussianNoise(),
    Illumination(),
    RandomGrayscale(probability=0.5),
)


@pytest.fixture
def pair() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    image = cv2.resize(rng.integers(0, 256, (9, 13, 3), np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
    mask = cv2.resize(rng.integers(0, 19, (6, 8), np.uint8), (64, 48), interpolation=cv2.INTER_NEAREST)
    return {"image": image, "mask": mask}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_contract(transform: Transform, pair: dict[str, np.ndarray]) -> None:
    before = {key: value.copy() for key, value in pair.items()}
    for seed in range(6):
        first, second = transform(**pair, rng=rng(seed)), transform(**pair, rng=rng(seed))
        np.testing.assert_array_equal(first["image"], second["image"])
        np.testing.assert_array_equal(first["mask"], second["mask"])
        assert first["image"].shape[:2] == first["mask"].shape
        assert first["image"].dtype == first["mask"].dtype == np.uint8
        assert set(np.unique(first["mask"])) <= {*np.unique(pair["mask"]), IGNORE}
    np.testing.assert_array_equal(pair["image"], before["image"])
    np.testing.assert_array_equal(pair["mask"], before["mask"])
    assert dataclasses.replace(transform) == transform


@pytest.mark.parametrize("factor", [0.5, 0.83, 1.0, 1.21, 1.5])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_colour_step_is_pillows(pair: dict[str, np.ndarray], name: str, factor: float) -> None:
    limits = dict.fromkeys(("brightness", "contrast", "saturation"), (1.0, 1.0)) | {name: (factor, factor)}
    got = ColorJitter(**limits)(**pair, rng=rng())["image"]
    enhance = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
    }
    want = np.asarray(enhance[name](Image.fromarray(pair["image"])).enhance(factor))
    difference = np.abs(got.astype(int) - want)
    # luminance is rounded at another bit: a grey level now and then
    assert difference.max() <= (0 if name == "brightness" else 2)
    assert difference.mean() < 0.02


def test_flip_and_rotation(pair: dict[str, np.ndarray]) -> None:
    flipped = HorizontalFlip(probability=1.0)(**pair, rng=rng())
    np.testing.assert_array_equal(flipped["image"], pair["image"][:, ::-1])
    np.testing.assert_array_equal(flipped["mask"], pair["mask"][:, ::-1])
    turned = Rotate90(probability=1.0)(**pair, rng=rng())
    np.testing.assert_array_equal(turned["image"], np.rot90(pair["image"]))  # counter-clockwise
    np.testing.assert_array_equal(turned["mask"], np.rot90(pair["mask"]))
    untouched = HorizontalFlip(probability=0.0)(**pair, rng=rng())
    assert untouched["image"] is pair["image"]


def test_probabilities_are_kept(pair: dict[str, np.ndarray]) -> None:
    generator, count = rng(1), 0
    for _ in range(400):
        count += HorizontalFlip(probability=0.25)(**pair, rng=generator)["image"] is not pair["image"]
    assert 70 <= count <= 130


def test_scale_choice_cuts_sides_off_and_enlarges_as_pillow(pair: dict[str, np.ndarray]) -> None:
    odd = {"image": np.ascontiguousarray(pair["image"][:47, :63]), "mask": np.ascontiguousarray(pair["mask"][:47, :63])}
    scaled = ScaleChoice(factors=(1.5,))(**odd, rng=rng())
    assert scaled["mask"].shape == (70, 94)
    bilinear = np.asarray(Image.fromarray(odd["image"]).resize((94, 70), Image.Resampling.BILINEAR))
    assert np.abs(scaled["image"].astype(int) - bilinear).max() <= 1
    nearest = np.asarray(Image.fromarray(odd["mask"]).resize((94, 70), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(scaled["mask"], nearest)


def test_image_and_mask_stay_registered(pair: dict[str, np.ndarray]) -> None:
    mask = pair["mask"]
    chain = Compose((HorizontalFlip(), Rotate90(), RandomScale(low=1.0, high=2.0), RandomCrop(height=60, width=60)))
    for seed in range(8):
        item = chain(image=np.stack([mask] * 3, -1), mask=mask, rng=rng(seed))
        known = item["mask"] != IGNORE
        assert known.any()
        # bilinear differs from nearest at the borders of regions only
        assert (item["image"][..., 0] == item["mask"])[known].mean() > 0.7


def test_random_crop_pads_below_and_right(pair: dict[str, np.ndarray]) -> None:
    item = RandomCrop(height=60, width=50, fill=(1, 2, 3))(**pair, rng=rng())
    assert item["mask"].shape == (60, 50)
    assert (item["mask"][48:] == IGNORE).all()
    assert (item["mask"][:48] != IGNORE).all()
    assert (item["image"][48:] == (1, 2, 3)).all()


def test_random_crop_reaches_every_place(pair: dict[str, np.ndarray]) -> None:
    numbered = np.arange(48 * 64).reshape(48, 64)
    image = np.stack([numbered % 256, numbered // 256, numbered * 0], -1).astype(np.uint8)
    tops, lefts = set(), set()
    for seed in range(300):
        corner = RandomCrop(height=46, width=61)(image=image, mask=pair["mask"], rng=rng(seed))["image"][0, 0]
        top, left = divmod(int(corner[0]) + 256 * int(corner[1]), 64)
        tops.add(top)
        lefts.add(left)
    assert tops == {0, 1, 2}
    assert lefts == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("shape", "window", "enlarged"),
    [
        ((48, 64), (40, 40), (48, 64)),  # large enough
        ((30, 64), (40, 40), (41, 86)),  # the height fills the window: 40 / 30
        ((64, 30), (40, 40), (86, 41)),  # the width does
        ((30, 32), (40, 80), (76, 81)),  # not square: the larger factor
    ],
)
def test_enlarging_crop(shape: tuple[int, int], window: tuple[int, int], enlarged: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    mask = np.random.default_rng(1).integers(0, 19, shape, np.uint8)
    item = EnlargingCrop(height=window[0], width=window[1])(image=image, mask=mask, rng=rng(2))
    assert item["mask"].shape == window
    assert (item["mask"] != IGNORE).all()
    draws = rng(2)
    left, top = int(draws.random() * (enlarged[1] - window[1])), int(draws.random() * (enlarged[0] - window[0]))
    whole = cv2.resize(mask, enlarged[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    np.testing.assert_array_equal(item["mask"], whole[top : top + window[0], left : left + window[1]])


@pytest.mark.parametrize(
    "crop",
    [
        RandomCrop(height=130, width=160),
        EnlargingCrop(height=150, width=150),
        ClassBalancedCrop(height=130, width=160, class_weights=tuple(range(19))),
    ],
    ids=lambda crop: type(crop).__name__,
)
@pytest.mark.parametrize("scaling", [RandomScale(low=0.5, high=2.3), ScaleChoice(factors=(0.75, 1.0, 1.25, 1.75, 2.0))])
def test_scaling_only_the_window_is_scaling_then_cropping(scaling: Transform, crop: Transform) -> None:
    image = np.random.default_rng(0).integers(0, 256, (201, 263, 3), np.uint8)  # the hardest: nothing but noise
    mask = np.random.default_rng(1).integers(0, 19, (201, 263), np.uint8)
    for seed in range(40):
        together = Compose((scaling, crop))(image=image, mask=mask, rng=rng(seed))
        draws = rng(seed)
        apart = crop(**scaling(image=image, mask=mask, rng=draws), rng=draws)
        np.testing.assert_array_equal(together["mask"], apart["mask"])
        assert np.abs(together["image"].astype(int) - apart["image"]).max() <= 1


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"brightness from 1\.5 to 0\.5"):
        ColorJitter(brightness=(1.5, 0.5))
    with pytest.raises(ValueError, match="probability 2"):
        HorizontalFlip(probability=2)
    with pytest.raises(ValueError, match="factors"):
        ScaleChoice(factors=())
    with pytest.raises(ValueError, match="size 0x5"):
        RandomCrop(height=0, width=5)


def test_no_transforms_leave_the_image_as_it_is() -> None:
    image, mask = np.full((4, 6, 3), 7, np.uint8), np.ones((4, 6), np.uint8)
    item = Compose(())(image=image, mask=mask, rng=np.random.default_rng(0))
    assert np.array_equal(item["image"], image)
    assert np.array_equal(item["mask"], mask)
