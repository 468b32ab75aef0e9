"""Leaving in good order: on a signal between two steps, and on a loss that is no number or explodes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType

import torch
from accelerate import Accelerator
from torch import Tensor

from segattn.training.explosion import DivergedError, LossGrowth

SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN = 2.0
"""Seconds after which a second SIGINT is meant."""


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """A signal asked the run to stop while a block under `StopRequest.at_once` was running."""


class NonFiniteLossError(DivergedError):
    """A loss became NaN or infinite."""


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


class StepWatch:
    """Learns, one step late so that nobody waits for the device, how large a loss was and whether to stop.

    All processes learn the same.
    """

    def __init__(self, accelerator: Accelerator, request: StopRequest, growth: LossGrowth) -> None:
        self.accelerator = accelerator
        self.request = request
        self.growth = growth
        self._pending: tuple[int, Tensor, Tensor, list[Sequence[str]]] | None = None
        self.stop = False

    def begin(self) -> None:
        """Before the first step; a single process has nobody to ask. Raises `Interrupted` if a signal came already."""
        if self.accelerator.num_processes == 1 and self.request.received is not None:
            raise Interrupted

    def add(self, step: int, totals: Sequence[Tensor], names: list[Sequence[str]]) -> None:
        """Look at the step before, then keep this one: its losses and picture names by micro-batch.

        Raises:
            NonFiniteLossError: the step before had a loss that is not finite.
            ExplodingLossError: its loss was one too many that is far above the usual.
        """
        losses = torch.stack([total.detach() for total in totals])
        broken = ~losses.isfinite()
        asked = torch.full_like(losses[0], float(self.request.received is not None))
        shared = self.accelerator.reduce(torch.stack([broken.sum().float(), asked, losses.mean()]), "sum")
        self.flush()
        self._pending = (step, broken, shared, names)
        if self.accelerator.num_processes == 1:
            self.stop = self.request.received is not None

    def flush(self) -> None:
        """Look at the step that `add` kept, now."""
        if self._pending is None:
            return
        (step, broken, shared, names), self._pending = self._pending, None
        count, asked, total = shared.tolist()
        self.stop = self.stop or asked > 0
        if not count:
            self.growth.look(step, total / self.accelerator.num_processes, [name for group in names for name in group])
            return
        mine = [name for group, bad in zip(names, broken.tolist(), strict=True) if bad for name in group]
        where = f"with the pictures {', '.join(mine)}" if mine else "in another process"
        raise NonFiniteLossError(
            f"step {step}: the loss is not finite, {where}. Nothing of it was saved: the last checkpoint is older."
            " Lower schedule.lr, set training.clip_norm, or look at these pictures and their masks"
        )
