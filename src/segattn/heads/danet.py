"""DANet's head: position and channel attention side by side, each between two 3x3 convolutions.

Paper: arXiv 1809.02983, figure 2. Inner width 512 on 2048 channels in the released code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from segattn.attention.dual import ChannelAttention, PositionAttention
from segattn.contracts import SegOutput
from segattn.layers import ConvNormAct

if TYPE_CHECKING:
    from segattn.contracts import Features


def _classifier(channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(channels, num_classes, 1))


class DANetHead(nn.Module):
    """The last of any backbone's maps -> fused logits, with `auxiliary` "position" and "channel" for each branch alone.

    Args:
        in_channels: of the last map. The branches are a quarter as wide, their keys an eighth of that.
        num_classes: K.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        inner = in_channels // 4
        self.position = nn.Sequential(
            ConvNormAct(in_channels, inner), PositionAttention(inner, inner // 8), ConvNormAct(inner, inner)
        )
        self.channel = nn.Sequential(ConvNormAct(in_channels, inner), ChannelAttention(), ConvNormAct(inner, inner))
        self.classify = _classifier(inner, num_classes)
        self.classify_position = _classifier(inner, num_classes)
        self.classify_channel = _classifier(inner, num_classes)

    def forward(self, features: Features) -> SegOutput:
        position, channel = self.position(features[-1]), self.channel(features[-1])
        return SegOutput(
            self.classify(position + channel),
            {"position": self.classify_position(position), "channel": self.classify_channel(channel)},
        )

    def main(self, features: Features) -> Tensor:
        logits: Tensor = self.classify(self.position(features[-1]) + self.channel(features[-1]))
        return logits
