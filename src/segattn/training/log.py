"""The log of a run: log.jsonl, the terminal, other trackers, mean losses and speed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from torch import Tensor

from segattn.machine import Clock, usable_cores
from segattn.processes import processes_here
from segattn.progress import progress_columns
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import to_dict
from segattn.training.loggers import Logger, LoggerSink
from segattn.training.sinks import JsonLines, Sink, TensorBoard, WeightsAndBiases
from segattn.training.state import Progress as RunProgress

_WORTHWHILE = 60.0
"""Seconds from the end up to which a hint can still save time."""

_SLOW_RECORDS = 2


class RunLog:
    """Writes and shows the records of one run; silent where `enabled` is false (all processes but the first).

    A record is a flat mapping with "kind" ("train" or "validation") and "step".

    Args:
        tensorboard: write event files.
        wandb: the Weights & Biases project to write to; None for none.
        loggers: the caller's.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        progress: RunProgress,
        *,
        tensorboard: bool,
        wandb: str | None,
        loggers: Sequence[Logger] = (),
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
        config = {
            "run": folder.resolve().name,
            "folder": str(folder),
            "step": progress.step,
            "recipe": to_dict(recipe),
        }
        try:
            for logger in loggers:
                self._sinks.append(LoggerSink(logger, config, self.say))
        except BaseException:
            for sink in self._sinks:
                sink.close(failed=True)
            raise
        columns = progress_columns(self.console, MofNCompleteColumn(), 2 * len(str(self._iterations)) + 1)
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
        """Hand images to every sink, by the names of their files; one that can't be read is left out."""
        if not self.enabled or not files:
            return
        found = [(file.stem, cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), 1)) for file in files]
        images = [
            (name, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))
            for name, image in found
            if image is not None
        ]
        for sink in self._sinks:
            sink.show(step, images)

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


class LossMeans:
    """The mean of each loss term over the steps since `clear`, without waiting for the device.

    It counts its steps itself: the clock of `Meter` is also set back by a validation, which these go on over.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, losses: Sequence[Mapping[str, Tensor]]) -> None:
        """One more step: the terms of each of its micro-batches."""
        for name in losses[0]:
            mean = torch.stack([part[name].detach() for part in losses]).mean()
            self._sums[name] = self._sums.get(name, 0) + mean
        self._steps += 1

    def read(self) -> dict[str, Tensor]:
        """By name, in the order of the terms."""
        return {name: total / self._steps for name, total in self._sums.items()}

    def clear(self) -> None:
        self._sums.clear()
        self._steps = 0


LOADER_IS_THE_LIMIT = 0.3
"""The share of time spent waiting for data from which a hint is given."""


class Meter:
    """Speed between two records.

    What counts as waiting is that the device has nothing to do. On the CPU that is the time until a batch is there; a
    GPU may still be at the step before, so there its own clock is read: at the end of that step, and when it could go
    on.

    Args:
        device: that trains.
    """

    def __init__(self, device: torch.device) -> None:
        self._clock = Clock(device)
        self.restart()

    def restart(self) -> None:
        """Begin a new stretch; time until now belongs to nothing."""
        self.start = time.perf_counter()
        self.steps = 0
        self._waits: list[tuple[Any, Any]] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a batch. The device is not waited for."""
        before = self._clock.stamp()
        yield
        self._waits.append((before, self._clock.stamp()))

    def read(self, *, batch_size: int, steps_left: int) -> dict[str, float]:
        """Images per second over all processes, the share of time spent waiting for data, and the seconds left."""
        waited = sum(self._clock.between(*wait) for wait in self._waits)
        seconds = time.perf_counter() - self.start
        return {
            "images_per_second": self.steps * batch_size / seconds,
            "data_wait": min(waited / seconds, 1.0),
            "seconds_left": seconds / self.steps * steps_left,
        }


def loader_hint(data_wait: float, *, workers: int, cores: int) -> str | None:
    """Advice when reading the data limits the speed; None while it does not.

    The work of reading a batch is what the workers do in a whole step, or without workers the time of the wait. It has
    to fit beside the rest of a step, which gives their number.

    Args:
        data_wait: the share of time spent waiting for data, 0 to 1.
        workers: loading processes of one training process; no more than `cores` are started.
        cores: that a training process has for itself and its workers.
    """
    if data_wait <= LOADER_IS_THE_LIMIT:
        return None
    running = min(workers, cores)
    rest = max(1 - data_wait, 0.01)
    needed = ceil(running / rest) if running else max(ceil(data_wait / rest), 1)
    text = f"reading the data is what limits the speed ({data_wait:.0%} of the time is spent waiting for it)"
    if not running:
        text += ": it happens between the steps"
    again = "stop this run and give the same command again with"
    cheaper = "keep the images on a local disk and not much larger than what is trained on"
    if needed <= cores:
        return f"{text}; {again} --training.workers {needed}"
    if running < cores:
        return f"{text}; {again} --training.workers {cores}, as many as there are cores, and {cheaper}"
    return f"{text}, though all {cores} cores read; {cheaper}"
