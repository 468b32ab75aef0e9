"""Frequencies of a data set's classes, and the weights for losses and crops that are derived from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import SegmentationDataset, counted
from segattn.datasets.base import PairedDataset
from segattn.datasets.facts import band_facts
from segattn.normalization import BandFacts
from segattn.progress import track
from segattn.tables import table_lines

ENET_C = 1.02


@dataclass(frozen=True)
class ClassStats:
    """One class.

    Attributes:
        pixels: labelled with it.
        share: of the labelled pixels, 0..1.
        images: that hold it.
        median_frequency, enet, crop: suggested weights, see `DatasetStats`; None for a class without a pixel.
    """

    name: str
    pixels: int
    share: float
    images: int
    median_frequency: float | None
    enet: float | None
    crop: float | None


@dataclass(frozen=True)
class DatasetStats:
    """Class frequencies of a split, the weights of a loss by two rules, and those of a `ClassBalancedCrop`.

    - median_frequency (Eigen & Fergus, ICCV 2015): a class's frequency is its pixels over all labelled pixels of the
      images that hold it; its weight is the median of the classes' frequencies over its own.
    - enet (Paszke et al., arXiv 1606.02147): ``1 / ln(1.02 + share)``, which keeps weights between 1.4 and 50.
    - crop: ``1 / sqrt(share)``, times a factor that makes their mean 1. (``1 / share`` would look for the rarest class
      of every image and hardly ever for another.)

    Attributes:
        samples: with labels.
        labelled, ignored: pixels.
        classes: in the order of the training ids.
        bands: of the images, where the data set names some.
    """

    samples: int
    labelled: int
    ignored: int
    classes: tuple[ClassStats, ...]
    bands: BandFacts | None = None

    def to_json(self) -> str:
        content = {"samples": self.samples, "labelled": self.labelled, "ignored": self.ignored}
        bands = {} if self.bands is None else {"bands": vars(self.bands)}
        return json.dumps({**content, "classes": [vars(row) for row in self.classes], **bands}, indent=2)

    def __str__(self) -> str:
        return self.text()

    def text(self, *, padded: bool = True) -> str:
        """All of it in words; not `padded`, the table has tabs between its cells."""
        total = max(self.labelled + self.ignored, 1)
        heading = f"{counted(self.samples, 'labelled sample')}, {100 * self.ignored / total:.2f}% of the pixels ignored"
        rows = [("id", "class", "pixels", "images", "median-frequency", "ENet log")]
        for index, row in enumerate(self.classes):
            weights = ("never occurs", "")
            if row.median_frequency is not None:
                weights = (f"{row.median_frequency:.4f}", f"{row.enet:.3f}")
            rows.append((str(index), row.name, f"{100 * row.share:.2f}%", str(row.images), *weights))
        return "\n".join(
            [heading, *table_lines(rows, left={1}, padded=padded), "", *self._to_paste(), *self._of_bands()]
        )

    def _of_bands(self) -> list[str]:
        """The bands as a recipe takes them, where 0 and 1 are those of the type."""
        if self.bands is None:
            return []
        try:
            found = self.bands.normalization()
        except ValueError as error:
            return ["", f"The bands hold {error}"]
        return [
            "",
            f"The {len(found.mean)} bands, of {self.bands.images} images, as a recipe's network takes them:",
            f"  in_channels: {len(found.mean)}",
            "  normalization:",
            f"    mean: {list(found.mean)}",
            f"    std: {list(found.std)}",
            f"    value_range: {list(found.value_range or ())}",
        ]

    def _to_paste(self) -> list[str]:
        """The weights as a recipe and the command line take them. Where a class never occurs, no pixel asks for one."""
        return [
            "To paste into a recipe, in the order of the ids:",
            "CrossEntropy, by median frequency:",
            f"  class_weights: {_listed([row.median_frequency for row in self.classes], 1.0)}",
            "CrossEntropy, by ENet's rule:",
            f"  class_weights: {_listed([row.enet for row in self.classes], 1.0)}",
            "ClassBalancedCrop:",
            f"  class_weights: {_listed([row.crop for row in self.classes], 0.0)}",
            "On the command line: --losses.0.class_weights '[...]'",
        ]


def stats(dataset: SegmentationDataset) -> DatasetStats:
    """Count the classes' pixels in all masks, with a progress bar on the standard error stream.

    Raises:
        ValueError: a file is wrong (`check` finds all of these at once), or no sample has labels.
    """
    count = len(dataset.classes)
    pixels, images, present = (np.zeros(count, np.int64) for _ in range(3))
    samples = ignored = 0
    for mask in track(_masks(dataset), "counting", len(dataset)):
        if mask is None:
            continue
        histogram = np.bincount(mask.ravel(), minlength=256)
        inside = histogram[:count]
        samples += 1
        ignored += int(histogram.sum() - inside.sum())
        pixels += inside
        images += inside > 0
        present += np.where(inside > 0, inside.sum(), 0)
    if not samples:
        raise ValueError(f"none of {counted(len(dataset), 'sample')} has labels; choose a split with masks")
    frequency, share = pixels / np.maximum(present, 1), pixels / max(pixels.sum(), 1)
    median = np.median(frequency[pixels > 0]) if pixels.any() else 0.0
    rarity = np.divide(1, np.sqrt(share), out=np.zeros(count), where=pixels > 0)
    rarity /= rarity[pixels > 0].mean() if pixels.any() else 1.0
    return DatasetStats(
        samples,
        int(pixels.sum()),
        ignored,
        tuple(
            ClassStats(
                name,
                int(pixels[i]),
                float(share[i]),
                int(images[i]),
                float(median / frequency[i]) if pixels[i] else None,
                float(1 / np.log(ENET_C + share[i])) if pixels[i] else None,
                float(rarity[i]) if pixels[i] else None,
            )
            for i, name in enumerate(dataset.classes.names)
        ),
        band_facts(dataset) if isinstance(dataset, PairedDataset) else None,
    )


def _listed(weights: Sequence[float | None], never: float) -> str:
    return f"[{', '.join(f'{never if weight is None else weight:.4g}' for weight in weights)}]"


def _masks(dataset: SegmentationDataset) -> Iterator[NDArray[np.uint8] | None]:
    """Without decoding the images where that can be had."""
    if not isinstance(dataset, PairedDataset):
        for index in range(len(dataset)):
            yield dataset[index].mask
        return
    for pair in dataset.pairs:
        yield None if pair.label is None else dataset._label_map(dataset._read_label(pair.label), pair.label)
