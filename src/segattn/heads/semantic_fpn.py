"""Semantic FPN (arXiv 1901.02446): a feature pyramid, then four branches of convolutions and upsampling, summed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from segattn.contracts import SegOutput
from segattn.layers import ConvNormAct, initialize_convolutions, make_classifier, resize

if TYPE_CHECKING:
    from segattn.contracts import Features


class FeaturePyramid(nn.Module):
    """Four maps to four maps of `channels`, coarse added to fine; convolutions with bias and nothing else."""

    def __init__(self, in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(nn.Conv2d(stage, channels, 1) for stage in in_channels)
        self.fpn_convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, features: Features) -> Features:
        laterals = [conv(feature) for conv, feature in zip(self.lateral_convs, features, strict=True)]
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] = laterals[i - 1] + resize(laterals[i], laterals[i - 1].shape[-2:], mode="nearest")
        return tuple(conv(lateral) for conv, lateral in zip(self.fpn_convs, laterals, strict=True))


def _scale_head(in_channels: int, channels: int, doublings: int) -> nn.Sequential:
    """Convolution and doubling in turn until the map is at the finest size; one convolution where it already is."""
    layers: list[nn.Module] = []
    for i in range(max(1, doublings)):
        layers.append(ConvNormAct(in_channels if i == 0 else channels, channels))
        if doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)


class SemanticFPN(nn.Module):
    """Four stages, each half the one before -> logits at stage 1's size (1/4); neck and head in one.

    Args:
        in_channels: of all four stages.
        neck_channels: of the feature pyramid.
        channels: of the branches.
    """

    def __init__(
        self, in_channels: tuple[int, ...], num_classes: int, *, neck_channels: int = 256, channels: int = 128
    ) -> None:
        super().__init__()
        self.scale_heads = nn.ModuleList(_scale_head(neck_channels, channels, i) for i in range(len(in_channels)))
        initialize_convolutions(self)
        self.neck = FeaturePyramid(in_channels, neck_channels)
        self.classifier = make_classifier(channels, num_classes)

    def main(self, features: Features) -> Tensor:
        finest, *coarser = [head(x) for head, x in zip(self.scale_heads, self.neck(features), strict=True)]
        total = finest
        for x in coarser:  # doubled, a map can be some cells larger than the finest, where sizes were rounded up
            total = total + resize(x, finest.shape[-2:])
        logits: Tensor = self.classifier(total)
        return logits

    def forward(self, features: Features) -> SegOutput:
        return SegOutput(self.main(features), {})

    def paper_operations(self, features: Features) -> dict[str, int]:
        """Branches are resized to the finest map's size even if they have it already."""
        finest = features[0]
        skipped = sum(
            tuple(side << i for side in feature.shape[-2:]) == tuple(finest.shape[-2:])
            for i, feature in enumerate(features[1:], start=1)
        )
        classifier = self.classifier[-1]
        assert isinstance(classifier, nn.Conv2d)
        return {"bilinear": skipped * classifier.in_channels * finest[:, 0].numel()}
