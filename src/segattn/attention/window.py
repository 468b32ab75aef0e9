"""Window attention with a relative position bias, in plain or shifted windows.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, arXiv 2103.14030,
section 3.2. Code: microsoft/Swin-Transformer; the shift is on wherever it is asked for, also on maps that are no larger
than a window, as in the segmentation code of Swin and Agent-Swin (the classifiers turn it off there).

With M x M windows: softmax(d^-1/2 Q K^T + B) V within each window, B (heads, M^2, M^2) looked up in a table
(`relative_position_bias_table`, ((2 M - 1)^2, heads)) at the offset of the two tokens. Shifted: the map is rolled by
-floor(M / 2) on a torus, and -100 is added between tokens that were no neighbours before.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.layers import SizeCache, join_heads


def relative_position_index(M: int) -> Tensor:
    """(M^2, M^2) int64: the table's row for tokens i and j, (y_i - y_j + M - 1) (2 M - 1) + (x_i - x_j + M - 1)."""
    y, x = torch.meshgrid(torch.arange(M), torch.arange(M), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + M - 1) * (2 * M - 1) + (x[:, None] - x + M - 1)


def region_mask(rows: int, columns: int, M: int, shift: int, like: Tensor) -> Tensor:
    """(rows * columns, M^2, M^2): -100 between tokens of different regions of the rolled map, 0 elsewhere.

    Each axis of the map of rows x columns windows is cut at size - M and size - shift.
    """
    height, width = rows * M, columns * M
    y, x = torch.arange(height, device=like.device), torch.arange(width, device=like.device)
    band_y = (y >= height - M).long() + (y >= height - shift).long()
    band_x = (x >= width - M).long() + (x >= width - shift).long()
    region = band_y[:, None] * 3 + band_x
    windows = region.view(rows, M, columns, M).transpose(1, 2).reshape(rows * columns, M * M)
    return (windows[:, :, None] != windows[:, None]).to(like.dtype) * -100


class WindowAttention(nn.Module):
    """(B, h, w, C) -> (B, h, w, C), attention within M x M windows.

    The map is padded right and bottom with zeros to multiples of M. Padding takes part in the attention, as zeros plus
    the bias of the projection, and is cut off afterwards.

    Args:
        channels: C.
        heads: divides C; C // 32 where it is not given, as in the paper's networks.
        window: M; 7 in the paper.
        shifted: roll the map by half a window, rounded down, as every second block of the paper's does.
    """

    counts_products = False

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int | None = None, *, window: int = 7, shifted: bool = False) -> None:
        super().__init__()
        heads = max(channels // 32, 1) if heads is None else heads
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.heads = heads
        self.window = window
        self.shift = window // 2 if shifted else 0
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self._masks: SizeCache[tuple[Tensor]] = SizeCache()

    def forward(self, x: Tensor) -> Tensor:
        B, h, w, C = x.shape
        M, s = self.window, self.shift
        rows, columns = (h + M - 1) // M, (w + M - 1) // M
        x = F.pad(x, (0, 0, 0, columns * M - w, 0, rows * M - h))
        if s:
            x = x.roll((-s, -s), dims=(1, 2))
        windows = x.view(B, rows, M, columns, M, C).transpose(2, 3).reshape(B * rows * columns, M * M, C)
        qkv = self.qkv(windows).unflatten(2, (3, self.heads, -1))
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        y: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=self._mask(B, rows, columns))
        y = self.proj(join_heads(y))
        y = y.view(B, rows, columns, M, M, C).transpose(2, 3).reshape(B, rows * M, columns * M, C)
        if s:
            y = y.roll((s, s), dims=(1, 2))
        # Cropped by negative padding: a slice would bind an exported program to sizes that need padding.
        return F.pad(y, (0, 0, 0, w - columns * M, 0, h - rows * M))

    def _mask(self, B: int, rows: int, columns: int) -> Tensor:
        """The bias added to the scores: (1, heads, M^2, M^2), or where shifted one for each of B * rows * columns."""
        index = self.relative_position_index
        bias = self.relative_position_bias_table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)[None]
        if not self.shift:
            return bias
        table = self.relative_position_bias_table
        (regions,) = self._masks.get(
            (rows, columns, table.device, table.dtype),
            lambda: (region_mask(rows, columns, self.window, self.shift, table),),
            training=self.training,
        )
        mask = bias + regions[:, None]
        return mask.expand(B, *mask.shape).flatten(0, 1)

    def paper_operations(self, x: Tensor) -> dict[str, int]:
        """The term of the script of Agent Attention's authors, 2 h w M^2 C."""
        return {"script_attention": 2 * x.numel() * self.window**2}
