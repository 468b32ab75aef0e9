"""What a network says of one image: its scores before their last resize, and what is made of them row by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from segattn.contracts import IGNORE, AlignCorners
from segattn.evaluation.argmax import argmax_of_rows, resized_argmax, resized_bands, rows_at_once
from segattn.evaluation.geometry import Size
from segattn.evaluation.protocol import Meaning, require_probabilities
from segattn.evaluation.rows import Rows
from segattn.layers import resize


class ScoreMap(ABC):
    """Scores of one image, of which the full-size map is never held.

    Attributes:
        size: (H, W) of the scores.
        meaning: "logits", of one view or averaged; "probabilities", averaged over views; or "neither", where a protocol
            adds exponentials.
        device: where they are.
    """

    size: Size
    meaning: Meaning
    device: torch.device

    @abstractmethod
    def bands(self) -> Iterator[tuple[int, Tensor]]:
        """Some rows after the others: the number of the first, and their scores (rows, K, W), which may be changed."""

    @abstractmethod
    def coarse(self) -> CoarseMap:
        """The same, to be computed with: what is held of a single look, and all scores at full size of several."""

    def labels(self) -> Tensor:
        """The class with the largest score at each pixel: (H, W) uint8 on the map's device."""
        labels = torch.empty(self.size, dtype=torch.uint8, device=self.device)
        for start, band in self.bands():
            labels[start : start + len(band)] = argmax_of_rows(band)
        return labels

    @torch.inference_mode()
    def scores(self) -> Tensor:
        """(K, H, W), held whole: for windows, and for images that are small."""
        return self._joined(self.bands())

    @torch.inference_mode()
    def confidence(self, temperature: float = 1.0) -> Tensor:
        """The probability of the class with the largest score at each pixel: (H, W) float32 in 0..1.

        Args:
            temperature: T of ``softmax(logits / T)``; averaged probabilities are taken as they are. No label changes.

        Raises:
            ValueError: the scores are neither logits nor probabilities.
        """
        require_probabilities(self.meaning)
        confidence = torch.empty(self.size, device=self.device)
        for start, band in self.bands():
            confidence[start : start + len(band)] = log_partition(band, self.meaning, temperature)[1].neg_().exp_()
        return confidence

    @torch.inference_mode()
    def probabilities(self, temperature: float = 1.0) -> Tensor:
        """The probability of each class at each pixel: (K, H, W) float32, 1 in sum. Arguments and errors as there."""
        require_probabilities(self.meaning)

        def bands() -> Iterator[tuple[int, Tensor]]:
            for start, band in self.bands():
                largest, excess = log_partition(band, self.meaning, temperature)
                yield start, band.sub_((largest + excess)[:, None]).exp_()

        return self._joined(bands())

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
        confidence, loss = (torch.empty(self.size, device=self.device) for _ in range(2))
        for start, band in self.bands():
            rows = slice(start, start + len(band))
            ignored = truth[rows] == IGNORE
            largest, excess = log_partition(band, self.meaning, temperature)
            true = band.gather(1, truth[rows].long().masked_fill_(ignored, 0)[:, None])[:, 0]
            loss[rows] = (largest + excess - true).masked_fill_(ignored, 0)
            confidence[rows] = excess.neg_().exp_()
        return confidence, loss

    def _joined(self, bands: Iterator[tuple[int, Tensor]]) -> Tensor:
        joined: Tensor | None = None
        for start, band in bands:
            if joined is None:
                joined = band.new_empty(band.shape[1], *self.size)
            joined[:, start : start + len(band)] = band.transpose(0, 1)
        assert joined is not None
        return joined


class CoarseMap(ScoreMap):
    """Scores of a single look, before their last resize.

    Args:
        maps: (1, K, h, w) float32, coarse or at full size already.
        size: (H, W) that they are resized to.
        align_corners: how.
        meaning: see `ScoreMap`.
    """

    def __init__(self, maps: Tensor, size: Size, align_corners: AlignCorners, meaning: Meaning) -> None:
        self.maps, self.align_corners = maps, align_corners
        self.size, self.meaning, self.device = size, meaning, maps.device

    def bands(self) -> Iterator[tuple[int, Tensor]]:
        return resized_bands(self.maps, self.size, align_corners=self.align_corners)

    def coarse(self) -> CoarseMap:
        return self

    def labels(self) -> Tensor:
        return resized_argmax(self.maps, self.size, align_corners=self.align_corners)

    @torch.inference_mode()
    def scores(self) -> Tensor:
        return resize(self.maps, self.size, align_corners=self.align_corners)[0]


class RowMap(ScoreMap):
    """Scores of several looks, put together row by row from what is held of each.

    Args:
        source: gives the rows, on `device`.
        meaning: see `ScoreMap`.
    """

    def __init__(self, source: Rows, meaning: Meaning, device: torch.device) -> None:
        self._source = source
        self.size, self.meaning, self.device = source.size, meaning, device

    @torch.inference_mode()
    def bands(self) -> Iterator[tuple[int, Tensor]]:
        height = self.size[0]
        at_once = rows_at_once(self.device)
        for start in range(0, height, at_once):
            rows = self._source.rows(start, min(start + at_once, height))
            yield start, rows.clone(memory_format=torch.contiguous_format)  # which may be a view of what is held

    def coarse(self) -> CoarseMap:
        return CoarseMap(self.scores()[None], self.size, "edges", self.meaning)


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
