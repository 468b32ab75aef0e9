"""PVT and Agent-PVT: stages of spatial-reduction attention, or of agent attention in its place.

PVT: arXiv 2102.12122. Agent-PVT: Agent Attention, arXiv 2312.08874, section 5 and its released segmentation code, whose
parameter names are kept. There a position embedding is resized unless the map has 3136 tokens, stage 1's trained
number, whatever its sides and stage: at 112 x 448 stage 1 adds a table in the wrong layout, and 448 x 448 fails. Here
it is resized wherever height or width differs from the stage's own grid, which is the same everywhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from segattn.attention.agent import AgentAttention, AgentShape
from segattn.attention.spatial_reduction import SpatialReductionAttention
from segattn.backbones.transformer import TransformerBlock, initialize_linear
from segattn.layers import block_paths, drop_path_rates, resize

if TYPE_CHECKING:
    from segattn.contracts import Features

CHANNELS = (64, 128, 320, 512)
HEADS = (1, 2, 5, 8)
MLP_RATIOS = (8, 8, 4, 4)
REDUCTIONS = (8, 4, 2, 1)
NORM_EPS = 1e-6
"""Of the blocks' layer norms; the patch embeddings' have 1e-5."""

AGENTS = (
    AgentShape(grid=56, trained=3, agents=(12, 12)),
    AgentShape(grid=28, trained=4, agents=(16, 16)),
    AgentShape(grid=14, trained=7, agents=(28, 28)),
    AgentShape(grid=7, trained=7, agents=(28, 28)),
)

PVT_DEPTHS = {"t": (2, 2, 2, 2), "s": (3, 4, 6, 3), "m": (3, 4, 18, 3), "l": (3, 8, 27, 3)}
"""Blocks a stage, by size."""


class PVTAgentAttention(AgentAttention):
    """Agent attention with PVT's projections: one linear layer for Q, one for K and V."""

    def __init__(self, channels: int, heads: int, shape: AgentShape) -> None:
        super().__init__(channels, heads, shape)
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        k, v = self.kv(x).chunk(2, dim=-1)
        return self.q(x), k, v


class PatchEmbedding(nn.Module):
    """(B, in, h, w) -> (B, h // patch, w // patch, out); what doesn't fill a patch is dropped."""

    def __init__(self, in_channels: int, out_channels: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, out_channels, patch, stride=patch)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class PVT(nn.Module):
    """(B, in_channels, H, W) -> four maps of 1/4 to 1/32, sizes rounded down, without a norm; H and W from 32.

    Args:
        size: t, s, m or l.
        agents: agent attention in every block (Agent-PVT), or spatial reduction by 8, 4, 2, 1 (PVT).
        drop_path: of the last block, growing linearly from 0 at the first (released Agent-PVT: 0.1; m 0.2).
    """

    def __init__(self, size: str, *, agents: bool = True, drop_path: float, in_channels: int = 3) -> None:
        super().__init__()
        if size not in PVT_DEPTHS:
            raise ValueError(f"PVT size {size!r}: expected one of {', '.join(PVT_DEPTHS)}")
        self.channels: tuple[int, ...] = CHANNELS
        self.strides: tuple[int, ...] = (4, 8, 16, 32)
        rates = drop_path_rates(drop_path, PVT_DEPTHS[size])
        for i, (channels, heads, shape) in enumerate(zip(CHANNELS, HEADS, AGENTS, strict=True)):
            embedding = PatchEmbedding(CHANNELS[i - 1], channels, 2) if i else PatchEmbedding(in_channels, channels, 4)
            blocks = nn.Sequential()
            for rate in rates[i]:
                attention: nn.Module
                if agents:
                    attention = PVTAgentAttention(channels, heads, shape)
                else:
                    attention = SpatialReductionAttention(channels, heads, reduction=REDUCTIONS[i])
                blocks.append(
                    TransformerBlock(channels, attention, mlp_ratio=MLP_RATIOS[i], drop_path=rate, norm_eps=NORM_EPS)
                )
            self.add_module(f"patch_embed{i + 1}", embedding)
            self.register_parameter(f"pos_embed{i + 1}", nn.Parameter(torch.empty(1, shape.grid**2, channels)))
            self.add_module(f"block{i + 1}", blocks)
            nn.init.trunc_normal_(self.get_parameter(f"pos_embed{i + 1}"), std=0.02)
        self.blocks = block_paths(self, ("block1", "block2", "block3", "block4"))
        self.block_of = {f"pos_embed{s}": f"block{s}.0" for s in (2, 3, 4)}
        initialize_linear(self)

    def forward(self, x: Tensor) -> Features:
        if min(x.shape[-2:]) < 32:
            raise ValueError(f"image of {x.shape[-2]} x {x.shape[-1]}: PVT needs 32 pixels or more on each side")
        features = []
        for i in range(1, 5):
            tokens = self.get_submodule(f"patch_embed{i}")(x)
            tokens = tokens + position_map(self.get_parameter(f"pos_embed{i}"), tokens.shape[1], tokens.shape[2])
            x = self.get_submodule(f"block{i}")(tokens).permute(0, 3, 1, 2)
            features.append(x)
        return tuple(features)


def position_map(embedding: Tensor, h: int, w: int) -> Tensor:
    """(1, g * g, C), trained on a g x g map -> (1, h, w, C), bilinear where h or w differs from g."""
    g = round(embedding.shape[1] ** 0.5)
    grid = embedding.view(1, g, g, -1).permute(0, 3, 1, 2)
    return resize(grid, (h, w)).permute(0, 2, 3, 1)
