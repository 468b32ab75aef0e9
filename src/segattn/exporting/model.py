"""An exported file as a torch module, which every protocol runs as it runs the network itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from segattn.contracts import SegOutput
from segattn.exporting.engines import Engine
from segattn.exporting.exported import ExportedModel, logits_of
from segattn.models.segmenter import Segmenter
from segattn.normalization import Normalization

if TYPE_CHECKING:
    from segattn.contracts import Features


class _Run(nn.Module):
    """A file as a backbone of one map: the logits at the input's size. It normalises itself, so that is undone here."""

    channels: tuple[int, ...] = ()
    strides: tuple[int, ...] = (1,)
    blocks: tuple[str, ...] = ()

    def __init__(self, engine: Engine, normalization: Normalization) -> None:
        super().__init__()
        self.engine = engine
        self.bgr = normalization.bgr
        low, high = normalization.value_range or (0.0, 1.0)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (normalization.mean, normalization.std))
        self.register_buffer("mean", mean * (high - low) + low, persistent=False)
        self.register_buffer("std", std * (high - low), persistent=False)

    def forward(self, x: Tensor) -> Features:
        images = (x.flip(1) if self.bgr else x) * self.get_buffer("std") + self.get_buffer("mean")
        return (torch.from_numpy(logits_of(self.engine, np.ascontiguousarray(images.numpy()))),)


class _Handed(nn.Module):
    """A head that hands its one map on."""

    def forward(self, features: Features) -> SegOutput:
        return SegOutput(features[0], {})

    def main(self, features: Features) -> Tensor:
        return features[0]


def as_model(engine: Engine, like: Segmenter | ExportedModel) -> Segmenter:
    """A file of logits or probabilities as a model, with the classes of the one that it was made from."""
    model = Segmenter(
        _Run(engine, like.normalization),
        _Handed(),
        num_classes=len(like.classes),
        align_corners=like.align_corners,
        normalization=like.normalization,
    )
    model.classes, model.trained_at, model.temperature = like.classes, like.trained_at, like.temperature
    return model.eval()


def as_segmenter(exported: ExportedModel) -> Segmenter:
    """An opened file as a model on the CPU."""
    return as_model(exported.engine, exported)
