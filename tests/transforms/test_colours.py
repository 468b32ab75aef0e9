"""Light, noise and grey: by how much they change values, and how often."""

from __future__ import annotations

import numpy as np
import pytest

from segattn.recipes.serialize import from_dict, to_dict
from segattn.transforms.colours import GaussianNoise, Illumination, RandomGrayscale

HEIGHT, WIDTH = 120, 160
MASK = np.zeros((HEIGHT, WIDTH), np.uint8)


def flat(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), (red, green, blue), np.uint8)


def test_noise_has_the_deviation_that_was_asked_for_and_no_mean() -> None:
    image = GaussianNoise(probability=1.0, sigma=(6.0, 6.0))(
        image=flat(128, 100, 90), mask=MASK, rng=np.random.default_rng(0)
    )["image"]
    assert image.std((0, 1)) == pytest.approx([6.0] * 3, rel=0.03)
    assert image.mean((0, 1)) == pytest.approx([128, 100, 90], abs=0.2)
    together = np.corrcoef(image.reshape(-1, 3).T)
    assert np.abs(together - np.eye(3)).max() < 0.03, "each channel has its own"


def test_noise_stays_in_range_and_may_be_none() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        item = GaussianNoise(probability=1.0, sigma=(60.0, 60.0))(image=flat(0, 255, 128), mask=MASK, rng=rng)
        assert item["image"][..., 0].max() < 255, "no value goes round from below 0"
        assert item["image"][..., 1].min() > 0
    still = GaussianNoise(probability=1.0, sigma=(0.0, 0.0))(
        image=flat(3, 4, 5), mask=MASK, rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(still["image"], flat(3, 4, 5))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"exposure": (0.0, 0.0), "gamma": (1.0, 1.0)}, (200, 100, 50)),
        ({"exposure": (-1.0, -1.0), "gamma": (1.0, 1.0)}, (100, 50, 25)),
        ({"exposure": (1.0, 1.0), "gamma": (1.0, 1.0)}, (255, 200, 100)),
        ({"exposure": (0.0, 0.0), "gamma": (2.0, 2.0)}, tuple(round(v * v / 255) for v in (200, 100, 50))),
    ],
)
def test_illumination_follows_its_formula(settings: dict[str, tuple[float, float]], expected: tuple[int, ...]) -> None:
    item = Illumination(probability=1.0, cast=0.0, **settings)(
        image=flat(200, 100, 50), mask=MASK, rng=np.random.default_rng(1)
    )
    assert tuple(item["image"][0, 0]) == expected


def test_a_cast_tints_within_its_bound() -> None:
    light = Illumination(probability=1.0, exposure=(0.0, 0.0), gamma=(1.0, 1.0), cast=0.5)
    grey = flat(100, 100, 100)
    drawn = np.array(
        [light(image=grey, mask=MASK, rng=np.random.default_rng(seed))["image"][0, 0] for seed in range(200)]
    )
    assert drawn.min() >= round(100 * 2**-0.5)
    assert drawn.max() <= round(100 * 2**0.5)
    assert (drawn.std(0) > 10).all()
    assert (drawn.max(1) != drawn.min(1)).mean() > 0.9, "channels differ"


def test_gamma_is_drawn_on_a_logarithmic_scale() -> None:
    light = Illumination(probability=1.0, exposure=(0.0, 0.0), gamma=(0.5, 2.0), cast=0.0)
    values = [
        int(light(image=flat(64, 64, 64), mask=MASK, rng=np.random.default_rng(seed))["image"][0, 0, 0])
        for seed in range(400)
    ]
    assert np.mean([value > 64 for value in values]) == pytest.approx(0.5, abs=0.07)


def test_grey_is_the_luminance() -> None:
    item = RandomGrayscale(probability=1.0)(image=flat(200, 100, 50), mask=MASK, rng=np.random.default_rng(0))
    assert tuple(item["image"][5, 5]) == (round(0.299 * 200 + 0.587 * 100 + 0.114 * 50),) * 3


@pytest.mark.parametrize("kind", [GaussianNoise, Illumination, RandomGrayscale])
def test_probabilities_are_kept_and_descriptions_round_trip(kind: type) -> None:
    rng, image = np.random.default_rng(2), flat(90, 60, 30)
    changed = sum(kind(probability=0.3)(image=image, mask=MASK, rng=rng)["image"] is not image for _ in range(300))
    assert 65 <= changed <= 115
    assert from_dict(kind, to_dict(kind(probability=0.3))) == kind(probability=0.3)


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="sigma from 5 to 1"):
        GaussianNoise(sigma=(5.0, 1.0))
    with pytest.raises(ValueError, match=r"exposure \(-20.0, 0.0\)"):
        Illumination(exposure=(-20.0, 0.0))
    with pytest.raises(ValueError, match="exposure from 1 to -1"):
        Illumination(exposure=(1.0, -1.0))
    with pytest.raises(ValueError, match="gamma from 0 to 1"):
        Illumination(gamma=(0.0, 1.0))
    with pytest.raises(ValueError, match="cast -1"):
        Illumination(cast=-1.0)
