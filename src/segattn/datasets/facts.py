"""Sizes of a data set's images and shares of its classes, from a part of the files where there are many."""

from __future__ import annotations

from collections import Counter
from statistics import median_low
from typing import NamedTuple

import numpy as np

from segattn.contracts import IGNORE
from segattn.datasets.bands import read_bands
from segattn.datasets.base import PairedDataset
from segattn.normalization import BandFacts
from segattn.progress import track

_MOST = 500


class Facts(NamedTuple):
    """The median (height, width) of the images as they are read, each class's share of the labelled pixels, 0 to 1, and
    the number of masks that these were counted in; and of their bands, where the data set names some."""

    size: tuple[int, int]
    shares: tuple[float, ...]
    masks: int
    bands: BandFacts | None = None


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
        height, width = dataset.image_size(index)
        heights.append(height)
        widths.append(width)
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
    return Facts((median_low(heights), median_low(widths)), shares, masks, band_facts(dataset))


def band_facts(dataset: PairedDataset) -> BandFacts | None:
    """Mean and deviation of each band, over all pixels with data of at most 500 images; None without `bands`.

    Raises:
        ValueError: an image can't be read, or none has data.
        FileNotFoundError: a file is not there.
    """
    if dataset.bands is None:
        return None
    chosen = range(0, len(dataset), -(-len(dataset) // _MOST))
    sums, squares = (np.zeros(len(dataset.bands)) for _ in range(2))
    count, kinds = 0, set()
    for index in track(chosen, "reading bands", len(chosen)):
        pixels, valid, kind = read_bands(dataset.pairs[index].image, dataset.bands)
        values = pixels[valid].astype(np.float64)
        kinds.add(kind)
        count += len(values)
        sums += values.sum(0)
        squares += np.square(values).sum(0)
    if not count:
        raise ValueError(f"{dataset.pairs[0].image}: neither it nor another image has a pixel with data")
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return BandFacts(dataset.bands, tuple(sorted(kinds)), tuple(mean.tolist()), tuple(std.tolist()), len(chosen))
