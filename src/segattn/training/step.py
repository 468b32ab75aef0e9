"""One forward pass of training: from a batch of pictures and labels to loss terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from segattn.contracts import SegmentationModel
from segattn.losses.terms import LossTerm
from segattn.losses.total import SegmentationLoss, resize_output

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

    def forward(self, images: Tensor, labels: Tensor, divisors: Tensor | None = None) -> dict[str, Tensor]:
        """RGB (B, 3, H, W) uint8 and labels (B, H, W) int64 -> float32 scalars by name, "total" among them.

        `divisors` are those of `SegmentationLoss.divisors`, averaged over the optimiser step.
        """
        model: SegmentationModel = self.model  # type: ignore[assignment]
        x = model.normalize(images).contiguous(memory_format=self.memory_format)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            output = model.segment(x)
        output = resize_output(output, labels.shape[-2:], align_corners=model.align_corners)
        losses: dict[str, Tensor] = self.loss(output, labels, divisors)
        return losses
