"""Shared and dull building blocks: nothing here is anybody's idea."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, norm, ReLU: the block that every decoder of this package is made of.

    Children are named `conv`, `norm`, `act`; padding keeps the size at stride 1.

    Args:
        norm: makes the norm of a channel count (`nn.BatchNorm2d` with eps 1e-5 and momentum 0.1 by default).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, dilation=dilation, bias=False
        )
        self.norm = norm(out_channels)
        self.act = nn.ReLU(inplace=True)


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, a residual branch is dropped per image with `rate`,
    and a kept one divided by 1 - rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"drop path rate {rate}: expected 0 <= rate < 1")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * (torch.rand(shape, device=x.device) < keep).to(x.dtype) / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def drop_path_rates(rate: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Rates growing linearly from 0 at the first block to `rate` at the last, as one list per stage."""
    flat = torch.linspace(0, rate, sum(depths)).tolist()
    stages, start = [], 0
    for depth in depths:
        stages.append(flat[start : start + depth])
        start += depth
    return stages


def resize(
    x: Tensor,
    size: tuple[int, int] | torch.Size,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    *,
    align_corners: bool = False,
) -> Tensor:
    """(B, C, h, w) -> (B, C, *size); the identity, without a copy, where the size is already right.

    `align_corners` concerns bilinear resizing only. There is no antialiasing, as in all five papers' code.
    """
    size = (int(size[0]), int(size[1])) if not torch.jit.is_tracing() else tuple(size)
    if x.shape[-2:] == size:
        return x
    if mode == "nearest":
        return F.interpolate(x, size, mode="nearest")
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
