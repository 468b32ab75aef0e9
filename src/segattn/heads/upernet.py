"""UperNet (arXiv 1807.10221): pyramid pooling on the coarsest stage, under a feature pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from segattn.contracts import SegOutput
from segattn.layers import ConvNormAct, adaptive_average_pool, initialize_convolutions, make_classifier, resize

if TYPE_CHECKING:
    from segattn.contracts import Features

POOL_SIZES = (1, 2, 3, 6)


class UperNet(nn.Module):
    """Four stages -> logits at stage 1's size (1/4).

    In training the 1 x 1 pooled branch has one value per channel and image, so batch norm needs two images or more.

    Args:
        in_channels: of all four stages.
        channels: of every convolution.
    """

    counts_products = False
    tail: ClassVar = ("fpn_bottleneck", 1)

    def __init__(self, in_channels: tuple[int, ...], num_classes: int, *, channels: int = 512) -> None:
        super().__init__()
        *finer, coarsest = in_channels
        self.pyramid = nn.ModuleList(ConvNormAct(coarsest, channels, 1) for _ in POOL_SIZES)
        self.bottleneck = ConvNormAct(coarsest + len(POOL_SIZES) * channels, channels)
        self.lateral_convs = nn.ModuleList(ConvNormAct(stage, channels, 1) for stage in finer)
        self.fpn_convs = nn.ModuleList(ConvNormAct(channels, channels) for _ in finer)
        self.fpn_bottleneck = ConvNormAct(len(in_channels) * channels, channels)
        initialize_convolutions(self)
        self.classifier = make_classifier(channels, num_classes)

    def _pool(self, x: Tensor) -> Tensor:
        pooled = [conv(adaptive_average_pool(x, size)) for conv, size in zip(self.pyramid, POOL_SIZES, strict=True)]
        out: Tensor = self.bottleneck(torch.cat([x, *(resize(p, x.shape[-2:]) for p in pooled)], dim=1))
        return out

    def main(self, features: Features) -> Tensor:
        coarsest = self._pool(features[-1])
        # Coarse to fine: what goes down is already summed.
        sums = [coarsest]
        for conv, feature in zip(reversed(self.lateral_convs), reversed(features[:-1]), strict=True):
            sums.insert(0, conv(feature) + resize(sums[0], feature.shape[-2:]))
        maps = [conv(x) for conv, x in zip(self.fpn_convs, sums[:-1], strict=True)] + [coarsest]
        size = maps[0].shape[-2:]
        fused = self.fpn_bottleneck(torch.cat([resize(x, size) for x in maps], dim=1))
        logits: Tensor = self.classifier(fused)
        return logits

    def forward(self, features: Features) -> SegOutput:
        return SegOutput(self.main(features), {})

    def paper_operations(self, features: Features) -> dict[str, int]:
        """Adaptive pooling; here products with averaging matrices."""
        coarsest = features[-1]
        cells = coarsest.shape[:2].numel()
        return {
            "adaptive_pool": cells * sum(size**2 for size in POOL_SIZES),
            "adaptive_pool_input": len(POOL_SIZES) * coarsest.numel(),
        }
