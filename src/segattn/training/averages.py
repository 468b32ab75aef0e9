"""Means of the loss terms between two records of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class LossMeans:
    """The mean of each loss term over the steps since `clear`, without waiting for the device.

    It counts its steps itself: the clock of `speed.Meter` is also set back by a validation, which these go on over.
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
