"""Each idea under autocast, against itself in float64: sums neither overflow nor lose what they are for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from segattn.attention.agent import AgentAttention, AgentShape
from segattn.attention.dual import ChannelAttention, PositionAttention
from segattn.attention.eca import EfficientChannelAttention
from segattn.attention.hamburger import Hamburger, MatrixFactorization
from segattn.attention.large_kernel import LargeKernelAttention
from segattn.attention.spatial_reduction import SpatialReductionAttention
from segattn.attention.strip import StripAttention
from segattn.attention.window import WindowAttention


class Agents(AgentAttention):
    def __init__(self) -> None:
        super().__init__(64, 4, AgentShape(12, 3, (3, 4)))
        self.qkv = nn.Linear(64, 192)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return q, k, v


MAPS = {
    "strip": lambda: StripAttention(64),
    "position": lambda: PositionAttention(64, 32),
    "channel": ChannelAttention,
    "large kernel": lambda: LargeKernelAttention(64),
    "factorization": lambda: MatrixFactorization(64, 16),
    "hamburger": lambda: Hamburger(64, 16, norm=nn.BatchNorm2d),
    "eca": EfficientChannelAttention,
}
TOKENS = {
    "window": lambda: WindowAttention(64, 4, window=7, shifted=True),
    "spatial reduction": lambda: SpatialReductionAttention(64, 4, reduction=4),
    "agent": Agents,
}


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", [*MAPS, *TOKENS])
def test_half_precision_is_near_float64(name: str, dtype: torch.dtype, scale: float) -> None:
    torch.manual_seed(0)
    module = {**MAPS, **TOKENS}[name]().eval()
    for part in module.modules():
        if isinstance(part, PositionAttention | ChannelAttention):
            nn.init.ones_(part.gamma)
    x = (torch.randn(1, 64, 48, 64).relu() * scale).to(dtype)
    x = x.permute(0, 2, 3, 1) if name in TOKENS else x
    with torch.no_grad():
        with torch.autocast("cpu", dtype=dtype):
            out = module(x.float())
        wanted = copy.deepcopy(module).double()(x.double())
    assert out.isfinite().all()
    assert (out.double() - wanted).norm() < 0.03 * wanted.norm()
