"""Score maps that are never held whole: each stage of a protocol makes the rows that the next one asks for.

What a network says is coarse and is kept as it is; resizing, windows, softmax, mirror images and sums over views are
done for a few rows of the image at a time. A row is (K, W): K classes, W pixels; rows come as (rows, K, W) float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from segattn.alignment import between_cells
from segattn.contracts import AlignCorners
from segattn.evaluation.geometry import Size
from segattn.layers import resize


class Rows(Protocol):
    """A score map of `size` (H, W), which gives any of its rows."""

    @property
    def size(self) -> Size: ...

    def rows(self, start: int, stop: int) -> Tensor:
        """Those from `start` to before `stop`, which may be views of what is held: (stop - start, K, W)."""
        ...


class Held(NamedTuple):
    """Maps (1, K, h, w) as they are."""

    maps: Tensor

    @property
    def size(self) -> Size:
        return self.maps.shape[-2], self.maps.shape[-1]

    def rows(self, start: int, stop: int) -> Tensor:
        return self.maps[0, :, start:stop].transpose(0, 1)


class Resized:
    """Bilinear resizing to `size`, as `segattn.layers.resize` does it, to float rounding."""

    def __init__(self, source: Rows, size: Size, align_corners: AlignCorners) -> None:
        self.source, self.size, self._align_corners = source, size, align_corners
        self._between = between_cells(source.size[0], size[0], align_corners)

    def rows(self, start: int, stop: int) -> Tensor:
        found = self._of_height(start, stop)
        return resize(found[None], (found.shape[1], self.size[1]), align_corners=self._align_corners)[0]

    def _of_height(self, start: int, stop: int) -> Tensor:
        """Rows of the new height, each still as wide as it was."""
        if self.source.size[0] == self.size[0]:
            return self.source.rows(start, stop)
        first, second, share = (along[start:stop] for along in self._between)
        top = int(first[0])
        found = self.source.rows(top, int(second[-1]) + 1)
        above, below = (torch.from_numpy(index - top).to(found.device) for index in (first, second))
        return torch.lerp(found[above], found[below], torch.from_numpy(share).to(found.device)[:, None, None])


class Each(NamedTuple):
    """What a function makes of rows, which needs no others and keeps their shape: a softmax over classes, a mirror."""

    source: Rows
    function: Callable[[Tensor], Tensor]

    @property
    def size(self) -> Size:
        return self.source.size

    def rows(self, start: int, stop: int) -> Tensor:
        return self.function(self.source.rows(start, stop))


def softmax(source: Rows) -> Rows:
    """The probabilities of logits."""
    return Each(source, lambda rows: rows.softmax(1))


def exponential(source: Rows) -> Rows:
    """e to the power of scores."""
    return Each(source, torch.exp)


def mirrored(source: Rows) -> Rows:
    """Left and right exchanged."""
    return Each(source, lambda rows: rows.flip(-1))


class Sum(NamedTuple):
    """The sum of maps of one size, or their mean."""

    sources: Sequence[Rows]
    mean: bool

    @property
    def size(self) -> Size:
        return self.sources[0].size

    def rows(self, start: int, stop: int) -> Tensor:
        total = self.sources[0].rows(start, stop)
        for source in self.sources[1:]:
            total = total + source.rows(start, stop)
        return total / len(self.sources) if self.mean and len(self.sources) > 1 else total


class Placed(NamedTuple):
    """A window's scores, and where on the canvas its first pixel lies."""

    source: Rows
    top: int
    left: int


class Windows(NamedTuple):
    """What lies in a part of a canvas that windows cover, where they overlap their sum or their mean.

    Attributes:
        placed: the windows.
        canvas: its (height, width).
        corner: of the part: its top and left.
        size: of the part.
        mean: whether overlaps are averaged.
    """

    placed: Sequence[Placed]
    canvas: Size
    corner: Size
    size: Size
    mean: bool

    def rows(self, start: int, stop: int) -> Tensor:
        begin, end = start + self.corner[0], stop + self.corner[0]
        total: Tensor | None = None
        for source, top, left in self.placed:
            height, width = source.size
            upper, lower = max(begin, top), min(end, top + height)
            if upper >= lower:
                continue
            found = source.rows(upper - top, lower - top)
            if total is None:
                total = found.new_zeros(end - begin, found.shape[1], self.canvas[1])
                cover = found.new_zeros(end - begin, 1, self.canvas[1])
            place = slice(upper - begin, lower - begin), slice(None), slice(left, left + width)
            total[place] += found
            cover[place] += 1
        assert total is not None, "windows cover the canvas"
        if self.mean:
            total /= cover
        return total[..., self.corner[1] : self.corner[1] + self.size[1]]
