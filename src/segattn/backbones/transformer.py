"""The block of Swin and PVT: attention and a perceptron, each after a layer norm, around a residual."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segattn.layers import DropPath


class Perceptron(nn.Module):
    """Linear to `ratio` times the channels, exact GELU, linear back; on the last axis."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, ratio * channels)
        self.fc2 = nn.Linear(ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class TransformerBlock(nn.Module):
    """(B, h, w, C) -> (B, h, w, C): x + attention(norm(x)), then x + perceptron(norm(x)), both with drop path."""

    def __init__(
        self, channels: int, attention: nn.Module, *, mlp_ratio: int, drop_path: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=norm_eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(channels, eps=norm_eps)
        self.mlp = Perceptron(channels, mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


def initialize_linear(network: nn.Module) -> None:
    """Linear layers truncated normal with deviation 0.02, their biases 0. Norms and convolutions stay as they are."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
