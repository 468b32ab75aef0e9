"""A loss that explodes: finite, but far above what it was, and not coming back."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from segattn.training.checkpoint import Progress

PATIENCE = 20
"""Steps in a row with a high loss that end a run: single hard batches don't."""
_MEMORY = 100
"""Steps that the running median is of."""
_ENOUGH = 50
"""Steps from which it is used."""


class DivergedError(ValueError):
    """Training is lost: its loss is no number any more, or exploded."""


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
        """One more step: its loss, the mean over all processes, and the names of this process's pictures.

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
            f" since step {began}. Here, step {began if self._first else step} had the pictures {', '.join(known)}."
            " Lower schedule.lr, set training.clip_norm, look at these pictures and their masks, or set"
            " training.max_loss_growth to null to go on regardless"
        )
