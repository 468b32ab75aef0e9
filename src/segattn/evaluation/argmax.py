"""Maps that are resized bilinearly, some rows at a time, and their arg-max, without ever holding the resized maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segattn.alignment import between_cells
from segattn.contracts import AlignCorners
from segattn.layers import resize

Step = tuple[tuple[int, int], AlignCorners]
"""A resize: to (H, W), with its `align_corners`."""

_ROWS = 8
"""Of a band, for each thread: with 19 classes of 2048 columns that is 1.2 MB, which stays in a core's cache."""

_ROWS_ELSEWHERE = 128
"""Of a band on other devices than the CPU."""


def resized_argmax(maps: Tensor, size: tuple[int, int], *, align_corners: AlignCorners) -> Tensor:
    """``resize(maps, size, align_corners=...).argmax(1)`` of one image.

    Equal to it except where two classes tie to within float rounding. On the CPU, an arg-max over 19 full-size maps
    takes half as long as a light network. Here bands of a few rows are made by one small matrix product each, whose
    result stays in the cache, and their arg-max is a max-pooling over the classes, which is vectorised where
    `Tensor.argmax` is not.

    Args:
        maps: (1, K, h, w) float32, K at most 256.
        size: (H, W).

    Returns:
        (H, W) uint8.
    """
    if not _in_bands(maps):
        return resize(maps, size, align_corners=align_corners).argmax(1)[0].to(torch.uint8)
    labels = torch.empty(size, dtype=torch.uint8)
    for start, band in resized_bands(maps, size, align_corners=align_corners):
        labels[start : start + len(band)] = argmax_of_rows(band)
    return labels


def argmax_of_rows(band: Tensor) -> Tensor:
    """(rows, K, W) -> (rows, W) integers: on the CPU a max-pooling over the classes, which is vectorised."""
    if band.device.type != "cpu":
        return band.argmax(1)
    rows, classes, width = band.shape
    planes = band.reshape(rows, classes, 1, width).permute(0, 3, 1, 2)  # pixels as channels, innermost
    return F.max_pool2d(planes, (classes, 1), return_indices=True)[1].view(rows, width)


def resized_bands(maps: Tensor, size: tuple[int, int], *, align_corners: AlignCorners) -> Iterator[tuple[int, Tensor]]:
    """``resize(maps, size, align_corners=...)`` of one image, some rows at a time, to float rounding.

    Args:
        maps: (1, K, h, w) float32.
        size: (H, W).

    Yields:
        The number of the first row, and (rows, K, W) float32, which the caller may change. On other devices than the
        CPU all rows come at once.
    """
    if not _in_bands(maps):
        whole = resize(maps, size, align_corners=align_corners)[0].transpose(0, 1)
        yield 0, whole.clone(memory_format=torch.contiguous_format)
        return
    (_, classes, cells, _), (height, width) = maps.shape, size
    rows = maps[0].permute(1, 0, 2)  # (h, K, w): a band's source is one block of memory
    wide = resize(rows[None], (classes, width), align_corners=align_corners)[0]
    wide = wide.reshape(cells, classes * width)
    upper, lower, weights = _bilinear_rows(cells, height, align_corners)
    at_once = rows_at_once(maps.device)
    for start in range(0, height, at_once):
        stop = min(start + at_once, height)
        first, last = upper[start], lower[stop - 1] + 1
        yield start, (weights[start:stop, first:last] @ wide[first:last]).view(stop - start, classes, width)


def rows_at_once(device: torch.device) -> int:
    """How many rows of an image are made at a time."""
    return _ROWS * torch.get_num_threads() if device.type == "cpu" else _ROWS_ELSEWHERE


def _in_bands(maps: Tensor) -> bool:
    return maps.device.type == "cpu" and _products_are_float32()


def resized_at(maps: Tensor, pixels: Sequence[tuple[int, int]], steps: Sequence[Step]) -> Tensor:
    """The values that resized maps have at a few pixels, without the resized maps.

    Args:
        maps: (1, K, h, w) float32.
        pixels: (y, x) in the last step's size.
        steps: sizes to which the maps are resized, one after another, each with its `align_corners`.

    Returns:
        (len(pixels), K).
    """
    axes = []
    for axis in (0, 1):
        weights = torch.eye(maps.shape[2 + axis], device=maps.device)
        for size, align_corners in steps:
            side = _bilinear_rows(len(weights), size[axis], align_corners)[2]
            weights = side.to(maps.device) @ weights
        axes.append(weights[[pixel[axis] for pixel in pixels]])
    return torch.einsum("ph,khw,pw->pk", axes[0], maps[0], axes[1])


def _bilinear_rows(cells: int, height: int, align_corners: AlignCorners) -> tuple[list[int], list[int], Tensor]:
    """For each of `height` output rows the two source rows, and (height, cells) weights that are zero elsewhere."""
    between = between_cells(cells, height, align_corners)
    upper, lower, share = (torch.from_numpy(values)[:, None] for values in between)
    weights = torch.zeros(height, cells, dtype=torch.float32)
    weights.scatter_add_(1, upper, 1 - share)
    weights.scatter_add_(1, lower, share)
    return between.first.tolist(), between.second.tolist(), weights


def _products_are_float32() -> bool:
    # torch.get_float32_matmul_precision() raises where precisions were set by their newer names
    precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    return precision in ("none", "ieee") and not torch.is_autocast_enabled("cpu")
