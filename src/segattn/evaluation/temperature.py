"""The temperature that makes a model's confidence honest, fitted on a sample of pixels.

After Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv 1706.04599): one number T for the whole
model, by which its logits are divided before the softmax, chosen to minimise the negative log-likelihood. It is for
logits, of one view or averaged; probabilities that are averaged over views have another need (docs/predicting.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segattn.contracts import IGNORE, TEMPERATURE, Sample
from segattn.evaluation.calibration import Calibration, count_confidence
from segattn.evaluation.score_map import ScoreMap, log_partition

_VALUES = 1 << 24
"""Scores in the whole sample, about: 64 MiB."""

_MOST = 1 << 14
"""Pixels of one image at most; its other pixels say little more than their neighbours."""

_SEED = 0
_STEPS = 32
_AT_ONCE = 1 << 16


class PixelSample(NamedTuple):
    """Labelled pixels.

    Attributes:
        scores: (N, K) float32 logits.
        truth: (N,) int64 class ids.
    """

    scores: Tensor
    truth: Tensor

    @classmethod
    def join(cls, parts: Iterable[PixelSample]) -> PixelSample:
        scores, truth = zip(*parts, strict=True)
        return cls(torch.cat(scores), torch.cat(truth))

    def blocks(self) -> Iterator[PixelSample]:
        """Some pixels after the others."""
        for start in range(0, len(self.truth), _AT_ONCE):
            yield PixelSample(self.scores[start : start + _AT_ONCE], self.truth[start : start + _AT_ONCE])

    def calibration(self, temperature: float) -> Calibration:
        """That of the sample's pixels at a temperature."""
        total = Calibration.empty(temperature)
        for scores, truth in self.blocks():
            z = scores[..., None].clone()
            largest, excess = log_partition(z, "logits", temperature)
            true = z[:, :, 0].gather(1, truth[:, None])
            right = scores.argmax(1) == truth
            confidence = excess.neg().exp()[:, 0].numpy()
            loss = float((largest + excess - true).double().sum())
            total += count_confidence(confidence, right.numpy(), loss, temperature)
        return total


class PixelSampler:
    """Draws pixels while `evaluate` runs, as its `on_scores`; which ones depends on the image's index alone.

    Args:
        images: in the whole set, over all processes.
        classes: K.
    """

    def __init__(self, images: int, classes: int) -> None:
        self.pixels = min(max(_VALUES // (images * classes), 64), _MOST)
        self._parts: list[PixelSample] = [PixelSample(torch.empty(0, classes), torch.empty(0, dtype=torch.int64))]

    def add(self, index: int, sample: Sample, scored: ScoreMap) -> None:
        """Take some labelled pixels of one image; all of them where there are few."""
        assert sample.mask is not None
        assert scored.meaning == "logits"
        labelled = np.flatnonzero(sample.mask != IGNORE)
        if len(labelled) > self.pixels:
            labelled = np.random.default_rng((_SEED, index)).choice(labelled, self.pixels, replace=False)
        labelled.sort()
        width = sample.mask.shape[1]
        scores = []
        for start, band in scored.bands():
            inside = labelled[(labelled >= start * width) & (labelled < (start + len(band)) * width)] - start * width
            picked = torch.from_numpy(inside).to(band.device)
            scores.append(band.permute(0, 2, 1).flatten(0, 1)[picked].cpu())
        found = torch.cat(scores)
        self._parts.append(PixelSample(found, torch.from_numpy(sample.mask.ravel()[labelled]).long()))

    def sample(self) -> PixelSample:
        """What was drawn so far."""
        return PixelSample.join(self._parts)


def fit_temperature(sample: PixelSample) -> float:
    """The T that minimises the mean negative log-likelihood of the true classes under softmax(scores / T).

    It is convex in 1 / T: the root of its derivative is found by bisection.

    Raises:
        ValueError: no pixels, or none that give a temperature, as where no pixel is wrong.
    """
    if not len(sample.truth):
        raise ValueError("no labelled pixel to fit a temperature on")
    low, high = np.log(1 / TEMPERATURE.high), np.log(1 / TEMPERATURE.low)
    if _slope(sample, np.exp(low)) >= 0 or _slope(sample, np.exp(high)) <= 0:
        raise ValueError(
            f"no temperature in {TEMPERATURE.words} is best for these {len(sample.truth):,} pixels: "
            "are all of them right, or as good as guessed?"
        )
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(sample, np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def _slope(sample: PixelSample, inverse: float) -> float:
    """The derivative of the summed negative log-likelihood by 1 / T: expected minus true score."""
    total = 0.0
    for scores, truth in sample.blocks():
        z = scores - scores.amax(1, keepdim=True)
        expected = (z * (z * inverse).softmax(1)).sum(1)
        total += float((expected - z.gather(1, truth[:, None])[:, 0]).double().sum())
    return total
