"""One convolution and a classifier (after arXiv 1411.4038): the auxiliary head of UperNet and HamNet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from segattn.contracts import SegOutput
from segattn.layers import ConvNormAct, Norm, initialize_convolutions, make_classifier

if TYPE_CHECKING:
    from segattn.contracts import Features


class FCN(nn.Module):
    """The last stage but one -> logits at its size.

    Args:
        in_channels: of all stages.
        channels: of the convolution.
        norm: makes its norm.
    """

    def __init__(
        self, in_channels: tuple[int, ...], num_classes: int, *, channels: int = 256, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.block = ConvNormAct(in_channels[-2], channels, norm=norm)
        initialize_convolutions(self)
        self.classifier = make_classifier(channels, num_classes)

    def main(self, features: Features) -> Tensor:
        logits: Tensor = self.classifier(self.block(features[-2]))
        return logits

    def forward(self, features: Features) -> SegOutput:
        return SegOutput(self.main(features), {})
