"""What a run tells while it runs: a progress bar or lines on the screen, and the same to every sink."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segattn.data.loader import usable_cores
from segattn.processes import processes_here
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import to_dict
from segattn.training.checkpoint import Progress as RunProgress
from segattn.training.sinks import JsonLines, Sink, TensorBoard, WeightsAndBiases
from segattn.training.speed import loader_hint

_WORTHWHILE = 60.0
"""Seconds from the end up to which a hint can still save time."""
_SLOW_RECORDS = 2


class RunLog:
    """Writes and shows the records of one run; silent where `enabled` is false (all processes but the first).

    A record is a flat mapping with "kind" ("train" or "validation") and "step".

    Args:
        tensorboard: write event files.
        wandb: the Weights & Biases project to write to; None for none.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        progress: RunProgress,
        *,
        tensorboard: bool,
        wandb: str | None,
        enabled: bool,
    ) -> None:
        self.enabled = enabled
        self.console = Console(stderr=True)
        self._workers = recipe.training.workers
        self._slow_records = 0
        self._sinks: list[Sink] = []
        if not enabled:
            return
        self._iterations = recipe.schedule.iterations
        if tensorboard:
            self._sinks.append(TensorBoard(folder, progress))
        if wandb is not None:
            self._sinks.append(WeightsAndBiases(folder, wandb, to_dict(recipe), self.say))
        self._sinks.append(JsonLines(folder, progress))
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("starting", total=self._iterations, completed=progress.step)

    def __enter__(self) -> RunLog:
        if self.enabled:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.enabled:
            self._bar.stop()
        for sink in self._sinks:
            sink.close(failed=error is not None)

    def advance(self, step: int) -> None:
        """Move the progress bar to `step` steps done."""
        if self.enabled:
            self._bar.update(self._task, completed=step)

    def write(self, record: Mapping[str, Any]) -> None:
        """Show a record, and hand it to every sink."""
        if not self.enabled:
            return
        for sink in self._sinks:
            sink.write(record)
        if record["kind"] == "train":
            self._show(record)
        else:
            scores = f"mIoU {record['miou']:.2f}, mAcc {record['macc']:.2f}, aAcc {record['aacc']:.2f}"
            self.say(f"validation after step {record['step']}: {scores}")

    def show(self, step: int, files: Sequence[Path]) -> None:
        """Hand pictures to every sink, by the names of their files; one that can't be read is left out."""
        if not self.enabled or not files:
            return
        found = [(file.stem, cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), 1)) for file in files]
        pictures = [
            (name, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
            for name, picture in found
            if picture is not None
        ]
        for sink in self._sinks:
            sink.show(step, pictures)

    def say(self, message: str) -> None:
        """A line above the progress bar."""
        if self.enabled:
            self.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def _show(self, record: Mapping[str, Any]) -> None:
        text = (
            f"loss {record['loss']:.4f}  rate {record['lr']:.2e}  {record['images_per_second']:.1f} images/s"
            f"  waiting for data {record['data_wait']:.0%}"
        )
        if self.console.is_terminal:
            self._bar.update(self._task, description=text)
        else:
            left = time.strftime("%H:%M:%S", time.gmtime(record["seconds_left"]))
            self.say(f"step {record['step']}/{self._iterations}  {text}  {left} left")
        if record["seconds_left"] > _WORTHWHILE:
            self._hint(record["data_wait"])

    def _hint(self, data_wait: float) -> None:
        """Once, at the second slow record in a row: in the first one the loading processes may have been starting."""
        cores = max(usable_cores() // processes_here(), 1)
        hint = loader_hint(data_wait, workers=self._workers, cores=cores)
        if self._slow_records >= _SLOW_RECORDS:
            return
        self._slow_records = 0 if hint is None else self._slow_records + 1
        if hint is not None and self._slow_records == _SLOW_RECORDS:
            self.say(hint)
