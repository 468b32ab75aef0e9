"""Agent attention in its plain form: whole biases by two resizes at each call, whole attention matrices."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from segattn.attention.agent import AgentAttention


def position_bias(on_grid: Tensor, lines: Tensor, agents: tuple[int, int], h: int, w: int) -> Tensor:
    """(heads, p * p, 7, 7) and (heads, p * p, g, g) -> (heads, A1 * A2, h * w)."""
    total = 0
    for part in (on_grid, lines):
        heads, count = part.shape[:2]
        p = round(count**0.5)
        spread = F.interpolate(part, (h, w), mode="bilinear", align_corners=False)
        maps = spread.flatten(2).transpose(1, 2).reshape(heads * h * w, 1, p, p)
        maps = F.interpolate(maps, agents, mode="bilinear", align_corners=False)
        total = total + maps.view(heads, h * w, -1).transpose(1, 2)
    return total


def agent_attention(module: AgentAttention, x: Tensor) -> Tensor:
    """What `module(x)` should give; (B, h, w, C) -> (B, h, w, C)."""
    B, h, w, C = x.shape
    q, k, v = module.project(x)
    d = C // module.heads
    agents = module.shape.agents

    def split(tokens: Tensor) -> Tensor:
        return tokens.reshape(B, -1, module.heads, d).transpose(1, 2)

    A = split(F.adaptive_avg_pool2d(q.permute(0, 3, 1, 2), agents).flatten(2).transpose(1, 2))
    P = position_bias(module.an_bias, (module.ah_bias + module.aw_bias)[0], agents, h, w)
    lines = (module.ha_bias + module.wa_bias)[0].permute(0, 3, 1, 2)
    R = position_bias(module.na_bias, lines, agents, h, w).transpose(1, 2)
    V_A = ((d**-0.5 * A) @ split(k).transpose(2, 3) + P).softmax(-1) @ split(v)
    out = ((d**-0.5 * split(q)) @ A.transpose(2, 3) + R).softmax(-1) @ V_A
    out = out.transpose(1, 2).reshape(x.shape)
    return module.proj(out + module.dwc(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
