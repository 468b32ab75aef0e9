"""AttaNet: which columns a row looks at, and how fine and coarse maps are mixed, channel by channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from segattn.attention.strip import AttentionFusion, StripAttention, strip_weights
from segattn.explaining.panels import (
    Array,
    Hook,
    Idea,
    MapPanel,
    MatrixPanel,
    Panel,
    Part,
    Pixel,
    ProfilePanel,
    Scene,
    Target,
    as_array,
    last_of,
)
from segattn.models.segmenter import Segmenter


class Strip(Idea):
    """`strip_attention` (w, w): of the pixel's row of cells, how much each cell takes from each strip.

    A strip is a column of the head's map, averaged over its height. A row of the array is a cell, and sums to 1.
    `strip_attention_pixel` (w,): the asked pixel's own row of it.
    """

    name = "strip"

    def __init__(self, module: StripAttention, target: Target) -> None:
        self.module, self.target = module, target
        self.Q: Tensor
        self.K: Tensor

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> Strip | None:
        module = last_of(model, StripAttention)
        return module and cls(module, target)

    def hooks(self) -> list[Hook]:
        return [(self.module.query, self._read_query), (self.module.key, self._read_key)]

    def _read_query(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        self.Q = output

    def _read_key(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        self.K = output.mean(dim=2)

    def rows(self, pixels: Sequence[Pixel]) -> Iterator[Array]:
        """(1, w) of each pixel."""
        for pixel in pixels:
            row, column = self.target.cell(self.Q.shape[-2:], pixel)
            yield as_array(strip_weights(self.Q[:, :, row, column, None], self.K)[0].mT)

    def part(self, scene: Scene) -> Part:
        h, w = self.Q.shape[-2:]
        row, column = scene.target.cell((h, w))
        attention = as_array(strip_weights(self.Q[:, :, row], self.K)[0].mT)
        own = attention[column]
        near = float(own[max(0, column - w // 8) : column + w // 8 + 1].sum())
        pixel = MapPanel(
            name="strip_attention_pixel",
            title="Strips that the pixel looks at",
            text=f"How much the pixel takes from each column of the map. {near:.0%} of it comes from columns within an "
            f"eighth of the width; even attention would give {1 / w:.2%} to each of the {w} columns.",
            unit="share of the pixel's attention, sums to 1",
            values=own[None],
            others=self.rows,
        )
        matrix = MatrixPanel(
            name="strip_attention",
            title="Strips that the pixel's whole row looks at",
            text=f"Each line is a cell of row {row + 1} of {h}, from left to right; along it, what it takes from each "
            "strip. "
            "Equal lines mean that all cells of the row look at the same columns.",
            unit="share of the cell's attention, sums to 1",
            values=attention,
            axes=("cell of the row", "strip (column of the map)"),
            of_pixel=True,
        )
        return Part({"strip_attention": attention, "strip_attention_pixel": own}, [pixel, matrix])


class Fusion(Idea):
    """`fusion_weights` (C,): the share of the coarse map in the fused one, per channel, 0..1; the fine has the rest."""

    name = "fusion"

    def __init__(self, module: AttentionFusion) -> None:
        self.module = module
        self.weights: Array

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> Fusion | None:
        module = last_of(model, AttentionFusion)
        return module and cls(module)

    def hooks(self) -> list[Hook]:
        return [(self.module, self._read)]

    def _read(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        self.weights = as_array(output[0, :, 0, 0])

    def part(self, scene: Scene) -> Part:
        order = np.argsort(-self.weights, kind="stable")
        coarse = int((self.weights > 0.5).sum())
        panel: Panel = ProfilePanel(
            name="fusion_weights",
            title="Fusion weights, by channel",
            text=f"The coarse map's share in each channel of the fused map, sorted. {coarse} of {len(order)} channels "
            "take more from the coarse map than from the fine one.",
            unit="share of the coarse map, 0 to 1",
            values=self.weights[order],
            axis="channels, sorted by their weight",
        )
        return Part({"fusion_weights": self.weights}, [panel])
