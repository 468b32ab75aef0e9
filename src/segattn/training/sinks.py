"""Destinations of a run's records but the screen: a JSONL file always, TensorBoard and Weights & Biases if asked."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segattn.files import append, atomic_path, naming_file
from segattn.training.state import LOG, TENSORBOARD, WANDB, Progress

Images = Sequence[tuple[str, NDArray[np.uint8]]]
"""Names and RGB (H, W, 3) images."""


class Sink(Protocol):
    """Takes what a run tells. A record is a flat mapping with "kind" ("train" or "validation") and "step"."""

    def write(self, record: Mapping[str, Any]) -> None: ...

    def show(self, step: int, images: Images) -> None: ...

    def close(self, *, failed: bool) -> None: ...


class JsonLines:
    """`log.jsonl`: one record a line. After a resume it holds none from beyond the point where the run continues."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        _cut(folder / LOG, progress)
        self._path = folder / LOG
        self._file = self._path.open("ab", buffering=0)

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps({key: _plain(value) for key, value in record.items()}) + "\n"
        append(self._file, self._path, line.encode())

    def show(self, step: int, images: Images) -> None:
        """Images are files of their own."""

    def close(self, *, failed: bool) -> None:
        self._file.close()


class TensorBoard:
    """Event files in the run's folder; a resume hides what was written from beyond its point."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder / TENSORBOARD
        with naming_file(self._folder):
            self._writer = _summary_writer()(str(self._folder), purge_step=progress.step + 1)

    def write(self, record: Mapping[str, Any]) -> None:
        with naming_file(self._folder):
            for name, value in _numbers(record).items():
                self._writer.add_scalar(name, value, record["step"])

    def show(self, step: int, images: Images) -> None:
        with naming_file(self._folder):
            for name, image in images:
                self._writer.add_image(f"samples/{name}", image, step, dataformats="HWC")
            self._writer.flush()

    def close(self, *, failed: bool) -> None:
        with naming_file(self._folder):
            self._writer.close()


class WeightsAndBiases:
    """A run at Weights & Biases, the same one after every resume: its id is kept in the run's folder.

    Curves are over the training step, which is logged as a value: W&B's own counter can't go back to a checkpoint. What
    a killed run does again is there twice, with the same numbers.

    Args:
        project: W&B's project. Entity, mode and the rest are set by W&B's own environment variables.
        config: shown beside the curves.
        say: takes a line for the user.

    Raises:
        ValueError: W&B is not installed or refuses (no login, ...). Where its server can't be reached, the records stay
            in the folder instead, for `wandb sync`.
    """

    def __init__(self, folder: Path, project: str, config: dict[str, Any], say: Callable[[str], None]) -> None:
        self._wandb = wandb = _wandb_module()
        kept = folder / WANDB
        run_id = kept.read_text(encoding="utf-8").strip() if kept.exists() else secrets.token_hex(4)
        if not kept.exists():
            with atomic_path(kept) as temporary:
                temporary.write_text(run_id + "\n", encoding="utf-8")
        name = folder.resolve().name
        settings: dict[str, Any] = {"project": project, "name": name, "dir": str(folder), "config": config}
        settings |= {"id": run_id, "resume": "allow"}
        try:
            self._run = wandb.init(**settings)
        except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
            raise ValueError(
                f"Weights & Biases refuses: {_first_line(error)} Run `wandb login`, set WANDB_MODE=offline to keep the"
                " records here for `wandb sync`, or leave out --wandb"
            ) from None
        except wandb.errors.CommError as error:
            say(
                f"Weights & Biases can't be reached ({_first_line(error)}): the records are kept in {folder / 'wandb'},"
                " for `wandb sync`"
            )
            self._run = wandb.init(**settings, mode="offline")
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, record: Mapping[str, Any]) -> None:
        self._run.log({"step": record["step"], **_numbers(record)})

    def show(self, step: int, images: Images) -> None:
        self._run.log({"step": step, **{f"samples/{name}": self._wandb.Image(image) for name, image in images}})

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def require_installed(*, tensorboard: bool, wandb: str | None) -> None:
    """Find out before anything is touched whether what was asked for is there.

    Raises:
        ValueError: it is not installed.
    """
    if tensorboard:
        _summary_writer()
    if wandb is not None:
        _wandb_module()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("TensorBoard is not installed: pip install 'segattn[log]'") from None
    return SummaryWriter


def _wandb_module() -> Any:
    try:
        wandb = import_module("wandb")
    except ImportError:
        wandb = None
    if not hasattr(wandb, "init"):  # in a run's folder, W&B's own records look like a package
        raise ValueError("Weights & Biases is not installed: pip install 'segattn[log]'")
    return wandb


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {f"{record['kind']}/{key}": value for key, value in record.items() if isinstance(value, float)}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _plain(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cut(path: Path, progress: Progress) -> None:
    """Take from the file what a resumed run will write again, and lines that a crash left half-written."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
            limit = progress.validated if record["kind"] == "validation" else progress.step
            if record["step"] <= limit:
                kept.append(line + b"\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(kept))
