"""Signals during training: finish the step, save, and leave."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGINT)

AGAIN = 2.0
"""Seconds after which a second SIGINT is meant."""


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """A signal asked the run to stop while a block under `StopRequest.at_once` was running."""


class StopRequest:
    """Within its block, SIGTERM and SIGINT are noted rather than deadly. Ctrl-C once more ends the process at once.

    Not SIGTERM, which comes several times from launchers that tell the process and then its group, as `timeout` does;
    nor another SIGINT within `AGAIN` seconds, as from torchrun after a Ctrl-C that all processes got.

    Attributes:
        received: the name of the signal that came, else None.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._since = 0.0
        self._at_once = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # nobody else may install handlers
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if number == signal.SIGINT and time.monotonic() - self._since > AGAIN:
                raise KeyboardInterrupt
            return
        self.received, self._since = signal.Signals(number).name, time.monotonic()
        if self._at_once:
            raise Interrupted

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """For work that changes nothing that is saved: a signal leaves the block with `Interrupted`."""
        self._at_once = True
        try:
            if self.received is not None:
                raise Interrupted
            yield
        finally:
            self._at_once = False
