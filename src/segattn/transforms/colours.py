"""Transforms of colour, light, noise and sharpness."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import FRACTION, Range, check
from segattn.transforms.pixels import Image, Item, _check_range, _uint8, as_before


def blend_table(grey: float, factor: float) -> Image:
    """A lookup table (256,): value -> grey + factor * (value - grey), cut off to an integer and clipped to 0..255."""
    values = np.float32(grey) + np.float32(factor) * (np.arange(256, dtype=np.float32) - np.float32(grey))
    return _uint8(np.clip(values, 0, 255).astype(np.uint8))


def apply_table(image: Image, table: Image) -> Image:
    """Every value of the image through a lookup table (256,)."""
    return _uint8(cv2.LUT(image, table))


def mean_luminance(image: Image) -> int:
    """The mean of 0.299 R + 0.587 G + 0.114 B, rounded."""
    return int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)


def blend_with_luminance(image: Image, factor: float) -> Image:
    """grey + factor * (value - grey) with each pixel's own luminance as grey, cut off to integers and clipped."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    # addWeighted rounds: the shift by almost half a level makes it cut off, and keeps values that are whole
    return _uint8(cv2.addWeighted(image, factor, grey, 1.0 - factor, -0.499, dst=grey))


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Brightness, contrast and saturation times factors drawn uniformly from the ranges, in this order (AttaNet).

    A factor blends the image with black, with the image's mean luminance, or with each pixel's luminance; values
    are cut off to integers after each step. A range of (1, 1) leaves its property alone.
    """

    brightness: tuple[float, float] = (0.5, 1.5)
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            _check_range(name, getattr(self, name), least=0.0)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
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
class GaussianBlur:
    """Blurred with `probability` by a deviation drawn uniformly from `sigma`, in pixels."""

    probability: float = 0.5
    sigma: tuple[float, float] = (0.3, 1.5)

    def __post_init__(self) -> None:
        check(self, probability=FRACTION)
        _check_range("sigma", self.sigma, least=1e-3)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        if rng.random() >= self.probability:
            return {"image": image, "mask": mask}
        sigma = float(rng.uniform(*self.sigma))
        return {"image": as_before(cv2.GaussianBlur(image, (0, 0), sigma), image), "mask": mask}


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """With `probability`, noise of a sensor: each value of each channel plus its own draw from a normal distribution.

    The deviation is drawn uniformly from `sigma`, in levels of 0..255; results are rounded and clipped. Best after the
    crop: what is cut away need not be drawn.
    """

    probability: float = 0.5
    sigma: tuple[float, float] = (1.0, 8.0)

    def __post_init__(self) -> None:
        check(self, probability=FRACTION)
        _check_range("sigma", self.sigma, least=0.0)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        if rng.random() >= self.probability:
            return {"image": image, "mask": mask}
        noise = rng.standard_normal(image.shape, np.float32)
        noise *= np.float32(rng.uniform(*self.sigma))
        noise += image
        return {"image": np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8), "mask": mask}


_STOPS = Range(-8, 8, "-8 to 8 stops")


@dataclass(frozen=True, kw_only=True)
class Illumination:
    """With `probability`, another light: value -> ``2**(exposure + cast_c) * value**gamma``, values as 0..1, clipped.

    Dusk against day, sun against cloud: one curve for each channel c, drawn anew for each image.

    Attributes:
        exposure: drawn uniformly, in stops: +1 doubles the values, -1 halves them.
        gamma: drawn uniformly on a logarithmic scale, so that 0.5 to 2 darkens as often as it brightens.
        cast: in stops; a channel's own is drawn uniformly from -cast to cast, which tints the light.
    """

    probability: float = 0.5
    exposure: tuple[float, float] = (-0.75, 0.5)
    gamma: tuple[float, float] = (0.7, 1.5)
    cast: float = 0.2

    def __post_init__(self) -> None:
        check(self, probability=FRACTION, exposure=_STOPS, cast=Range(0, 8, "0 to 8 stops"))
        if self.exposure[0] > self.exposure[1]:
            raise ValueError(f"exposure from {self.exposure[0]:g} to {self.exposure[1]:g}: expected two stops in order")
        _check_range("gamma", self.gamma, least=0.01)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        if rng.random() >= self.probability:
            return {"image": image, "mask": mask}
        exposure = rng.uniform(*self.exposure)
        gamma = np.exp(rng.uniform(*np.log(self.gamma)))
        stops = exposure + rng.uniform(-self.cast, self.cast, 3)
        return {"image": _uint8(cv2.LUT(image, light_table(stops, gamma))), "mask": mask}


def light_table(stops: NDArray[np.float64], gamma: float) -> Image:
    """The lookup table (256, 1, 3) of `Illumination`, for exposures of the three channels in stops."""
    values = (np.arange(256) / 255)[:, None] ** gamma * 2.0**stops
    return _uint8(np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)[:, None])


@dataclass(frozen=True, kw_only=True)
class RandomGrayscale:
    """With `probability` all three channels become the luminance, 0.299 R + 0.587 G + 0.114 B."""

    probability: float = 0.1

    def __post_init__(self) -> None:
        check(self, probability=FRACTION)

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        if rng.random() >= self.probability:
            return {"image": image, "mask": mask}
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return {"image": _uint8(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)), "mask": mask}


@dataclass(frozen=True, kw_only=True)
class PhotometricDistortion:
    """mmsegmentation: each step with a probability of 1/2, the image clipped and cut to whole numbers after each.

    Brightness + [-32, 32), contrast * [0.5, 1.5) here or last, saturation * [0.5, 1.5), hue + an integer in [-18, 17].
    """

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        if rng.random() < 0.5:
            image = linear(image, offset=rng.uniform(-32.0, 32.0))
        early = rng.random() < 0.5
        if early and rng.random() < 0.5:
            image = linear(image, factor=rng.uniform(0.5, 1.5))
        if rng.random() < 0.5:
            image = saturate(image, rng.uniform(0.5, 1.5))
        if rng.random() < 0.5:
            image = turn_hue(image, int(rng.integers(-18, 18)))
        if not early and rng.random() < 0.5:
            image = linear(image, factor=rng.uniform(0.5, 1.5))
        return {"image": image, "mask": mask}


def linear(image: Image, *, factor: float = 1.0, offset: float = 0.0) -> Image:
    """``image * factor + offset``, clipped to 0..255 and cut to whole numbers: contrast and brightness."""
    table = np.clip(np.arange(256, dtype=np.float32) * factor + offset, 0, 255).astype(np.uint8)
    return apply_table(image, table)


def saturate(image: Image, factor: float) -> Image:
    """The saturation of OpenCV's 8-bit HSV times `factor`."""
    hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.uint8)
    hsv[..., 1] = linear(np.ascontiguousarray(hsv[..., 1]), factor=factor)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def turn_hue(image: Image, steps: int) -> Image:
    """The hue of OpenCV's 8-bit HSV, in steps of two degrees, plus `steps`."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int64) + steps) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
