"""Atrous spatial pyramid pooling (DeepLabv3, arXiv 1706.05587, section 3.3), without a projection at its end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segattn.layers import ConvNormAct


class ASPP(nn.Module):
    """A 1x1 convolution, 3x3 ones dilated by 12, 24 and 36, and the image's mean, each of `channels`, concatenated.

    The mean passes through a norm at a single position, so training needs two images or more per process.

    Attributes:
        out_channels: 5 * channels.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.local = ConvNormAct(in_channels, channels, 1)
        self.dilated = nn.ModuleList([ConvNormAct(in_channels, channels, 3, dilation=d) for d in (12, 24, 36)])
        self.image = ConvNormAct(in_channels, channels, 1)
        self.out_channels = 5 * channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, out_channels, h, w)."""
        mean = self.image(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return torch.cat([self.local(x), *(branch(x) for branch in self.dilated), mean], dim=1)
