"""Batch norms that a micro-batch of one image leaves a single value of each channel, which has no deviation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segattn.recipes.schema import Recipe
from segattn.training.freeze import freeze


class _SingleValue(Exception):  # noqa: N818 - the answer to a question
    pass


def require_enough_images(model: nn.Module, recipe: Recipe, processes: int) -> None:
    """Refuse, before any data are read, a micro-batch that a batch norm of this network can't work with.

    The network is run in training mode on tensors without content, at the size of the augmentation's last crop.

    Raises:
        ValueError: such a norm is there, with the settings that decide and what to do.
    """
    settings = recipe.training
    images = settings.batch_size // (settings.accumulation * processes)
    joint = images * processes if settings.sync_norm else images
    if joint != 1:
        return
    norm = _single_valued_norm(model, recipe)
    if norm is None:
        return
    raise ValueError(
        f"training.batch_size {settings.batch_size}, training.accumulation {settings.accumulation} and {processes}"
        f" processes make micro-batches of 1 image, but this network's batch norm {norm} works on maps of 1x1 (pooled"
        " ones) and needs 2 or more: raise training.batch_size, lower training.accumulation or the number of processes,"
        " with several processes set training.sync_norm true, or freeze this norm with training.frozen"
    )


def _single_valued_norm(model: nn.Module, recipe: Recipe) -> str | None:
    """The first norm, in the order of computing, that gets one value a channel; None also where that can't be told."""
    tensors = [*model.parameters(), *model.buffers()]
    memo: dict[int, Any] = {id(tensor): _empty(tensor) for tensor in tensors}
    try:
        network: Any = copy.deepcopy(model, memo)
        freeze(network.train(), recipe.training.frozen)
        for name, module in network.named_modules():
            if isinstance(module, _BatchNorm) and module.training:
                module.register_forward_pre_hook(_refusal(name))
        height, width = _crop(recipe)
        network.segment(network.normalize(torch.empty(1, 3, height, width, dtype=torch.uint8, device="meta")))
    except _SingleValue as found:
        return str(found)
    except Exception:  # a network that can't run without content: its own error comes with the first step
        return None
    return None


def _empty(tensor: Tensor) -> Tensor:
    empty = tensor.detach().to("meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _refusal(name: str) -> Any:
    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            raise _SingleValue(name)

    return look


def _crop(recipe: Recipe) -> tuple[int, int]:
    """Height and width of the last crop; where there is none, a size at which only pooled maps are 1x1."""
    for transform in reversed(recipe.augmentation):
        height, width = getattr(transform, "height", None), getattr(transform, "width", None)
        if isinstance(height, int) and isinstance(width, int):
            return height, width
    return recipe.data.count_at
