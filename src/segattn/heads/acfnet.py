"""ACFNet's head: ASPP, coarse logits, class centres, fine logits.

Paper: arXiv 1909.09408. Layers and widths are those of the unofficial released code; its fine head (3x3, leaky ReLU,
1x1) is a single 1x1 convolution in the paper's figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from segattn.attention.class_center import ClassFeature, class_centers
from segattn.contracts import SegOutput
from segattn.layers import ConvNormAct

if TYPE_CHECKING:
    from segattn.contracts import Features


class ACFNetHead(nn.Module):
    """The maps of any backbone -> fine logits, with `auxiliary` "coarse" (same size) and "aux" (of an earlier map).

    All maps but the last and the `aux_index`-th are left alone.

    Args:
        channels: of the backbone's maps.
        num_classes: K.
        aux_index: which map the auxiliary logits are made from; ResNet's stage 3 in the paper.
        width: channels of each of ASPP's branches, of the coarse head and of the class feature; the fine head has twice
            as many, the auxiliary one half.
        class_feature: `class_centers` (paper) or `released_class_feature`; same parameters.
    """

    tail: ClassVar = ("fine", 1)

    def __init__(
        self,
        channels: tuple[int, ...],
        num_classes: int,
        *,
        aux_index: int,
        width: int = 512,
        class_feature: Callable[[Tensor, Tensor], Tensor] = class_centers,
    ) -> None:
        super().__init__()
        if not -len(channels) <= aux_index < len(channels):
            raise ValueError(f"auxiliary map {aux_index}: the backbone has {len(channels)} maps")
        self.aux_index = aux_index
        self.aspp = ASPP(channels[-1], width)
        context = self.aspp.out_channels
        self.coarse = nn.Sequential(
            ConvNormAct(context, width, 1),
            nn.Dropout2d(0.5),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(width, num_classes, 1),
        )
        self.class_feature = ClassFeature(context, width, aggregate=class_feature)
        self.fine = nn.Sequential(
            nn.Conv2d(width + context, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(2 * width, num_classes, 1),
        )
        self.aux = nn.Sequential(
            ConvNormAct(channels[aux_index], width // 2),
            nn.Dropout2d(0.1),
            nn.Conv2d(width // 2, num_classes, 1),
        )

    def _fine_and_coarse(self, features: Features) -> tuple[Tensor, Tensor]:
        context = self.aspp(features[-1])
        coarse = self.coarse(context)
        return self.fine(torch.cat([self.class_feature(context, coarse), context], dim=1)), coarse

    def forward(self, features: Features) -> SegOutput:
        fine, coarse = self._fine_and_coarse(features)
        return SegOutput(fine, {"coarse": coarse, "aux": self.aux(features[self.aux_index])})

    def main(self, features: Features) -> Tensor:
        return self._fine_and_coarse(features)[0]


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
