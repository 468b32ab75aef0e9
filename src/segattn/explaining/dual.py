"""DANet's two attentions: the row of a pixel, and the channels that move together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from segattn.attention.dual import ChannelAttention, PositionAttention, position_rows
from segattn.explaining.panels import (
    Array,
    Hook,
    Idea,
    MapPanel,
    MapsPanel,
    MatrixPanel,
    Panel,
    Part,
    Pixel,
    Scene,
    Target,
    as_array,
    last_of,
)
from segattn.models.segmenter import Segmenter

GROUPS = 8
"""Of channels, at most."""


class Position(Idea):
    """`position_attention` (h, w): how much the pixel's cell takes from each cell of the head's map; sums to 1.

    The row of the softmax of DANet's equation 1, from the cell's query and all keys. `position_gamma` (): the learned
    weight of what is taken, beside 1 for the map itself; 0 would mean that attention plays no part.
    """

    name = "position"

    def __init__(self, module: PositionAttention, target: Target) -> None:
        self.module, self.target = module, target
        self.q: Tensor
        self.k: Tensor

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> Position | None:
        module = last_of(model, PositionAttention)
        return module and cls(module, target)

    def hooks(self) -> list[Hook]:
        return [(self.module.query, self._read_query), (self.module.key, self._read_key)]

    def _read_query(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        self.q = output

    def _read_key(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        self.k = output

    def rows(self, pixels: Sequence[Pixel]) -> Iterator[Array]:
        """(h, w) of each pixel."""
        h, w = self.q.shape[-2:]
        q, k = self.q.flatten(2), self.k.flatten(2)
        for pixel in pixels:
            row, column = self.target.cell((h, w), pixel)
            yield as_array(position_rows(q, k, [row * w + column])[0, 0].view(h, w))

    def part(self, scene: Scene) -> Part:
        gamma = float(self.module.gamma)
        (attention,) = self.rows([scene.target[:2]])
        spread = int((np.sort(attention, axis=None)[::-1].cumsum() < 0.5).sum()) + 1
        panel = MapPanel(
            name="position_attention",
            title="Position attention of the pixel",
            text=f"How much the pixel's cell takes from each cell. Half of it comes from {spread} of {attention.size} "
            f"cells. What is taken is added with the learned weight gamma = {gamma:.3g}.",
            unit="share of the row, sums to 1",
            values=attention,
            others=self.rows,
        )
        arrays = {"position_attention": attention, "position_gamma": np.float32(gamma).reshape(())}
        return Part(arrays, [panel])


class Channel(Idea):
    """`channel_attention` (C, C): how much each channel (row) takes from each channel; rows sum to 1.

    `channel_groups` (C,): for each channel the group (0 is the largest) of those whose rows are alike, found by
    agglomerative clustering with complete linkage: each channel begins alone, and of all groups those two are joined
    whose least alike members are most alike (cosine of their rows, less the mean row), until `GROUPS` are left.
    `channel_maps` (groups, h, w): the mean of each group's channels, which go into the attention, not negative.
    """

    name = "channel"

    def __init__(self, module: ChannelAttention) -> None:
        self.module = module
        self.attention: Array
        self.maps: Array

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> Channel | None:
        module = last_of(model, ChannelAttention)
        return module and cls(module)

    def hooks(self) -> list[Hook]:
        return [(self.module, self._read)]

    def _read(self, module: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        (x,) = arguments
        self.attention = as_array(self.module.attention(x)[0])
        self.groups = group_rows(self.attention, GROUPS)
        which = range(self.groups.max() + 1)
        self.maps = np.stack([as_array(x[0, self.groups == group].mean(0)) for group in which])

    def part(self, scene: Scene) -> Part:
        order = np.argsort(self.groups, kind="stable")
        sizes = np.bincount(self.groups)
        own = float(np.diag(self.attention).mean())
        matrix = MatrixPanel(
            name="channel_attention",
            title="Channel attention, channels ordered by group",
            text="How much each channel (row) takes from each channel (column). As in the released code, channels take "
            f"from those that are least like them: the mean weight of a channel's own is {own:.3g}.",
            unit="share of the row, sums to 1",
            values=self.attention[np.ix_(order, order)],
            axes=("channel", "takes from channel"),
        )
        maps = MapsPanel(
            name="channel_groups",
            title="Groups of channels that move together",
            text="Channels are in one group where they take from the same channels; shown is the mean of each group.",
            unit="mean activation",
            values=self.maps,
            labels=tuple(f"group {i}: {size} channel{'s' if size > 1 else ''}" for i, size in enumerate(sizes)),
        )
        panels: list[Panel] = [matrix, maps]
        arrays = {"channel_attention": self.attention, "channel_groups": self.groups, "channel_maps": self.maps}
        return Part(arrays, panels)


def group_rows(rows: Array, groups: int) -> Array:
    """(n, m) -> (n,) int64, the group of each row, the largest group first; see `Channel`."""
    rows = rows - rows.mean(0)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    member = np.arange(len(rows))
    for _ in range(len(rows) - groups):
        a, b = divmod(int(likeness.argmax()), len(rows))
        joined = np.minimum(likeness[a], likeness[b])  # -inf at a and b
        likeness[a], likeness[:, a] = joined, joined
        likeness[b], likeness[:, b] = -np.inf, -np.inf
        member[member == b] = a
    names, counts = np.unique(member, return_counts=True)
    rank = {name: i for i, name in enumerate(names[np.argsort(-counts, kind="stable")])}
    return np.array([rank[name] for name in member], np.int64)
