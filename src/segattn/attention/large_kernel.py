"""Large-kernel attention (VAN, arXiv 2202.09741, section 3.1): a gate from a 21 x 21 kernel in three cheap pieces.

| paper (equations 1 and 2)   | here                                                     |
|-----------------------------|----------------------------------------------------------|
| F, input features           | `F` (B, C, h, w)                                         |
| DW-Conv                     | `conv0`, depthwise 5 x 5                                 |
| DW-D-Conv                   | `conv_spatial`, depthwise 7 x 7, dilation 3              |
| Conv1x1                     | `conv1`                                                  |
| Attention                   | `attention` (B, C, h, w), unbounded: there is no sigmoid |
| Output = Attention (x) F    | `F * attention`                                          |
"""

from __future__ import annotations

from torch import Tensor, nn

from segattn.layers import DilatedDepthwiseConv2d


class LargeKernelGate(nn.Module):
    """(B, C, h, w) -> (B, C, h, w): the input times a large-kernel convolution of itself, so quadratic in it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.conv_spatial = DilatedDepthwiseConv2d(channels, 7, dilation=3)
        self.conv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, F: Tensor) -> Tensor:
        attention: Tensor = self.conv1(self.conv_spatial(self.conv0(F)))
        return F * attention


class LargeKernelAttention(nn.Module):
    """The attention branch of a VAN block: 1 x 1, GELU, gate, 1 x 1, plus its own input; (B, C, h, w) kept.

    That addition is inside the branch, before the block's layer scale, as in the released code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = LargeKernelGate(channels)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x))))
        return out
