"""Spatial-reduction attention: keys and values from a map that a strided convolution made smaller.

Wang et al., "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions", ICCV 2021,
arXiv 2102.12122, section 3.3. Code: whai362/PVT.

softmax(d^-1/2 Q K^T) V with Q from the h x w tokens x, and K, V from Norm(SR(x)), where SR is a convolution of size and
stride R (the paper reshapes R x R tokens into channels and applies a linear layer, which is the same map). For R = 1
there is neither convolution nor norm.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segattn.layers import join_heads


class SpatialReductionAttention(nn.Module):
    """(B, h, w, C) -> (B, h, w, C); rows and columns that don't fill an R x R cell are not among keys and values.

    Args:
        channels: C.
        heads: divides C; C // 64 where it is not given, as in the paper's networks.
        reduction: R, at most h and w; the paper's networks have 8, 4, 2 and 1 on maps of 1/4, 1/8, 1/16 and 1/32. The
            default is that of 1/16.
    """

    def __init__(self, channels: int, heads: int | None = None, *, reduction: int = 2) -> None:
        super().__init__()
        heads = max(channels // 64, 1) if heads is None else heads
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.sr = nn.Conv2d(channels, channels, reduction, stride=reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(channels) if reduction > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        reduced = x
        if self.sr is not None and self.norm is not None:
            reduced = self.norm(self.sr(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        q = self.q(x).flatten(1, 2).unflatten(2, (self.heads, -1)).transpose(1, 2)
        kv = self.kv(reduced).flatten(1, 2).unflatten(2, (2, self.heads, -1))
        k, v = (part.transpose(1, 2) for part in kv.unbind(2))
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(join_heads(y).view(x.shape))
        return out
