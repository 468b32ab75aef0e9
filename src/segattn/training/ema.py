"""An exponential moving average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class EMA:
    """A second model whose weights trail those of a first one.

    Parameters and floating buffers (running statistics of norms) are averaged; other buffers (counters) are copied. The
    n-th update, from 1, uses the decay min(decay, n / (n + 9)), so that the random start is soon forgotten and short
    runs profit too.

    Args:
        model: is deep-copied; `EMA.model` is that copy, in eval mode.
        decay: of the average, 0 < decay < 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"ema_decay {decay}: expected a number between 0 and 1")
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights of `model`."""
        self.updates += 1
        weight = 1 - min(self.decay, self.updates / (self.updates + 9))
        averages, values = [], []
        for mine, theirs in zip(_tensors(self.model), _tensors(model), strict=True):
            if mine.is_floating_point():
                averages.append(mine)
                values.append(theirs)
            else:
                mine.copy_(theirs)
        torch._foreach_lerp_(averages, values, weight)


def _tensors(model: nn.Module) -> list[Tensor]:
    """Parameters (this process's parts where they are sharded) and buffers, each once even if two modules share it."""
    tensors = [*model.parameters(), *model.buffers()]
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
