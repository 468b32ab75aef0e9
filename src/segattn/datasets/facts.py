"""Sizes of a data set's images and shares of its classes, from a part of the files where there are many."""

from __future__ import annotations

from collections import Counter
from statistics import median_low
from typing import NamedTuple

import numpy as np

from segattn.contracts import IGNORE
from segattn.datasets.base import PairedDataset
from segattn.datasets.headers import read_checked
from segattn.progress import track

_MOST = 500
_SIDEWAYS = 5
"""EXIF orientations from here on change height and width."""


class Facts(NamedTuple):
    """The median (height, width) of the images as they are read, each class's share of the labelled pixels, 0 to 1, and
    the number of masks that these were counted in."""

    size: tuple[int, int]
    shares: tuple[float, ...]
    masks: int


def facts(dataset: PairedDataset) -> Facts:
    """Read the headers of images, and masks, at most 500 of each, spread over the data set.

    Raises:
        ValueError: a file can't be read, or a mask holds an id that has no class.
        FileNotFoundError: a file is not there.
    """
    step = -(-len(dataset) // _MOST)
    heights, widths = [], []
    pixels: Counter[int] = Counter()
    masks = 0
    for index in track(range(0, len(dataset), step), "reading masks", len(range(0, len(dataset), step))):
        pair = dataset.pairs[index]
        header = read_checked(pair.image).header
        turned = dataset.upright is not False and header.orientation >= _SIDEWAYS
        heights.append(header.width if turned else header.height)
        widths.append(header.height if turned else header.width)
        if pair.label is None:
            continue
        masks += 1
        counts = np.bincount(dataset.read_stored_ids(index).ravel())
        for raw in np.flatnonzero(counts).tolist():
            train = dataset.training_id(raw)
            if train is None:
                dataset[index]  # which says what is wrong with this id
                raise AssertionError(f"{pair.label}: read although {raw} has no class")
            pixels[train] += int(counts[raw])
    del pixels[IGNORE]
    total = sum(pixels.values()) or 1
    shares = tuple(pixels[index] / total for index in range(len(dataset.classes)))
    return Facts((median_low(heights), median_low(widths)), shares, masks)
