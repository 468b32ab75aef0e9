"""One image within a bound of memory: whole where the network's pass fits into it, else in blended windows."""

from __future__ import annotations

from itertools import pairwise
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import cut, shown
from segattn.evaluation.geometry import NativeSize, Size
from segattn.evaluation.inference import score_map
from segattn.evaluation.protocol import Protocol
from segattn.evaluation.score_array import looks_once
from segattn.models.segmenter import Segmenter
from segattn.models.shapes import forward_bytes
from segattn.predicting.raster.blend import Strip, starts

SIDES = (2048, 1536, 1024, 768, 512, 384, 256)
"""Of windows, in pixels; multiples of all networks' strides."""

_SLACK = 1.8
"""Times what tensors take: processes grew by up to 1.72 times that (`benchmarks/memory.py`): kernels and the heap."""

_known: WeakKeyDictionary[Segmenter, dict[Size, int]] = WeakKeyDictionary()
_one_at_a_time = Lock()


def check_bound(memory: int, model: object, protocol: Protocol) -> None:
    """That an image can be labelled within a bound.

    Raises:
        ValueError: no number of bytes, an exported file, or a protocol other than one look at the image's own size.
    """
    if not isinstance(memory, int) or isinstance(memory, bool) or memory < 1:
        raise ValueError(f"max_memory {shown(memory)}: expected a number of bytes")
    if not isinstance(model, Segmenter):
        raise ValueError("max_memory: is known for networks that PyTorch runs; what an exported file takes is not")
    if not looks_once(protocol) or not isinstance(protocol.resize, NativeSize) or protocol.scales != (1.0,):
        name = protocol.describe().partition(":")[0]
        raise ValueError(
            f"max_memory: the protocol {name} says itself how an image is looked at; "
            "take one that looks once at its own size, such as whole"
        )


def whole_bytes(model: Segmenter, size: Size) -> int:
    """About the bytes that a process grows by while an image of `size` goes through the network.

    Raises:
        ValueError: the network can't be followed without values, as one that an engine runs, or takes no such size.
    """
    with _one_at_a_time:
        known = _known.setdefault(model, {})
        if size not in known:
            try:
                known[size] = forward_bytes(model, size)
            except Exception as error:  # whatever a foreign module raises
                reason = cut(str(error).partition("\n")[0])
                raise ValueError(
                    f"max_memory: what the network takes at {size[1]}x{size[0]} can't be worked out ({reason}); "
                    "leave it out"
                ) from None
        return round(_SLACK * known[size])


def fitting(model: Segmenter, own: Size, read_at: Size, memory: int, *, labels_alone: bool) -> tuple[int | None, int]:
    """How images of one size fit the memory: the side of the largest windows, None for whole; and how many at a time.

    Args:
        own, read_at: (height, width) of the images and of what the network is to see.
        labels_alone: whether nothing else is wanted; windows have nothing else.

    Raises:
        ValueError: they fit as a whole only, and don't fit; or no windows fit.
    """
    whole = whole_bytes(model, read_at)
    if whole <= memory:
        return None, memory // whole
    width, height = read_at[1], read_at[0]
    found = f"max_memory of {megabytes(memory)}: the network takes about {megabytes(whole)} at {width}x{height}"
    if own != read_at:
        raise ValueError(f"{found}, the size at which the image is read; give more, or a smaller size")
    if not labels_alone:
        raise ValueError(f"{found}, and windows give labels alone; give more, or leave the confidence out")
    least = whole
    for side in SIDES:
        if side < max(read_at):
            rows, columns = min(side, height), min(side, width)
            planes = 4 * model.num_classes + 1
            needed = whole_bytes(model, (rows, columns)) + planes * rows * (columns + width)
            if needed <= memory:
                return side, 1
            least = min(least, needed)
    raise ValueError(f"{found}, and about {megabytes(least)} in the smallest windows; give more")


def labels_by_windows(model: Segmenter, image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The labels (H, W) of an image, from overlapping windows whose logits are averaged with Hann weights.

    Neighbours share a quarter of their side or more. The sums of as many rows as a window has are held.
    """
    height, width = image.shape[:2]
    rows, columns = min(side, height), min(side, width)
    tops, lefts = starts(height, rows, side // 4), starts(width, columns, side // 4)
    strip = Strip(model.num_classes, rows, width)
    seen = np.ones((rows, columns), np.bool_)
    labels = []
    for top, following in pairwise((*tops, height)):
        for left in lefts:
            window = np.ascontiguousarray(image[top : top + rows, left : left + columns])
            strip.add(score_map(model, window).scores().cpu(), seen, left)
        labels.append(strip.take(following - top))
    return np.concatenate(labels)


def megabytes(count: int) -> str:
    """A number of bytes in words, such as 230M."""
    return f"{max(round(count / 2**20), 1)}M"
