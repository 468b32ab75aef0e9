"""Two training crops made into one: a part of another crop, image and mask, is put over the first.

A mixing takes the crop as its augmentation left it, another crop of the same size, and a random generator, from which
alone it draws. It changes neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import FRACTION, IGNORE, Range, check
from segattn.transforms.pixels import Item


@dataclass(frozen=True, kw_only=True)
class CutMix:
    """With `probability`, a rectangle of another crop is put over the same place of this one (arXiv 1905.04899).

    The rectangle has the crop's aspect and 1 - x of its area, x from a Beta(`alpha`, `alpha`) distribution; its centre
    may be any pixel, and what lies outside the crop is cut off.
    """

    probability: float = 0.5
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check(self, probability=FRACTION, alpha=Range(0.01, 100, "0.01 to 100"))

    def __call__(self, item: Item, other: Item, rng: np.random.Generator) -> Item:
        """Both of one size."""
        height, width = item["mask"].shape
        side = float(np.sqrt(1.0 - rng.beta(self.alpha, self.alpha)))
        rows, columns = (_span(length, side, rng) for length in (height, width))
        chosen = np.zeros((height, width), np.bool_)
        chosen[rows, columns] = True
        return _over(item, other, chosen)


@dataclass(frozen=True, kw_only=True)
class ClassMix:
    """With `probability`, all pixels of half of another crop's classes are put over this one (arXiv 2007.07936).

    Each class of the other crop's mask is as likely; of an odd number the larger half is taken. The paper reads classes
    off predictions, this off ground truth. Pixels without a class stay behind.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        check(self, probability=FRACTION)

    def __call__(self, item: Item, other: Item, rng: np.random.Generator) -> Item:
        """Both of one size."""
        mask = other["mask"]
        there = np.flatnonzero(np.bincount(mask.ravel(), minlength=IGNORE + 1)[:IGNORE])
        drawn = rng.choice(there, (len(there) + 1) // 2, replace=False) if len(there) else there
        wanted = np.zeros(IGNORE + 1, np.bool_)
        wanted[drawn] = True
        return _over(item, other, wanted[mask])


Mixing = CutMix | ClassMix
"""Every mixing that a recipe can name."""


def _span(length: int, share: float, rng: np.random.Generator) -> slice:
    """A part of `length` with that share of it around any place, cut off at the ends."""
    wanted, centre = int(length * share), int(rng.integers(length))
    start = centre - wanted // 2
    return slice(max(start, 0), max(start + wanted, 0))


def _over(item: Item, other: Item, chosen: NDArray[np.bool_]) -> Item:
    return {
        "image": np.where(chosen[..., None], other["image"], item["image"]),
        "mask": np.where(chosen, other["mask"], item["mask"]),
    }
