"""What a network says of one image: its scores before their last resize, and what is made of them row by row."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from segattn.contracts import AlignCorners
from segattn.evaluation.argmax import resized_argmax


class ScoreMap(NamedTuple):
    """Scores of one image, of which the full-size map is never held.

    Attributes:
        maps: (1, K, h, w) float32, coarse or at full size already.
        size: (H, W) that they are resized to.
        align_corners: how.
    """

    maps: Tensor
    size: tuple[int, int]
    align_corners: AlignCorners

    def labels(self) -> Tensor:
        """The class with the largest score at each pixel: (H, W) uint8 on the map's device."""
        return resized_argmax(self.maps, self.size, align_corners=self.align_corners)
