"""An INT8 file beside the float32 file that it was made from: speed, equal labels, and the loss of mIoU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import counted
from segattn.evaluation.evaluate import evaluate
from segattn.exporting.engines import Engine
from segattn.exporting.model import as_model
from segattn.exporting.quantize import read_input
from segattn.exporting.report import FEWEST_EQUAL_INT8, Int8

if TYPE_CHECKING:
    from segattn.contracts import SegmentationDataset
    from segattn.evaluation.protocol import Protocol
    from segattn.models.segmenter import Segmenter

_FEWEST, _MOST, _SECONDS = 5, 40, 10.0
"""Pairs of timed runs, and the time after which no more are begun."""


@dataclass(frozen=True)
class Scoring:
    """What the loss of mIoU is measured on.

    Attributes:
        name: of the data, in words.
        dataset: with the model's classes, in their order.
        protocol: by which both files are scored.
    """

    name: str
    dataset: SegmentationDataset
    protocol: Protocol


def compare_int8(
    plain: Engine,
    small: Engine,
    model: Segmenter,
    *,
    calibrated_on: int,
    held_out: Sequence[Path],
    scoring: Scoring | None,
) -> Int8:
    """Both files on the same images, in turns in this process.

    Args:
        plain, small: the float32 and the INT8 file.
        model: that they were made from.
        calibrated_on: the number of images.
        held_out: images that the calibration did not see.

    Raises:
        ValueError: too few pixels have the same label.
    """
    equal, pixels = 0, 0
    for path in held_out:
        images = read_input(path, plain.interface, model.trained_at)[:1]
        images = np.repeat(images, plain.interface.batch or 1, 0)
        same = _labels(plain.run(images)) == _labels(small.run(images))
        equal, pixels = equal + int(same.sum()), pixels + same.size
    share = equal / pixels
    if share < FEWEST_EQUAL_INT8:
        raise ValueError(
            f"the INT8 file gives {100 * share:.2f} % of the pixels of {counted(len(held_out), 'image')} that it was"
            f" not calibrated on the same label as the float32 file; {100 * FEWEST_EQUAL_INT8:g} % is the least. "
            "Nothing was written. Give more images to calibrate on, like those that the network is for"
        )
    images = read_input(held_out[0], plain.interface, model.trained_at)
    times = _times(plain, small, images)
    ratios = [ours / theirs for theirs, ours in zip(*times, strict=True)]
    scores = None
    if scoring is not None:
        scores = tuple(
            round(evaluate(as_model(engine, model), scoring.dataset, scoring.protocol, progress=True).miou, 2)
            for engine in (plain, small)
        )
    return Int8(
        method=f"NNCF {version('nncf')}",
        engine=small.name,
        calibrated_on=calibrated_on,
        held_out=len(held_out),
        equal_labels=round(share, 6),
        shape=(images.shape[0], *images.shape[2:]),
        milliseconds=round(1e3 * statistics.median(times[1]), 2),
        milliseconds_float32=round(1e3 * statistics.median(times[0]), 2),
        ratio=round(statistics.median(ratios), 3),
        ratio_range=(round(min(ratios), 3), round(max(ratios), 3)),
        pairs=len(ratios),
        data=None if scoring is None else scoring.name,
        miou=None if scores is None else scores[1],
        miou_float32=None if scores is None else scores[0],
    )


def _labels(given: NDArray[Any]) -> NDArray[Any]:
    return given if given.ndim == 3 else given.argmax(1)


def _times(plain: Engine, small: Engine, images: NDArray[Any]) -> tuple[list[float], list[float]]:
    """Seconds of each run, of one file and of the other, which take turns; which is first takes turns, too."""
    taken: tuple[list[float], list[float]] = ([], [])
    engines = (plain, small)
    for engine in engines:
        engine.run(images)
    begun = time.perf_counter()
    for index in range(_MOST):
        if index >= _FEWEST and time.perf_counter() - begun > _SECONDS:
            break
        for which in (0, 1) if index % 2 == 0 else (1, 0):
            start = time.perf_counter()
            engines[which].run(images)
            taken[which].append(time.perf_counter() - start)
    return taken
