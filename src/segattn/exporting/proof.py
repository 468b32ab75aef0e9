"""The proof at an export's end: the file and the model, on the same images, at several sizes and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segattn.datasets.images import read_image
from segattn.exporting.report import FEWEST_EQUAL_INT8, FEWEST_EQUAL_LABELS, LARGEST_DIFFERENCE, Interface, Proof
from segattn.normalization import Normalization, require_rgb
from segattn.synthetic.write import draw_street

Image = NDArray[np.uint8]
Shape = tuple[int, int, int]

SHAPES: tuple[Shape, ...] = ((2, 192, 256), (1, 256, 512), (3, 161, 223))
"""Batch, height and width of the comparisons where a file takes any: the second a street's, the third of odd sides."""


def proof_shapes(interface: Interface, wanted: Iterable[Shape] = ()) -> tuple[Shape, ...]:
    """The shapes to compare at: `wanted`, or `SHAPES`, with the sides that the file fixes.

    Raises:
        ValueError: one of `wanted` does not go into the file.
    """
    chosen = tuple(wanted)
    for batch, height, width in chosen:
        interface.check((batch, interface.channels, height, width), "--proof")
    if chosen:
        return chosen
    fixed = (interface.batch, interface.height, interface.width)
    shapes = (
        tuple(given if side is None else side for side, given in zip(fixed, shape, strict=True)) for shape in SHAPES
    )
    grown = ((b, max(h, interface.smallest[0]), max(w, interface.smallest[1])) for b, h, w in shapes)
    return tuple(dict.fromkeys(grown))


_KEPT = 4
"""Images that are kept in memory."""


class Images:
    """A batch of any size from the given images, or from painted streets where there are none; no two are equal.

    For a network that takes bands as they are stored it is smooth noise of each band's mean and deviation, float32.

    Raises:
        ValueError: images are given for such a network, or one can't be read.
    """

    def __init__(self, paths: Sequence[str | Path], normalization: Normalization = Normalization()) -> None:
        self._paths = tuple(paths)
        self._bands = normalization if normalization.stored else None
        if paths:
            require_rgb(normalization, "images")
        self._read = lru_cache(_KEPT)(lambda index: read_image(self._paths[index], upright=True))
        if paths:
            self._read(0)  # before the work
        streets = "painted streets" if self._bands is None else "noise of the bands' mean and deviation"
        self.names = f"{len(paths)} given image{'s' * (len(paths) != 1)}" if paths else streets

    def batch(self, shape: Shape) -> NDArray[Any]:
        """(B, 3, H, W) uint8 of the shape (B, H, W), or bands (B, C, H, W) float32.

        Where images run out they come again, mirrored, then upside down.
        """
        count, height, width = shape
        stacked = np.stack([self._image(i, height, width) for i in range(count)])
        return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))

    def _image(self, index: int, height: int, width: int) -> NDArray[Any]:
        if self._bands is not None:
            return smooth_noise(self._bands, (height, width), index)
        if not self._paths:
            size = (max(height, 64), max(width, 64))
            street: Image = draw_street(np.random.default_rng(index), size)[0]
            return street[:height, :width]
        round_, index = divmod(index, len(self._paths))
        image = cv2.resize(self._read(index), (width, height), interpolation=cv2.INTER_AREA)
        for axis in range(2):
            if round_ >> axis & 1:
                image = np.flip(image, 1 - axis)
        return np.asarray(image, np.uint8)


def smooth_noise(normalization: Normalization, size: tuple[int, int], seed: int) -> NDArray[np.float32]:
    """Bands (H, W, C) to try a network on, in the values that it takes: of their mean and about their deviation."""
    height, width = size
    coarse = np.random.default_rng(seed).standard_normal((height // 8 + 2, width // 8 + 2, len(normalization.mean)))
    noise = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    low, high = normalization.value_range or (0.0, 1.0)
    mean, std = (np.asarray(values, np.float32) for values in (normalization.mean, normalization.std))
    values = mean + std * noise.reshape(height, width, -1)
    return np.asarray(values * np.float32(high - low) + np.float32(low), np.float32)


def prove(
    run: Callable[[NDArray[Any]], NDArray[Any]],
    reference: nn.Module,
    interface: Interface,
    images: Images,
    shapes: Iterable[Shape],
    *,
    int8: bool = False,
) -> tuple[Proof, ...]:
    """Compare a file with the module that it was made from, which gives the same kind of output.

    Args:
        run: the file.
        reference: (B, C, H, W) -> the same, in PyTorch.
        int8: the file is of 8-bit numbers, which has a rule of its own: `Proof.holds`.

    Raises:
        ValueError: they disagree, with where and by how much.
    """
    proofs = []
    for shape in shapes:
        batch = images.batch(shape)
        as_given = interface.input == "uint8" or batch.dtype == np.float32
        x = batch if as_given else (batch / np.float32(255)).astype(np.float32)
        with torch.inference_mode():
            wanted = reference(torch.from_numpy(x)).numpy()
        proof = compare(run(x), wanted, shape)
        if not proof.holds(int8=int8):
            allowed = (
                f"allowed are {LARGEST_DIFFERENCE:g} of the range, and {100 * FEWEST_EQUAL_LABELS:g} % is the least"
            )
            if int8:
                allowed = f"{100 * FEWEST_EQUAL_INT8:g} % is the least of an INT8 file"
            raise ValueError(f"the file disagrees with the model at {proof}; {allowed}. Nothing was written")
        proofs.append(proof)
    return tuple(proofs)


def compare(got: NDArray[Any], wanted: NDArray[Any], shape: Shape) -> Proof:
    """(B, K, H, W) logits or probabilities, or (B, H, W) labels, of the file and of the model."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise ValueError(
            f"the file gives {got.dtype} of {got.shape} where the model gives {wanted.dtype} of {wanted.shape}. "
            "Nothing was written"
        )
    if wanted.ndim == 3:
        return Proof(shape, None, float(np.mean(got == wanted)))
    scale = float(np.ptp(wanted)) or 1.0
    difference = float(np.abs(got - wanted).max()) / scale
    equal = float(np.mean(got.argmax(1) == wanted.argmax(1)))
    return Proof(shape, float(f"{difference:.1e}"), equal)
