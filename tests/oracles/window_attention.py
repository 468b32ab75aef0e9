"""Shifted-window attention written token by token: slow, and free of rolling, padding and index tables."""

from __future__ import annotations

import torch
from torch import Tensor

from segattn.attention.window import WindowAttention


def window_attention(module: WindowAttention, x: Tensor) -> Tensor:
    """(h, w, C) -> (h, w, C): for each token, over the M x M tokens of its window on the torus of the padded map."""
    h, w, C = x.shape
    M, s = module.window, module.shift
    height, width = -(-h // M) * M, -(-w // M) * M
    padded = x.new_zeros(height, width, C)
    padded[:h, :w] = x
    heads = module.qkv(padded).view(height, width, 3, module.heads, -1)
    d = heads.shape[-1]
    out = torch.empty_like(x)
    for y0 in range(h):
        for x0 in range(w):
            # Place in the rolled map, and whether rolling took the token around the edge.
            ry, rx = (y0 - s) % height, (x0 - s) % width
            scores, values = [], []
            for ty in range(ry // M * M, ry // M * M + M):
                for tx in range(rx // M * M, rx // M * M + M):
                    yy, xx = (ty + s) % height, (tx + s) % width
                    row = (ry - ty + M - 1) * (2 * M - 1) + (rx - tx + M - 1)
                    score = (heads[y0, x0, 0] * heads[yy, xx, 1]).sum(-1) / d**0.5
                    score = score + module.relative_position_bias_table[row]
                    around = (ty + s >= height) != (ry + s >= height) or (tx + s >= width) != (rx + s >= width)
                    scores.append(score - 100 * around)
                    values.append(heads[yy, xx, 2])
            weights = torch.stack(scores).softmax(0)
            out[y0, x0] = (weights[..., None] * torch.stack(values)).sum(0).flatten()
    return module.proj(out)
