"""The two Hamburger decoders of VAN: Light-Ham on the last three stages, HamNet on the last stage at stride 8.

Sources: arXiv 2109.04553 and the segmentation code of VAN (arXiv 2202.09741). All norms are group norms of 32 groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from segattn.attention.hamburger import Hamburger
from segattn.contracts import SegOutput
from segattn.layers import ConvNormAct, group_norm, initialize_convolutions, make_classifier, resize

if TYPE_CHECKING:
    from segattn.contracts import Features


class LightHam(nn.Module):
    """Stages 2 to 4, resized to stage 2 and concatenated, through one Hamburger; logits at stage 2's size (1/8).

    Args:
        in_channels: of all four stages.
        ham_channels: D, in the Hamburger; a multiple of 32.
        channels: before the classifier; a multiple of 32.
        bases: R of the factorisation.
        random_bases_in_eval: the released code's evaluation, which varies from call to call.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        ham_channels: int = 512,
        channels: int = 512,
        bases: int = 64,
        random_bases_in_eval: bool = False,
    ) -> None:
        super().__init__()
        self.squeeze = ConvNormAct(sum(in_channels[1:]), ham_channels, 1, norm=group_norm)
        self.hamburger = Hamburger(ham_channels, bases, norm=group_norm, random_in_eval=random_bases_in_eval)
        self.align = ConvNormAct(ham_channels, channels, 1, norm=group_norm)
        initialize_convolutions(self)
        self.classifier = make_classifier(channels, num_classes)

    def main(self, features: Features) -> Tensor:
        size = features[1].shape[-2:]
        x = torch.cat([resize(feature, size) for feature in features[1:]], dim=1)
        logits: Tensor = self.classifier(self.align(self.hamburger(self.squeeze(x))))
        return logits

    def forward(self, features: Features) -> SegOutput:
        return SegOutput(self.main(features), {})

    def paper_operations(self, features: Features) -> dict[str, int]:
        """The first of the three maps is resized to its own size; here it is left alone."""
        return {"bilinear": features[1].numel()}


class HamNet(nn.Module):
    """The last stage through one Hamburger, concatenated behind itself; logits at its size (1/8 with VAN at stride 8).

    Args:
        in_channels: of all four stages.
        channels: of every convolution; a multiple of 32.
        bases: R of the factorisation.
        random_bases_in_eval: the released code's evaluation, which varies from call to call.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        bases: int = 64,
        random_bases_in_eval: bool = False,
    ) -> None:
        super().__init__()
        self.squeeze = ConvNormAct(in_channels[-1], channels, 3, norm=group_norm)
        self.hamburger = Hamburger(channels, bases, norm=group_norm, random_in_eval=random_bases_in_eval)
        self.align = ConvNormAct(channels, channels, 3, norm=group_norm)
        self.conv_cat = ConvNormAct(in_channels[-1] + channels, channels, 3, norm=group_norm)
        initialize_convolutions(self)
        self.classifier = make_classifier(channels, num_classes)

    def main(self, features: Features) -> Tensor:
        x = features[-1]
        context = self.align(self.hamburger(self.squeeze(x)))
        logits: Tensor = self.classifier(self.conv_cat(torch.cat([x, context], dim=1)))
        return logits

    def forward(self, features: Features) -> SegOutput:
        return SegOutput(self.main(features), {})
