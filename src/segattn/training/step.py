"""One forward pass of training, and the network made ready for it: frozen parts, norms, precision."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segattn.contracts import SegmentationModel, SegOutput
from segattn.layers import channels_last
from segattn.losses.terms import LossTerm
from segattn.losses.total import SegmentationLoss
from segattn.machine import automatic_precision
from segattn.recipes.schema import Recipe
from segattn.training.activation_checkpoint import recompute_blocks

COMPILER = "inductor"
"""The backend of torch.compile."""

Precision = Literal["float32", "bf16", "fp16"]
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingStep(nn.Module):
    """Normalise, segment, resize, cost: a module of its own, as data parallelism hooks on to `forward` alone.

    Args:
        model: an `nn.Module` that is a `SegmentationModel` too.
        terms: of the loss.
        precision: of the network. Logits are resized and cost in float32 whatever it is.
        channels_last: the memory order of the network's input.
    """

    def __init__(
        self, model: nn.Module, terms: Sequence[LossTerm], *, precision: Precision, channels_last: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = SegmentationLoss(terms)
        self.dtype = _DTYPES[precision]
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.outputs = self._outputs

    def compile_network(self, backend: str) -> None:
        """All but the loss by torch.compile: most losses choose pixels by value, which no compiler sees through.

        The model keeps its modules and their names.
        """
        self.outputs = torch.compile(self._outputs, backend=backend)

    def forward(
        self, images: Tensor, labels: Tensor, divisors: Tensor | None = None, teacher: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Images (B, C, H, W) as `normalize` takes them, and labels (B, H, W) int64 -> float32 scalars by name.

        "total" is among them.
        `divisors` are those of `SegmentationLoss.divisors`, averaged over the optimiser step; `teacher` are the
        logits (B, K, H, W) that a Distillation term reads.
        """
        model: SegmentationModel = self.model  # type: ignore[assignment]
        output = self.outputs(images)
        losses: dict[str, Tensor] = self.loss(
            output, labels, divisors, align_corners=model.align_corners, teacher=teacher
        )
        return losses

    def _outputs(self, images: Tensor) -> SegOutput:
        model: SegmentationModel = self.model  # type: ignore[assignment]
        x = model.normalize(images).contiguous(memory_format=self.memory_format)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return model.segment(x)


def training_step(model: nn.Module, recipe: Recipe) -> TrainingStep:
    """The forward pass that a recipe asks for, of `model`, which is made ready for it in place.

    The model goes into training mode and gets its memory order, frozen parts and blocks that are computed twice.

    Raises:
        ValueError: a pattern of frozen parameters that matches none, or no blocks that could be computed twice.
    """
    settings = recipe.training
    precision = settings.precision
    if precision == "auto":
        precision = automatic_precision(next(model.parameters()).device)
    if settings.channels_last:
        channels_last(model)
    freeze(model.train(), settings.frozen)
    if settings.checkpoint_activations:
        recompute_blocks(model)
    step = TrainingStep(model, recipe.losses, precision=precision, channels_last=settings.channels_last)
    if settings.compile:
        if settings.checkpoint_activations:
            torch._dynamo.config.optimize_ddp = False  # it can't cut a graph in which blocks are computed twice
        step.compile_network(COMPILER)
    return step


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
        images = torch.empty(1, recipe.network.in_channels, height, width, dtype=torch.uint8, device="meta")
        network.segment(network.normalize(images))
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


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Parameters whose name a pattern matches (searched, as `ParameterRule`'s are) stop learning, in place.

    A batch norm whose weight and bias both match, by name, goes into evaluation mode too: it normalises by its running
    statistics and leaves them as they are. That lasts until `train` is called on it, so this comes after that call.
    Other modules, such as dropout, stay as they are.

    Raises:
        ValueError: a pattern matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise ValueError(
                f"training.frozen: {pattern!r} matches no parameter of this model, whose first one is {names[0]!r};"
                " correct the pattern or remove it"
            )

    def is_frozen(name: str) -> bool:
        return any(re.search(pattern, name) for pattern in patterns)

    for name, parameter in model.named_parameters():
        if is_frozen(name):
            parameter.requires_grad_(False)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and is_frozen(f"{name}.weight") and is_frozen(f"{name}.bias"):
            module.eval()
