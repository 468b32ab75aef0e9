"""The backbone of AttaNet-light: eight plain convolutions, no pooling, no residuals, trained from scratch.

AttaNet, AAAI 2021, arXiv 2103.05930. Layers are named by stage and position, as in the released code (`S1_1`...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from segattn.layers import ConvNormAct

if TYPE_CHECKING:
    from segattn.contracts import Features


class AttaNetLight(nn.Module):
    """(B, in_channels, H, W) -> three maps: `s2_3` at 1/8, then `s3_2` and `s3_3` at 1/16.

    The last auxiliary output reads `s3_2`, not the deepest layer. Every stride 2 maps n to floor((n - 1) / 2) + 1.

    Attributes:
        channels, strides: of the three maps.
        blocks: every layer, as there is no stem.
    """

    channels: tuple[int, ...] = (64, 128, 128)
    strides: tuple[int, ...] = (8, 16, 16)
    blocks: tuple[str, ...] = ("s1_1", "s1_2", "s2_1", "s2_2", "s2_3", "s3_1", "s3_2", "s3_3")

    def __init__(self, *, in_channels: int = 3) -> None:
        super().__init__()
        self.s1_1 = ConvNormAct(in_channels, 32, 7, stride=2)
        self.s1_2 = ConvNormAct(32, 64, stride=2)
        self.s2_1 = ConvNormAct(64, 64, stride=2)
        self.s2_2 = ConvNormAct(64, 64)
        self.s2_3 = ConvNormAct(64, 64)
        self.s3_1 = ConvNormAct(64, 128, stride=2)
        self.s3_2 = ConvNormAct(128, 128)
        self.s3_3 = ConvNormAct(128, 128)

    def forward(self, x: Tensor) -> Features:
        x = self.s1_2(self.s1_1(x))
        f8 = self.s2_3(self.s2_2(self.s2_1(x)))
        before_last = self.s3_2(self.s3_1(f8))
        return f8, before_last, self.s3_3(before_last)
