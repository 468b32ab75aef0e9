"""One forward pass of training: from a batch of pictures and labels to loss terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from segattn.contracts import SegmentationModel, SegOutput
from segattn.layers import channels_last
from segattn.losses.terms import LossTerm
from segattn.losses.total import SegmentationLoss
from segattn.machine import automatic_precision
from segattn.recipes.schema import Recipe
from segattn.training.freeze import freeze
from segattn.training.recompute import recompute_blocks

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

    def forward(self, images: Tensor, labels: Tensor, divisors: Tensor | None = None) -> dict[str, Tensor]:
        """RGB (B, 3, H, W) uint8 and labels (B, H, W) int64 -> float32 scalars by name, "total" among them.

        `divisors` are those of `SegmentationLoss.divisors`, averaged over the optimiser step.
        """
        model: SegmentationModel = self.model  # type: ignore[assignment]
        output = self.outputs(images)
        losses: dict[str, Tensor] = self.loss(output, labels, divisors, align_corners=model.align_corners)
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
