"""Swin and Agent-Swin: stages of shifted-window attention, or of agent attention in their place.

Swin: arXiv 2103.14030. Agent-Swin: Agent Attention, arXiv 2312.08874, section 5 and its released segmentation code,
whose parameter names are kept. Blocks of agent attention see the whole map: the window size 56 of their configuration
has no effect. Blocks of window attention with an odd index in their stage are always shifted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.attention.agent import AgentShape, SwinAgentAttention
from segattn.attention.window import WindowAttention
from segattn.backbones.transformer import TransformerBlock, initialize_linear
from segattn.layers import block_paths, drop_path_rates

if TYPE_CHECKING:
    from segattn.contracts import Features

WINDOW = 7
MLP_RATIO = 4
NORM_EPS = 1e-5

AGENTS = (
    AgentShape(grid=56, trained=3, agents=(9, 9)),
    AgentShape(grid=28, trained=4, agents=(12, 12)),
    AgentShape(grid=14, trained=7, agents=(14, 14)),
    AgentShape(grid=7, trained=7, agents=(7, 7)),
)
"""Agents of each stage, for stages that have agent attention."""

Kind = Literal["A", "B"]


class SwinShape(NamedTuple):
    """A size of Agent-Swin.

    Attributes:
        attention: one letter a stage: A agent attention, B window attention, M mixed, of which as many blocks as the
            number after the letters says are A, from the stage's start.
    """

    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    attention: str


SWIN_SHAPES = {
    "t": SwinShape(96, (2, 2, 6, 2), (3, 6, 12, 24), "AAAB"),
    "s": SwinShape(96, (2, 2, 18, 2), (3, 6, 12, 24), "AABB"),
    "b": SwinShape(128, (2, 2, 18, 2), (4, 8, 16, 32), "AAMB2"),
}


def block_kinds(attention: str, depths: tuple[int, ...]) -> tuple[tuple[Kind, ...], ...]:
    """The kind of every block, stage by stage, from an attention string such as AAMB2.

    Raises:
        ValueError: for anything but one letter A, B or M a stage and, with M, a number of blocks.
    """
    letters, number = attention[: len(depths)], attention[len(depths) :]
    if len(letters) != len(depths) or set(letters) - set("ABM") or ("M" in letters) != number.isdecimal():
        raise ValueError(
            f"attention string {attention!r}: expected {len(depths)} letters, each A (agents), B (windows) or M (mixed)"
            ", and after them, where there is an M, the number of its blocks with agents, as in AAMB2"
        )
    agents = {"A": max(depths), "B": 0, "M": int(number or 0)}
    return tuple(
        tuple("A" if i < agents[letter] else "B" for i in range(depth))
        for letter, depth in zip(letters, depths, strict=True)
    )


class PatchEmbedding(nn.Module):
    """(B, in_channels, H, W) -> (B, ceil(H / 4), ceil(W / 4), C); the image is padded right and bottom with zeros."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 4, stride=4)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[2:]
        x = F.pad(x, (0, (W + 3) // 4 * 4 - W, 0, (H + 3) // 4 * 4 - H))
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class PatchMerging(nn.Module):
    """(B, h, w, C) -> (B, ceil(h / 2), ceil(w / 2), 2 C): cells of 2 x 2 tokens, concatenated column by column."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels, eps=NORM_EPS)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, (w + 1) // 2 * 2 - w, 0, (h + 1) // 2 * 2 - h))
        even, odd = x[:, 0::2], x[:, 1::2]
        x = torch.cat([even[:, :, 0::2], odd[:, :, 0::2], even[:, :, 1::2], odd[:, :, 1::2]], dim=-1)
        out: Tensor = self.reduction(self.norm(x))
        return out


class Stage(nn.Module):
    """Blocks on one map size, and the step down to the next stage, None in the last."""

    def __init__(
        self,
        channels: int,
        heads: int,
        kinds: tuple[Kind, ...],
        agents: AgentShape,
        drop_path: list[float],
        *,
        last: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential()
        for i, (kind, rate) in enumerate(zip(kinds, drop_path, strict=True)):
            attention: nn.Module
            if kind == "A":
                attention = SwinAgentAttention(channels, heads, agents)
            else:
                attention = WindowAttention(channels, heads, window=WINDOW, shifted=i % 2 == 1)
            self.blocks.append(
                TransformerBlock(channels, attention, mlp_ratio=MLP_RATIO, drop_path=rate, norm_eps=NORM_EPS)
            )
        self.downsample = None if last else PatchMerging(channels)


class Swin(nn.Module):
    """(B, in_channels, H, W) -> four maps of 1/4 to 1/32, sizes rounded up; any H and W from 1.

    Each stage's map leaves through its own layer norm; what goes on to the next stage is not normalised.

    Args:
        size: t, s or b.
        attention: as `SwinShape.attention`; None for that of Agent-Swin of this size, "BBBB" for plain Swin.
        drop_path: of the last block, growing linearly from 0 at the first (released: 0.3, 0.3, 0.5).
    """

    def __init__(self, size: str, *, attention: str | None = None, drop_path: float, in_channels: int = 3) -> None:
        super().__init__()
        if size not in SWIN_SHAPES:
            raise ValueError(f"Swin size {size!r}: expected one of {', '.join(SWIN_SHAPES)}")
        shape = SWIN_SHAPES[size]
        self.channels: tuple[int, ...] = tuple(shape.width * 2**i for i in range(4))
        self.strides: tuple[int, ...] = (4, 8, 16, 32)
        self.patch_embed = PatchEmbedding(in_channels, shape.width)
        kinds = block_kinds(shape.attention if attention is None else attention, shape.depths)
        rates = drop_path_rates(drop_path, shape.depths)
        self.layers = nn.ModuleList(
            Stage(self.channels[i], shape.heads[i], kinds[i], AGENTS[i], rates[i], last=i == 3) for i in range(4)
        )
        for i, channels in enumerate(self.channels):
            self.add_module(f"norm{i}", nn.LayerNorm(channels, eps=NORM_EPS))
        self.blocks = block_paths(self, tuple(f"layers.{s}.blocks" for s in range(4)))
        self.block_of = {f"norm{s}": f"layers.{s}.blocks.{depth - 1}" for s, depth in enumerate(shape.depths)}
        initialize_linear(self)

    def forward(self, x: Tensor) -> Features:
        x = self.patch_embed(x)
        features = []
        for i, stage in enumerate(self.layers):
            assert isinstance(stage, Stage)
            x = stage.blocks(x)
            features.append(self.get_submodule(f"norm{i}")(x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return tuple(features)
