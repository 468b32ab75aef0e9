"""How fast a run is, how long it waits for data, and what to do about that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

import torch

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
        self._on_gpu = device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Begin a new stretch; time until now belongs to nothing."""
        self.start = time.perf_counter()
        self.steps = 0
        self._waits: list[tuple[Any, Any]] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a batch. The device is not waited for."""
        before = self._now()
        yield
        self._waits.append((before, self._now()))

    def read(self, *, batch_size: int, steps_left: int) -> dict[str, float]:
        """Images per second over all processes, the share of time spent waiting for data, and the seconds left."""
        if self._on_gpu and self._waits:
            self._waits[-1][1].synchronize()
        seconds = time.perf_counter() - self.start
        return {
            "images_per_second": self.steps * batch_size / seconds,
            "data_wait": min(sum(self._seconds(*wait) for wait in self._waits) / seconds, 1.0),
            "seconds_left": seconds / self.steps * steps_left,
        }

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _seconds(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end) / 1000 if self._on_gpu else end - start)


def loader_hint(data_wait: float, *, workers: int, cores: int) -> str | None:
    """What to do when reading the data limits the speed; None while it does not.

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
    cheaper = "keep the pictures on a local disk and not much larger than what is trained on"
    if needed <= cores:
        return f"{text}; {again} --training.workers {needed}"
    if running < cores:
        return f"{text}; {again} --training.workers {cores}, as many as there are cores, and {cheaper}"
    return f"{text}, though all {cores} cores read; {cheaper}"
