"""What a run tells while it runs: a JSONL file, a progress bar or lines, and TensorBoard if asked."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segattn.training.checkpoint import LOG, TENSORBOARD
from segattn.training.checkpoint import Progress as RunProgress
from segattn.weights.checkpoint import atomic_path

LOADER_IS_THE_LIMIT = 0.3
"""The share of time spent waiting for data from which a hint is given."""


class RunLog:
    """Writes and shows the records of one run; silent where `enabled` is false (all processes but the first).

    A record is a flat mapping with "kind" ("train" or "validation") and "step". After a resume the file holds no record
    from beyond the point where the run continues.
    """

    def __init__(
        self, folder: Path, progress: RunProgress, *, iterations: int, tensorboard: bool, enabled: bool
    ) -> None:
        self.enabled = enabled
        self.console = Console(stderr=True)
        self._hinted = False
        self._writer: Any = None
        if not enabled:
            return
        if tensorboard:
            self._writer = _tensorboard_writer(folder / TENSORBOARD, progress.step)
        _cut(folder / LOG, progress)
        self._file = (folder / LOG).open("a", encoding="utf-8")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("starting", total=iterations, completed=progress.step)
        self._iterations = iterations

    def __enter__(self) -> RunLog:
        if self.enabled:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.enabled:
            self._bar.stop()
            self._file.close()
            if self._writer is not None:
                self._writer.close()

    def advance(self, step: int) -> None:
        """Move the progress bar to `step` steps done."""
        if self.enabled:
            self._bar.update(self._task, completed=step)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record to the file, show it, and hand its numbers to TensorBoard."""
        if not self.enabled:
            return
        self._file.write(json.dumps({key: _plain(value) for key, value in record.items()}) + "\n")
        self._file.flush()
        if self._writer is not None:
            for key, value in record.items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"{record['kind']}/{key}", value, record["step"])
        if record["kind"] == "train":
            self._show(record)
        else:
            scores = f"mIoU {record['miou']:.2f}, mAcc {record['macc']:.2f}, aAcc {record['aacc']:.2f}"
            self.say(f"validation after step {record['step']}: {scores}")

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
        if record["data_wait"] > LOADER_IS_THE_LIMIT and not self._hinted:
            self._hinted = True
            self.say("reading the data is what limits the speed: more training.workers may help")


class Meter:
    """Speed between two records."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new stretch; time until now belongs to nothing."""
        self.start = time.perf_counter()
        self.waited = 0.0
        self.steps = 0

    def read(self, *, batch_size: int, steps_left: int) -> dict[str, float]:
        """Images per second over all processes, the share of time spent waiting for data, and the seconds left."""
        seconds = time.perf_counter() - self.start
        return {
            "images_per_second": self.steps * batch_size / seconds,
            "data_wait": self.waited / seconds,
            "seconds_left": seconds / self.steps * steps_left,
        }


def _cut(path: Path, progress: RunProgress) -> None:
    """Take from the file what a resumed run will write again, a half-written last line too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        limit = progress.validated if record["kind"] == "validation" else progress.step
        if record["step"] <= limit:
            kept.append(line + "\n")
    with atomic_path(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tensorboard_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("TensorBoard is not installed: pip install 'segattn[log]'") from None
    return SummaryWriter(str(folder), purge_step=step + 1)  # type: ignore[no-untyped-call]
