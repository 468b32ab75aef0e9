"""One look at an image through an exported file, in numpy: what `inference.py` and `score_map.py` do with torch.

Shapes: H x W pixels of the image, h x w of what the network sees, K classes. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.alignment import between_cells
from segattn.contracts import AlignCorners
from segattn.evaluation.geometry import FitInside, Size
from segattn.evaluation.protocol import MEANS, Protocol

_ROWS = 32
"""Of a band: with 19 classes of 2048 columns that is 5 MB."""


def looks_once(protocol: Protocol) -> bool:
    """Whether a protocol shows the network the whole image once, and its logits are the scores."""
    once = protocol.views == 1 and protocol.windows is None and protocol.outputs == ("main",)
    return once and isinstance(protocol.combine, MEANS)


def seen(image: NDArray[Any], protocol: Protocol, align_corners: AlignCorners) -> NDArray[Any]:
    """The image (H, W, 3) at the size at which a protocol that looks once shows it, (h, w, 3).

    Args:
        image: uint8 0..255 or float32 0..1.
        align_corners: of the resizing, where the protocol resizes what the network sees; see there. A result is
            float32 0..1 then.
    """
    rule, (height, width) = protocol.resize, image.shape[:2]
    (scale,) = protocol.scales
    if isinstance(rule, FitInside):
        for size in rule.steps(height, width, scale):
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        return image
    size = rule.size(height, width, scale)
    if size == (height, width):
        return image
    return np.ascontiguousarray(_resized(unit(image).transpose(2, 0, 1), size, align_corners).transpose(1, 2, 0))


def unit(image: NDArray[Any]) -> NDArray[np.float32]:
    """An image or several as float32 0..1, from that or from uint8 0..255."""
    if image.dtype != np.uint8:
        return np.asarray(image, np.float32)
    return np.asarray(np.divide(image, np.float32(255), dtype=np.float32))


class ScoreArray(NamedTuple):
    """Logits of one image, of which the full-size map is held only where the file gives it.

    Attributes:
        maps: (K, h, w) float32.
        size: (H, W) that they are resized to.
        align_corners: how.
    """

    maps: NDArray[np.float32]
    size: Size
    align_corners: AlignCorners

    def labels(self) -> NDArray[np.uint8]:
        """The class with the largest logit at each pixel: (H, W), the first of equals."""
        labels = np.empty(self.size, np.uint8)
        for start, band in self.bands():
            labels[start : start + band.shape[1]] = band.argmax(0)
        return labels

    def scores(self) -> NDArray[np.float32]:
        """The logits at each pixel: (K, H, W)."""
        return self._joined(self.bands())

    def confidence(self, temperature: float = 1.0) -> NDArray[np.float32]:
        """The largest probability at each pixel, of ``softmax(logits / temperature)``: (H, W) in 0..1."""
        confidence = np.empty(self.size, np.float32)
        for start, band in self.bands():
            largest = band.max(0)
            sums = np.exp((band - largest) / np.float32(temperature)).sum(0)
            confidence[start : start + band.shape[1]] = 1 / sums
        return confidence

    def probabilities(self, temperature: float = 1.0) -> NDArray[np.float32]:
        """``softmax(logits / temperature)``: (K, H, W) in 0..1."""

        def softmax(band: NDArray[np.float32]) -> NDArray[np.float32]:
            powers = np.exp((band - band.max(0)) / np.float32(temperature))
            return np.asarray(powers / powers.sum(0), np.float32)

        return self._joined((start, softmax(band)) for start, band in self.bands())

    def bands(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Some rows after the others: the number of the first, and their logits (K, rows, W)."""
        height, width = self.size
        wide = _wider(self.maps, width, self.align_corners)
        rows = None if wide.shape[1] == height else between_cells(wide.shape[1], height, self.align_corners)
        for start in range(0, height, _ROWS):
            part = slice(start, start + _ROWS)
            if rows is None:
                yield start, wide[:, part]
            else:
                share = rows.share[part, None]
                yield start, wide[:, rows.first[part]] * (1 - share) + wide[:, rows.second[part]] * share

    def _joined(self, bands: Iterator[tuple[int, NDArray[np.float32]]]) -> NDArray[np.float32]:
        joined = np.empty((len(self.maps), *self.size), np.float32)
        for start, band in bands:
            joined[:, start : start + band.shape[1]] = band
        return joined


def _resized(maps: NDArray[np.float32], size: Size, align_corners: AlignCorners) -> NDArray[np.float32]:
    return ScoreArray(maps, size, align_corners).scores()


def _wider(maps: NDArray[np.float32], width: int, align_corners: AlignCorners) -> NDArray[np.float32]:
    """(K, h, w) -> (K, h, width)."""
    if maps.shape[2] == width:
        return maps
    columns = between_cells(maps.shape[2], width, align_corners)
    return maps[:, :, columns.first] * (1 - columns.share) + maps[:, :, columns.second] * columns.share
