"""What a network says of one image: its scores before their last resize, and what is made of them row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from segattn.contracts import IGNORE, AlignCorners
from segattn.evaluation.argmax import resized_argmax, resized_bands
from segattn.evaluation.protocol import Meaning, require_probabilities
from segattn.layers import resize


class ScoreMap(NamedTuple):
    """Scores of one image, of which the full-size map is never held.

    Attributes:
        maps: (1, K, h, w) float32, coarse or at full size already.
        size: (H, W) that they are resized to.
        align_corners: how.
        meaning: "logits", of one view or averaged; "probabilities", averaged over views; or "neither", where a protocol
            adds exponentials.
    """

    maps: Tensor
    size: tuple[int, int]
    align_corners: AlignCorners
    meaning: Meaning

    def labels(self) -> Tensor:
        """The class with the largest score at each pixel: (H, W) uint8 on the map's device."""
        return resized_argmax(self.maps, self.size, align_corners=self.align_corners)

    @torch.inference_mode()
    def scores(self) -> Tensor:
        """(K, H, W), held whole: for windows, and for images that are small."""
        return resize(self.maps, self.size, align_corners=self.align_corners)[0]

    def bands(self) -> Iterator[tuple[int, Tensor]]:
        """Some rows after the others: the number of the first, and their scores (rows, K, W), which may be changed."""
        return resized_bands(self.maps, self.size, align_corners=self.align_corners)

    @torch.inference_mode()
    def confidence(self, temperature: float = 1.0) -> Tensor:
        """The probability of the class with the largest score at each pixel: (H, W) float32 in 0..1.

        Args:
            temperature: T of ``softmax(logits / T)``; averaged probabilities are taken as they are. No label changes.

        Raises:
            ValueError: the scores are neither logits nor probabilities.
        """
        require_probabilities(self.meaning)
        confidence = self.maps.new_empty(self.size)
        for start, band in self.bands():
            confidence[start : start + len(band)] = log_partition(band, self.meaning, temperature)[1].neg_().exp_()
        return confidence

    @torch.inference_mode()
    def probabilities(self, temperature: float = 1.0) -> Tensor:
        """The probability of each class at each pixel: (K, H, W) float32, 1 in sum. Arguments and errors as there."""
        require_probabilities(self.meaning)
        probabilities = self.maps.new_empty(self.maps.shape[1], *self.size)
        for start, band in self.bands():
            largest, excess = log_partition(band, self.meaning, temperature)
            probabilities[:, start : start + len(band)] = (band - (largest + excess)[:, None]).exp_().transpose(0, 1)
        return probabilities

    @torch.inference_mode()
    def confidence_and_loss(self, truth: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """`confidence`, and minus the logarithm of the probability of each pixel's true class.

        Probabilities below 1e-38 that were averaged count as that.

        Args:
            truth: (H, W) uint8 on the map's device, each below K or `IGNORE`.

        Returns:
            Twice (H, W) float32; where the truth is `IGNORE`, the loss is 0.
        """
        require_probabilities(self.meaning)
        confidence, loss = self.maps.new_empty(self.size), self.maps.new_empty(self.size)
        for start, band in self.bands():
            rows = slice(start, start + len(band))
            ignored = truth[rows] == IGNORE
            largest, excess = log_partition(band, self.meaning, temperature)
            true = band.gather(1, truth[rows].long().masked_fill_(ignored, 0)[:, None])[:, 0]
            loss[rows] = (largest + excess - true).masked_fill_(ignored, 0)
            confidence[rows] = excess.neg_().exp_()
        return confidence, loss


def log_partition(band: Tensor, meaning: Meaning, temperature: float) -> tuple[Tensor, Tensor]:
    """Of scores (rows, K, W): the largest z at each pixel, and by how much the logarithm of the sum of e^z exceeds it.

    z are the logits divided by the temperature, or the logarithms of the probabilities. The second is minus the
    logarithm of the largest class's probability. `band` is overwritten by z.

    Returns:
        Twice (rows, W).
    """
    if meaning == "probabilities":
        band.clamp_(min=torch.finfo(band.dtype).tiny).log_()
    elif temperature != 1:
        band /= temperature
    largest = band.amax(1)
    return largest, (band - largest[:, None]).exp_().sum(1).log_()
