"""VAN: the gate of large-kernel attention, stage by stage, and how far the network really sees."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segattn.attention.large_kernel import LargeKernelGate
from segattn.backbones.van import VAN, Block
from segattn.explaining.panels import Array, Hook, Idea, MapPanel, Panel, Part, Scene, Target, as_array, stages
from segattn.models.segmenter import Segmenter


class Gate(Idea):
    """`large_kernel_gate.STAGE` (blocks, h, w): the mean over channels of the size of each block's gate, from 0 without
    bound.

    The gate is what features are multiplied by (equation 1 of the VAN paper); it has both signs, so its absolute value
    is averaged: 0 closes, 1 lets pass, more amplifies. Stages count from 1.
    """

    name = "large_kernel"

    def __init__(self, modules: dict[tuple[int, int], LargeKernelGate]) -> None:
        self.modules = modules
        self.maps: dict[int, list[Array]] = {stage: [] for stage, _ in modules}

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> Gate | None:
        modules = stages(model, LargeKernelGate)
        return cls(modules) if modules else None

    def hooks(self) -> list[Hook]:
        return [(module.conv1, partial(self._read, stage)) for (stage, _), module in self.modules.items()]

    def _read(self, stage: int, module: nn.Module, arguments: Any, output: Tensor) -> None:
        self.maps[stage].append(as_array(output[0].abs().mean(0)))

    def part(self, scene: Scene) -> Part:
        arrays = {f"large_kernel_gate.{stage}": np.stack(maps) for stage, maps in self.maps.items()}
        panels: list[Panel] = [
            MapPanel(
                name=f"large_kernel_gate.{stage}",
                title=f"Gate of large-kernel attention, stage {stage}",
                text=f"Size of the gate in the last of {len(maps)} blocks, mean over its channels: 0 closes, 1 lets "
                f"pass, more amplifies. The whole map's mean is {maps[-1].mean():.3g}.",
                unit="mean of |gate|",
                values=maps[-1],
            )
            for stage, maps in self.maps.items()
        ]
        return Part(arrays, panels)


class ReceptiveField(Idea):
    """`receptive_field` (h, w), at the size of the network's input: how much each pixel sways the asked cell.

    The gradient of the sum over channels of the last block's map at the pixel's cell, by the normalised input (after
    the norm that follows, that sum would be nearly constant): absolute values, summed over the three colours and
    divided by their whole sum (Luo et al., 2016, arXiv 1701.04128, there averaged over inputs; here of one image). Sums
    to 1. The cell is the one whose middle, stride * its index, is nearest to the pixel: up to half a stride beside it.
    `receptive_field_side` (): side in pixels of the square around the cell's middle that holds 95% of it.

    The network's own pass keeps the input of each block, and each is computed once more on the way back: no more than
    part of one block's inner maps exist at a time.
    """

    name = "receptive_field"

    def __init__(self, backbone: VAN, target: Target) -> None:
        self.backbone, self.target = backbone, target
        self.inputs: list[Tensor] = []
        self.seen: Sequence[int] = ()

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> ReceptiveField | None:
        return cls(model.backbone, target) if isinstance(model.backbone, VAN) else None

    def hooks(self) -> list[Hook]:
        return [(module, self._read) for module in self.backbone.chain()]

    def _read(self, module: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        if not self.inputs:
            self.seen = arguments[0].shape[-2:]
        self.inputs.append(arguments[0])

    def part(self, scene: Scene) -> Part:
        stride = self.backbone.strides[-1]
        gradient: Tensor | None = None
        for module in reversed(self.backbone.chain()):
            x = self.inputs.pop()
            if gradient is None:
                pixel = self.target.cell(self.seen)
                row, column = (min(round(p / stride), n - 1) for p, n in zip(pixel, x.shape[-2:], strict=True))
                gradient = torch.zeros_like(x)
                gradient[0, :, row, column] = 1
            gradient = module.gradient(x, gradient) if isinstance(module, Block) else _gradient(module, x, gradient)
        assert gradient is not None
        sway = as_array(gradient[0].abs().sum(0))
        sway /= max(sway.sum(), np.finfo(np.float32).tiny)
        side = _side(sway, row * stride, column * stride, share=0.95)
        panel: Panel = MapPanel(
            name="receptive_field",
            title="Effective receptive field",
            text=f"How much each pixel sways the last block's map at the asked pixel. A square of {side} pixels "
            f"around the cell's middle holds 95% (the network's input has {sway.shape[0]} x {sway.shape[1]}).",
            unit="share of the gradient, sums to 1",
            values=sway,
            of_pixel=True,
        )
        return Part({"receptive_field": sway, "receptive_field_side": np.int64(side).reshape(())}, [panel])


def _gradient(module: nn.Module, x: Tensor, by_output: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = module(x)
    return torch.autograd.grad(y, x, by_output)[0]


def _side(sway: Array, row: int, column: int, *, share: float) -> int:
    """Of the smallest square around a pixel, cut at the border, that holds the share."""
    rows, columns = np.ogrid[: sway.shape[0], : sway.shape[1]]
    distance = np.maximum(np.abs(rows - row), np.abs(columns - column))
    held = np.bincount(distance.ravel(), weights=sway.ravel()).cumsum()
    return 2 * int((held < share * held[-1]).sum()) + 1
