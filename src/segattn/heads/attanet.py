"""The two AttaNet heads: attention fusion of two maps, strip attention, three outputs.

AttaNet, AAAI 2021, arXiv 2103.05930, as in the released code, which has a head for its light stack and another for
ResNet-18. They fuse other scales in another order, so they are two classes; the fixed widths are the released ones.
All resizing inside is to the nearest neighbour, towards the size of the finer map: inputs of any size will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from segattn.attention.strip import AttentionFusion, StripAttention
from segattn.contracts import SegOutput
from segattn.layers import ConvNormAct, resize

if TYPE_CHECKING:
    from segattn.contracts import Features


class Output(nn.Sequential):
    """(B, in, h, w) -> logits (B, K, h, w): 3x3 to `channels`, channel dropout, 1x1 to K classes without bias."""

    def __init__(self, in_channels: int, channels: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = ConvNormAct(in_channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1, bias=False)
        nn.init.kaiming_normal_(self.classifier.weight, a=1)


class AttaNetHead(nn.Module):
    """The head on ResNet-18; the same, by extension, on DF2 and the deeper ResNets.

    Fuses the maps at 1/16 and 1/32, attends at 1/16, and answers at 1/8. `auxiliary`: `aux1` (1/16) from the coarse
    part of the fusion, `aux2` (1/8) from the backbone's own map.

    Args:
        in_channels: of the maps at 1/8, 1/16 and 1/32, the last three that the backbone gives.
        num_classes: K.
    """

    tail: ClassVar = ("after_strip", 2)

    def __init__(self, in_channels: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        f8_channels, f16_channels, f32_channels = in_channels
        self.reduce_fine = ConvNormAct(f16_channels, 128)
        self.reduce_coarse = ConvNormAct(f32_channels, 128)
        self.fusion = AttentionFusion(128, f32_channels, 128, kernel_size=1)
        self.before_strip = ConvNormAct(128, 128)
        self.strip = StripAttention(128)
        self.after_strip = ConvNormAct(128, 128)
        self.output = Output(128, 128, num_classes, dropout=0.1)
        self.aux1 = Output(128, 64, num_classes, dropout=0.1)
        self.aux2 = Output(f8_channels, 64, num_classes, dropout=0.1)

    def fuse(self, f16: Tensor, f32: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, 128, ~H/16, ~W/16): the weighted coarse part, and its sum with the weighted fine part."""
        fine = self.reduce_fine(f16)
        w = self.fusion(fine, f32)
        coarse = resize(self.reduce_coarse(f32) * w, f16.shape[-2:], "nearest")
        return coarse, coarse + fine * (1 - w)

    def classify(self, fused: Tensor, f8: Tensor) -> Tensor:
        """The fused map -> main logits at the size of `f8`."""
        attended = self.strip(self.before_strip(fused))
        logits: Tensor = self.output(self.after_strip(resize(attended, f8.shape[-2:], "nearest")))
        return logits

    def forward(self, features: Features) -> SegOutput:
        f8, f16, f32 = features[-3:]
        coarse, fused = self.fuse(f16, f32)
        return SegOutput(self.classify(fused, f8), {"aux1": self.aux1(coarse), "aux2": self.aux2(f8)})

    def main(self, features: Features) -> Tensor:
        f8, f16, f32 = features[-3:]
        return self.classify(self.fuse(f16, f32)[1], f8)


class AttaNetLightHead(nn.Module):
    """The head on the light stack (`backbones.light`): fuses the maps at 1/8 and 1/16, attends and answers at 1/8.

    Unlike on ResNet-18 both maps are convolved before their fusion weights are computed and again afterwards, and the
    outputs have no dropout. `auxiliary`: `aux1` (1/8) from the coarse part of the fusion, `aux2` (1/16) from the layer
    before the backbone's last.

    Args:
        in_channels: of the backbone's three maps: at 1/8, at 1/16 before the last layer, and at 1/16.
        num_classes: K.
    """

    tail: ClassVar = ("after_strip", 2)

    def __init__(self, in_channels: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        f8_channels, before_last_channels, f16_channels = in_channels
        self.reduce_fine = ConvNormAct(f8_channels, 64)
        self.reduce_coarse = ConvNormAct(f16_channels, 64)
        self.fusion = AttentionFusion(64, 64, 64, kernel_size=3)
        self.refine_fine = ConvNormAct(64, 64)
        self.refine_coarse = ConvNormAct(64, 64)
        self.before_strip = ConvNormAct(64, 64)
        self.strip = StripAttention(64)
        self.after_strip = ConvNormAct(64, 64)
        self.output = Output(64, 64, num_classes)
        self.aux1 = Output(64, 64, num_classes)
        self.aux2 = Output(before_last_channels, 64, num_classes)

    def fuse(self, f8: Tensor, f16: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, 64, ~H/8, ~W/8): the weighted coarse part, and its sum with the weighted fine part."""
        fine, coarse = self.reduce_fine(f8), self.reduce_coarse(f16)
        w = self.fusion(fine, coarse)
        coarse = resize(self.refine_coarse(coarse) * w, f8.shape[-2:], "nearest")
        return coarse, coarse + self.refine_fine(fine) * (1 - w)

    def classify(self, fused: Tensor) -> Tensor:
        """The fused map -> main logits at its size."""
        logits: Tensor = self.output(self.after_strip(self.strip(self.before_strip(fused))))
        return logits

    def forward(self, features: Features) -> SegOutput:
        f8, before_last, f16 = features
        coarse, fused = self.fuse(f8, f16)
        return SegOutput(self.classify(fused), {"aux1": self.aux1(coarse), "aux2": self.aux2(before_last)})

    def main(self, features: Features) -> Tensor:
        f8, _, f16 = features
        return self.classify(self.fuse(f8, f16)[1])
