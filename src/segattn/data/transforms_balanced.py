"""Crops that go where the rare classes are."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import cv2
import numpy as np

from segattn.contracts import BYTE, FRACTION, IGNORE, check, check_size
from segattn.data.pixels import Item, Picture, crop_pair, pad_pair
from segattn.data.transforms_papers import MEAN_COLOR


@dataclass(frozen=True, kw_only=True)
class ClassBalancedCrop:
    """A window of `height` x `width` that, with `probability`, shows a class drawn by weight; else any window.

    Of the classes in the picture one is drawn, then one of its pixels, each as likely, then one of the windows with
    that pixel in them, each as likely. Otherwise, and where no class with a weight is in the picture, the window is
    drawn as in `RandomCrop`, and like there smaller pictures are padded below and to the right: `fill` in the picture,
    `IGNORE` in the mask.

    Attributes:
        class_weights: one a class, in any unit, 0 for classes that are not looked for; `segattn data stats` prints
            them. None: every class that the picture has is as likely.
    """

    height: int
    width: int
    probability: float = 0.5
    class_weights: tuple[float, ...] | None = None
    fill: tuple[int, int, int] = MEAN_COLOR

    def __post_init__(self) -> None:
        check_size(self)
        check(self, probability=FRACTION, fill=BYTE)
        weights = self.class_weights
        if weights is not None and not (
            all(isfinite(weight) and weight >= 0 for weight in weights) and any(weight > 0 for weight in weights)
        ):
            raise ValueError(f"class_weights {weights}: expected numbers from 0 on, one of them above 0")

    def place(self, mask: Picture, rng: np.random.Generator) -> tuple[int, int]:
        """(top, left) of the window in a picture with this mask, which is large enough.

        Raises:
            ValueError: the mask holds a class that has no weight.
        """
        rows, columns = mask.shape[0] - self.height + 1, mask.shape[1] - self.width + 1
        if rng.random() < self.probability:
            pixel = self._pixel(mask, rng)
            if pixel is not None:
                top = _start(pixel // mask.shape[1], self.height, rows, rng)
                return top, _start(pixel % mask.shape[1], self.width, columns, rng)
        return int(rng.integers(rows)), int(rng.integers(columns))

    def _pixel(self, mask: Picture, rng: np.random.Generator) -> int | None:
        """The position in the flattened mask of a pixel of the class that is drawn; None without such a class."""
        counts = cv2.calcHist([mask], [0], None, [IGNORE], [0, IGNORE]).ravel()
        weights = (counts > 0).astype(np.float64)
        if self.class_weights is not None:
            known = len(self.class_weights)
            if weights[known:].any():
                raise ValueError(
                    f"ClassBalancedCrop: {known} class_weights, but there is a mask with class"
                    f" {int(np.flatnonzero(weights)[-1])}; give one weight a class, in the order of the training ids"
                )
            weights[:known] *= self.class_weights
        if not weights.any():
            return None
        drawn = int(rng.choice(IGNORE, p=weights / weights.sum()))
        places = np.flatnonzero(mask.ravel() == drawn)
        return int(places[rng.integers(len(places))])

    def __call__(self, *, image: Picture, mask: Picture, rng: np.random.Generator) -> Item:
        padded = pad_pair(image, mask, self.height, self.width, self.fill)
        top, left = self.place(padded["mask"], rng)
        return crop_pair(padded["image"], padded["mask"], top, left, self.height, self.width)


def _start(place: int, length: int, starts: int, rng: np.random.Generator) -> int:
    """Where a window of `length` begins that holds `place`; windows begin at 0..starts - 1."""
    return int(rng.integers(max(place - length + 1, 0), min(place, starts - 1) + 1))
