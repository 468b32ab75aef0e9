"""Activation checkpointing: time for memory (arXiv 1604.06174).

Only what enters each block of the backbone is kept for the backward pass, which then computes the block's inside once
more. The same operators run on the same numbers, so loss and gradients are the same bits wherever the operators repeat
themselves, as they do on CPU. Two things would go wrong by themselves: batch norms would count the same batch twice,
and on devices whose random state `torch.utils.checkpoint` doesn't look after (MPS), a block would draw other paths to
drop. `blocks.py` says which modules are blocks; heads keep all that they have.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from segattn.training.blocks import backbone_blocks


def recompute_blocks(model: nn.Module) -> None:
    """Every block of the model's backbone computes its inside again in the backward pass, in place.

    Parameters, their names and what the model computes stay the same; evaluation is not concerned.

    Raises:
        ValueError: the model has no backbone, or one that declares no blocks.
    """
    for path in backbone_blocks(model, "training.checkpoint_activations"):
        block = model.get_submodule(path)
        block.__class__ = _recomputed(type(block))  # type: ignore[arg-type]


class _Recomputed(nn.Module):
    """Goes in front of a block's own class."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            out: Tensor = super().forward(x)
        elif torch.compiler.is_compiling():  # recomputes values alone, without the writes to a norm's statistics
            out = checkpoint(super().forward, x, use_reentrant=False)
        else:
            out = checkpoint(super().forward, x, use_reentrant=False, context_fn=partial(_contexts, self, x.device))
        return out


@cache
def _recomputed(block: type[nn.Module]) -> type[nn.Module]:
    return type(block.__name__, (_Recomputed, block), {"__module__": block.__module__})


def _contexts(block: nn.Module, device: torch.device) -> tuple[nullcontext[None], _SecondRun]:
    """For the first run of a block's inside, and for the second."""
    return nullcontext(), _SecondRun(block, device)


class _SecondRun:
    """Norms write to copies of their statistics, and the device draws what it drew before."""

    def __init__(self, block: nn.Module, device: torch.device) -> None:
        self.norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
        self.device = device
        self.state = _random_state(device)

    def __enter__(self) -> None:
        self.statistics = [dict(norm.named_buffers()) for norm in self.norms]
        for norm, statistics in zip(self.norms, self.statistics, strict=True):
            for name, buffer in statistics.items():
                setattr(norm, name, buffer.clone())
        self.present_state = _random_state(self.device)
        _set_random_state(self.device, self.state)

    def __exit__(self, *error: object) -> None:
        _set_random_state(self.device, self.present_state)
        for norm, statistics in zip(self.norms, self.statistics, strict=True):
            for name, buffer in statistics.items():
                setattr(norm, name, buffer)


def _random_state(device: torch.device) -> Tensor | None:
    """Of a device that `torch.utils.checkpoint` leaves alone: one that draws numbers without being "initialized"."""
    module = torch.get_device_module(device)
    if hasattr(module, "_initialized") or not hasattr(module, "get_rng_state"):
        return None
    state: Tensor = module.get_rng_state()
    return state


def _set_random_state(device: torch.device, state: Tensor | None) -> None:
    if state is not None:
        torch.get_device_module(device).set_rng_state(state)
