"""Validation images with ground truth and prediction, drawn at each validation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count as counter
from pathlib import Path

import numpy as np

from segattn.contracts import Classes, Sample
from segattn.pictures import Image, side_by_side, write_image
from segattn.training.state import SAMPLES


class SampleImages:
    """Writes `samples/step_000600/NAME.jpg` in a run's folder, for images spread evenly over the validation set.

    They come out of the validation itself. Each process writes those of its own shard, so the same images are there
    for any number of processes.

    Args:
        folder: of the run.
        classes: of the validation set.
        length: of the validation set.
        count: images at most; 0 for none.
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
                write_image(self._of_step(step) / f"{name}.jpg", side_by_side(sample, labels, self._classes))

        return write

    def files(self, step: int) -> list[Path]:
        """The files of a step, in the order of names, once all processes are through with it."""
        return sorted(self._of_step(step).glob("*.jpg"))

    def _of_step(self, step: int) -> Path:
        return self._folder / f"step_{step:06d}"


def steps_with_images(run_folder: Path) -> dict[int, list[Path]]:
    """Every step of a run that has sample images, in order, with its files."""
    found = {int(path.name[5:]): path for path in (run_folder / SAMPLES).glob("step_*") if path.name[5:].isdigit()}
    return {step: sorted(found[step].glob("*.jpg")) for step in sorted(found)}
