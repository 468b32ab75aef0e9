"""How far a model's confidence can be believed: its expected calibration error, from exact counts.

After Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv 1706.04599), with pixels for samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import TEMPERATURE, check, shown

BINS = 15
"""Bins of equal width, as in the paper; bin m holds confidences above m / 15, up to (m + 1) / 15."""

_UNIT = 1 << 24
"""Sums are kept in whole numbers of 2^-24 and rounded once an image, so that shards add up to exactly the set."""


class Bin(NamedTuple):
    """The pixels with a confidence from `low` to `high`: how many, their mean confidence, and the share that is right.

    The last two are 0 where there are no pixels.
    """

    low: float
    high: float
    pixels: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """Confidence against correctness, over all pixels that are labelled.

    ``a + b`` is of the pixels of both.

    Attributes:
        pixels: in each bin of confidence.
        right: those whose label is right.
        confidence: their confidences added up, in units of 2^-24.
        loss: minus the logarithms of all pixels' probabilities of their true class added up, in units of 2^-24.
        temperature: that the confidences were computed with.
    """

    pixels: tuple[int, ...]
    right: tuple[int, ...]
    confidence: tuple[int, ...]
    loss: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check(self, temperature=TEMPERATURE)
        for name in ("pixels", "right", "confidence"):
            if len(getattr(self, name)) != BINS:
                raise ValueError(f"{name} of {len(getattr(self, name))} bins: expected {BINS}")

    @classmethod
    def empty(cls, temperature: float = 1.0) -> Calibration:
        """That of no pixels."""
        none = (0,) * BINS
        return cls(none, none, none, 0, temperature)

    @property
    def ece(self) -> float:
        """The expected calibration error in percent: the mean over bins of |share that is right - mean confidence|,
        weighted by the pixels in each. NaN without pixels."""
        gaps = (abs(right - confidence / _UNIT) for right, confidence in zip(self.right, self.confidence, strict=True))
        return 100 * sum(gaps) / sum(self.pixels) if sum(self.pixels) else float("nan")

    @property
    def nll(self) -> float:
        """The mean negative log-likelihood of the true class, in nats. NaN without pixels."""
        return self.loss / _UNIT / sum(self.pixels) if sum(self.pixels) else float("nan")

    def bins(self) -> list[Bin]:
        """The bins from the least to the most confident."""
        content = zip(self.pixels, self.right, self.confidence, strict=True)
        return [
            Bin(i / BINS, (i + 1) / BINS, pixels, confidence / _UNIT / max(pixels, 1), right / max(pixels, 1))
            for i, (pixels, right, confidence) in enumerate(content)
        ]

    def __add__(self, other: Calibration) -> Calibration:
        if self.temperature != other.temperature:
            raise ValueError(f"calibrations at temperatures {self.temperature:g} and {other.temperature:g} don't add")

        def added(some: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(a + b for a, b in zip(some, others, strict=True))

        return Calibration(
            added(self.pixels, other.pixels),
            added(self.right, other.right),
            added(self.confidence, other.confidence),
            self.loss + other.loss,
            self.temperature,
        )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        """The inverse of `dataclasses.asdict`, from JSON.

        Raises:
            ValueError: it is no calibration.
        """
        try:
            pixels, right, confidence = (tuple(map(int, content[name])) for name in ("pixels", "right", "confidence"))
            return cls(pixels, right, confidence, int(content["loss"]), float(content["temperature"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"calibration {shown(content)}: expected its bins, loss and temperature") from error


def count_confidence(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], loss: float, temperature: float = 1.0
) -> Calibration:
    """Of the labelled pixels of one image.

    Args:
        confidence: (N,) in 0..1.
        right: (N,) whether the label is the true one.
        loss: the sum of their negative log-likelihoods.
        temperature: that these were computed with.
    """
    bins = np.ceil(confidence * BINS).astype(np.int64) - 1
    bins.clip(0, BINS - 1, out=bins)
    sums = np.bincount(bins, confidence, BINS)
    return Calibration(
        tuple(np.bincount(bins, minlength=BINS).tolist()),
        tuple(np.bincount(bins[right], minlength=BINS).tolist()),
        tuple(round(value * _UNIT) for value in sums.tolist()),
        round(loss * _UNIT),
        temperature,
    )
