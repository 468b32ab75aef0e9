"""Agent attention: where the agent at a pixel gathers from and who reads from it, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from torch import Tensor, nn

from segattn.attention.agent import AgentAttention
from segattn.explaining.panels import (
    Array,
    Hook,
    Idea,
    MapPanel,
    MapsPanel,
    Panel,
    Part,
    Pixel,
    Scene,
    Target,
    as_array,
    stages,
)
from segattn.models.segmenter import Segmenter

Block = tuple[int, int]
"""(stage, block in the stage), counted from 1."""


class Agents(Idea):
    """Of the agent in whose cell the asked pixel lies, for each stage and block with agents, both counted from 1:

    `agent_gather.STAGE.BLOCK` (heads, h, w): how much it gathers from each token; each head sums to 1.
    `agent_read.STAGE.BLOCK` (heads, h, w): how much of what each token reads is read from it, 0..1; summed over all
    agents this would be 1 at each token.
    `agent_gather_unbiased.STAGE.BLOCK`, `agent_read_unbiased.STAGE.BLOCK`: the same, were the position biases zero.
    """

    name = "agents"

    def __init__(self, modules: dict[Block, AgentAttention], target: Target) -> None:
        self.modules, self.target = modules, target
        self.last = {stage: max(b for s, b in modules if s == stage) for stage, _ in modules}
        self.arrays: dict[str, Array] = {}
        self.inputs: dict[int, Tensor] = {}  # of each stage's last block

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> Agents | None:
        modules = stages(model, AgentAttention)
        return cls(modules, target) if modules else None

    def hooks(self) -> list[Hook]:
        return [(module, partial(self._read, block)) for block, module in self.modules.items()]

    def _read(self, block: Block, module: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        (x,) = arguments
        attention = self.modules[block]
        agent = self._agent(attention, self.target[:2])
        stage, number = block
        for biases, suffix in ((True, ""), (False, "_unbiased")):
            gather, read = attention.agent_maps(x, [agent], biases=biases)
            self.arrays[f"agent_gather{suffix}.{stage}.{number}"] = as_array(gather[0, :, 0])
            self.arrays[f"agent_read{suffix}.{stage}.{number}"] = as_array(read[0, :, 0])
        if self.last[stage] == number:
            self.inputs[stage] = x

    def _agent(self, attention: AgentAttention, pixel: Pixel) -> int:
        rows, columns = attention.shape.agents
        row, column = self.target.cell((rows, columns), pixel)
        return row * columns + column

    def _means(self, stage: int, kind: int, pixels: Sequence[Pixel]) -> Iterator[Array]:
        """(h, w), the mean over heads, of each pixel's agent; `kind` 0 gathers and 1 reads."""
        attention = self.modules[stage, self.last[stage]]
        agents = [self._agent(attention, pixel) for pixel in pixels]
        different = list(dict.fromkeys(agents))
        maps = attention.agent_maps(self.inputs[stage], different, biases=True)[kind][0].mean(0)
        return (as_array(maps[different.index(agent)]) for agent in agents)

    def part(self, scene: Scene) -> Part:
        panels: list[Panel] = []
        for stage, block in self.last.items():
            attention = self.modules[stage, block]
            rows, columns = attention.shape.agents
            heads = f"mean of {attention.heads} heads" if attention.heads > 1 else "one head"
            where = f"stage {stage}, block {block}"
            ending = f"{stage}.{block}"
            maps = {name: self.arrays[f"agent_{name}.{ending}"].mean(0) for name in ("gather", "read")}
            plain = {name: self.arrays[f"agent_{name}_unbiased.{ending}"].mean(0) for name in ("gather", "read")}
            moved = 0.5 * float(np.abs(maps["gather"] - plain["gather"]).sum())
            others: list[Callable[[Sequence[Pixel]], Iterator[Array]]]
            others = [partial(self._means, stage, kind) for kind in (0, 1)]
            panels += [
                MapPanel(
                    name=f"agent_gather.{ending}",
                    title=f"Where the pixel's agent gathers, {where}",
                    text=f"One of {rows} x {columns} agents, the one that lies on the pixel; {heads}.",
                    unit="share of what it gathers, sums to 1",
                    values=maps["gather"],
                    others=others[0],
                ),
                MapPanel(
                    name=f"agent_read.{ending}",
                    title=f"Who reads from the pixel's agent, {where}",
                    text=f"Even reading would give {1 / (rows * columns):.2g} everywhere; {heads}.",
                    unit="share of what each token reads",
                    values=maps["read"],
                    others=others[1],
                ),
                MapsPanel(
                    name=f"agent_unbiased.{ending}",
                    title=f"The same without position biases, {where}",
                    text="What content alone does. The biases move "
                    f"{moved:.0%} of what the agent gathers to other tokens.",
                    unit="share",
                    values=np.stack([plain["gather"], plain["read"]]),
                    labels=("gathers", "is read"),
                ),
            ]
        return Part(self.arrays, panels)
