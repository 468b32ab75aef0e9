"""Losses that are not finite or grow: found within a few steps, and named with their images."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import torch
from accelerate import Accelerator
from torch import Tensor

from segattn.processes import place
from segattn.training.signals import Interrupted, StopRequest
from segattn.training.state import Progress


class DivergedError(ValueError):
    """Training is lost: its loss is no number any more, or exploded."""


class NonFiniteLossError(DivergedError):
    """A loss became NaN or infinite."""


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
        if place().world == 1 and self.request.received is not None:
            raise Interrupted

    def add(self, step: int, totals: Sequence[Tensor], names: list[Sequence[str]]) -> None:
        """Look at the step before, then keep this one: its losses and image names by micro-batch.

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
        if place().world == 1:
            self.stop = self.request.received is not None

    def flush(self) -> None:
        """Look at the step that `add` kept, now."""
        if self._pending is None:
            return
        (step, broken, shared, names), self._pending = self._pending, None
        count, asked, total = shared.tolist()
        self.stop = self.stop or asked > 0
        if not count:
            self.growth.look(step, total / place().world, [name for group in names for name in group])
            return
        mine = [name for group, bad in zip(names, broken.tolist(), strict=True) if bad for name in group]
        where = f"with the images {', '.join(mine)}" if mine else "in another process"
        raise NonFiniteLossError(
            f"step {step}: the loss is not finite, {where}. Nothing of it was saved: the last checkpoint is older."
            " Lower schedule.lr, set training.clip_norm, or look at these images and their masks"
        )


PATIENCE = 20
"""Steps in a row with a high loss that end a run: single hard batches don't."""

_MEMORY = 100
"""Steps that the running median is of."""

_ENOUGH = 50
"""Steps from which it is used."""


class ExplodingLossError(DivergedError):
    """The loss stayed far above its running median."""


class LossGrowth:
    """Compares the loss of each step with the median of those before, high ones left out.

    What it remembers is part of `progress`, so a resumed run stops where an uninterrupted one does.

    Args:
        factor: a loss is high when it is above this many times the median; None for no limit.
    """

    def __init__(self, progress: Progress, factor: float | None) -> None:
        self._progress, self._factor = progress, factor
        self._first: Sequence[str] = ()

    def look(self, step: int, loss: float, names: Sequence[str]) -> None:
        """One more step: its loss, the mean over all processes, and the names of this process's images.

        Raises:
            ExplodingLossError: it is the last of `PATIENCE` high ones in a row.
        """
        if self._factor is None:
            return
        calm, usual = self._progress.calm_losses, 0.0
        if len(calm) >= _ENOUGH:
            usual = median(calm)
        if not 0 < self._factor * usual < loss:
            calm.append(loss)
            del calm[:-_MEMORY]
            self._progress.high_steps = 0
            return
        self._progress.high_steps += 1
        if self._progress.high_steps == 1:
            self._first = names
        if self._progress.high_steps < PATIENCE:
            return
        began = step - self._progress.high_steps + 1
        known = self._first or names  # after a resume the first ones are not known any more
        raise ExplodingLossError(
            f"step {step}: the loss is {loss:.4g} and has been more than {self._factor:g} times its usual {usual:.4g}"
            f" since step {began}. Here, step {began if self._first else step} had the images {', '.join(known)}."
            " Lower schedule.lr, set training.clip_norm, look at these images and their masks, or set"
            " training.max_loss_growth to null to go on regardless"
        )
