"""Loggers of the caller's: any tracker by four methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from segattn.contracts import cut
from segattn.training.sinks import Images


class Logger(Protocol):
    """What a run tells to a tracker of yours, by the process that writes its files (the first one).

    The calls come in this order, and after an error in `log` or `images` no more but `finish`.
    """

    def start(self, config: Mapping[str, Any]) -> None:
        """Before the first step, once a process; an error here ends the run before it begins.

        Args:
            config: "run" (the folder's name), "folder" (its path), "step" (steps done before: above 0 where a run
                continues, and then what was logged from beyond it will come again) and "recipe" (plain data).
        """
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name, such as "train/loss" and "validation/miou", after `step` steps."""
        ...

    def images(self, step: int, images: Images) -> None:
        """Names and (H, W, 3) uint8 RGB images: validation images with ground truth and prediction side by side."""
        ...

    def finish(self, *, failed: bool) -> None:
        """The end of this call of `train`; `failed` if by an error. A run that a signal stopped did not fail."""
        ...


class LoggerSink:
    """A `Logger` as a sink of records. One that fails in a run is told of no more, as a run is worth more than its log.

    Args:
        say: takes a line for the user.
    """

    def __init__(self, logger: Logger, config: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self._logger, self._say, self._works = logger, say, True
        logger.start(config)

    def write(self, record: Mapping[str, Any]) -> None:
        prefix = record["kind"]
        values = {f"{prefix}/{name}": value for name, value in record.items() if isinstance(value, float)}
        self._tell(lambda: self._logger.log(record["step"], values))

    def show(self, step: int, images: Images) -> None:
        self._tell(lambda: self._logger.images(step, images))

    def close(self, *, failed: bool) -> None:
        self._works = True
        self._tell(lambda: self._logger.finish(failed=failed))

    def _tell(self, call: Callable[[], None]) -> None:
        if not self._works:
            return
        try:
            call()
        except Exception as error:  # whatever a tracker of others raises
            self._works = False
            name, text = type(self._logger).__name__, cut(str(error) or type(error).__name__)
            self._say(f"the logger {name} failed ({text}): it is told of no more of this run, which goes on")


def require_loggers(loggers: Sequence[Logger]) -> None:
    """Raises ValueError for a logger that lacks one of the four methods, and for one that is not in a list."""
    if not isinstance(loggers, Sequence):
        raise ValueError(f"loggers: a list was expected, got one {type(loggers).__name__}")
    for logger in loggers:
        lacking = [name for name in ("start", "log", "images", "finish") if not callable(getattr(logger, name, None))]
        if lacking:
            raise ValueError(
                f"the logger {type(logger).__name__} has no {', '.join(lacking)}; a segattn.Logger has start, log,"
                " images and finish"
            )
