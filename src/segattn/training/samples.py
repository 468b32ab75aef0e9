"""A few validation pictures as the network sees them, after every validation: picture, truth and prediction."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count as counter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, Classes, Sample
from segattn.pictures import class_shares, colorize, with_legend, write_picture
from segattn.training.checkpoint import SAMPLES

Image = NDArray[np.uint8]

_SIDE = 640  # of one of the three pictures, at most
_GAP, _CAPTION = 8, 22


class SamplePictures:
    """Writes `samples/step_000600/NAME.jpg` in a run's folder, for pictures spread evenly over the validation set.

    They come out of the validation itself. Each process writes those of its own shard, so the same pictures are there
    for any number of processes.

    Args:
        folder: of the run.
        classes: of the validation set.
        length: of the validation set.
        count: pictures at most; 0 for none.
        shard: (rank, world), as `evaluate` takes it.
    """

    def __init__(
        self, folder: Path, classes: Classes, length: int, *, count: int, shard: tuple[int, int] = (0, 1)
    ) -> None:
        self._folder, self._classes, self._shard = folder / SAMPLES, classes, shard
        self._chosen = {int(index) for index in np.linspace(0, length - 1, min(count, length)).round()}

    def writer(self, step: int) -> Callable[[Sample, Image], None]:
        """For `evaluate(on_prediction=...)`: called with this process's samples in the order of the data set."""
        indices = counter(*self._shard)

        def write(sample: Sample, labels: Image) -> None:
            if next(indices) in self._chosen:
                name = sample.name.replace("/", "_")
                write_picture(self._of_step(step) / f"{name}.jpg", side_by_side(sample, labels, self._classes))

        return write

    def files(self, step: int) -> list[Path]:
        """What is there for a step, in the order of names, once all processes are through with it."""
        return sorted(self._of_step(step).glob("*.jpg"))

    def _of_step(self, step: int) -> Path:
        return self._folder / f"step_{step:06d}"


def side_by_side(sample: Sample, labels: Image, classes: Classes) -> Image:
    """Picture, truth (what is not labelled is black) and prediction, RGB, with a legend of the classes in them.

    Args:
        sample: with its mask.
        labels: the predicted training ids, (H, W) uint8 as the mask.
    """
    assert sample.mask is not None
    height, width = labels.shape
    factor = min(_SIDE / max(height, width), 1.0)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    image = np.asarray(cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    truth, prediction = (
        np.asarray(cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST), np.uint8) for ids in (sample.mask, labels)
    )
    views = {"image": image, "truth": colorize(truth, classes), "prediction": colorize(prediction, classes)}
    panels = [_panel(view, caption) for caption, view in views.items()]
    seen = np.concatenate([sample.mask[sample.mask != IGNORE], labels.ravel()])
    return with_legend(np.hstack(panels), classes, class_shares(seen, len(classes)))


def _panel(picture: Image, caption: str) -> Image:
    height, width = picture.shape[:2]
    panel = np.full((_CAPTION + height, width + _GAP, 3), 255, np.uint8)
    panel[_CAPTION:, :width] = picture
    cv2.putText(panel, caption, (2, _CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return panel


def steps_with_pictures(run_folder: Path) -> dict[int, list[Path]]:
    """Every step of a run that has sample pictures, in order, with its files."""
    found = {int(path.name[5:]): path for path in (run_folder / SAMPLES).glob("step_*") if path.name[5:].isdigit()}
    return {step: sorted(found[step].glob("*.jpg")) for step in sorted(found)}
