"""ACFNet (arXiv 1909.09408): its description, which builds the network, and the key names of its files.

The key names are those of the unofficial code; no weights of it were ever released.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from segattn.contracts import AlignCorners
from segattn.models.key_map import DEEP_STEM_IMAGENET, V1C_IMAGENET, KeyMap
from segattn.normalization import Normalization, check_channels

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter

ACFNET = KeyMap(
    name="ACFNet, unofficial code",
    renames=(
        (r"^((?:conv|bn|layer)\d\.)", r"backbone.\1"),
        (r"^aspp\.b0\.", "head.aspp.local."),
        (r"^aspp\.b1\.", "head.aspp.dilated.0."),
        (r"^aspp\.b2\.", "head.aspp.dilated.1."),
        (r"^aspp\.b3\.", "head.aspp.dilated.2."),
        (r"^aspp\.b4\.gap\.1\.", "head.aspp.image.0."),
        (r"^aspp\.b4\.gap\.2\.", "head.aspp.image.1."),
        (r"^auxlayer\.conv5\.([01])\.", r"head.aux.0.\1."),
        (r"^auxlayer\.conv5\.4\.", "head.aux.2."),
        (r"^dsn\.([01])\.", r"head.coarse.0.\1."),
        (r"^dsn\.4\.", "head.coarse.2."),
        (r"^dsn\.5\.", "head.coarse.3."),
        (r"^dsn\.8\.", "head.coarse.6."),
        (r"^acfhead\.acf\.conv1\.", "head.class_feature.reduce."),
        (r"^acfhead\.acf\.conv2\.", "head.class_feature.project."),
        (r"^bottleneck\.([01])\.", r"head.fine.\1."),
        (r"^bottleneck\.3\.", "head.fine.4."),
        (r"^(head\.(?:aspp\.(?:local|dilated\.\d|image)|(?:aux|coarse)\.0|class_feature\.reduce))\.0\.", r"\1.conv."),
        (r"^(head\.(?:aspp\.(?:local|dilated\.\d|image)|(?:aux|coarse)\.0|class_feature\.reduce))\.1\.", r"\1.norm."),
    ),
)


@dataclass(frozen=True, kw_only=True)
class ACFNet:
    """Attentional class features (arXiv 1909.09408) on a deep-stem ResNet-101 of output stride 8, with ASPP.

    `class_feature` picks the paper's class centres or the formula of the unofficial released code.
    """

    backbone: Literal["ecanet101", "resnet50", "resnet101"]
    class_feature: Literal["paper", "released"] = "paper"
    normalization: Normalization = Normalization()
    in_channels: int = 3

    align_corners: ClassVar[AlignCorners] = "corners"
    key_maps: ClassVar[tuple[KeyMap, ...]] = (ACFNET,)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (DEEP_STEM_IMAGENET, V1C_IMAGENET)

    def __post_init__(self) -> None:
        check_channels(self)

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode; logits (B, num_classes, ~H/8, ~W/8).

        Auxiliary logits come from the ResNet's stage 3.

        Raises:
            ValueError: no such backbone.
        """
        from segattn.attention.class_center import class_centers, released_class_feature
        from segattn.backbones.resnet import ResNet, resnet_depth
        from segattn.heads.acfnet import ACFNetHead
        from segattn.layers import float32_by_default
        from segattn.models.segmenter import Segmenter

        eca = self.backbone == "ecanet101"
        with float32_by_default():
            backbone = ResNet(
                101 if eca else resnet_depth(self.backbone),
                output_stride=8,
                stage3_dilations=(2,),
                stage4_dilations=(4,),
                deep_stem=True,
                ceil_pool=True,
                eca=eca,
                in_channels=self.in_channels,
            )
            return Segmenter(
                backbone=backbone,
                head=ACFNetHead(
                    backbone.channels,
                    num_classes,
                    aux_index=2,
                    class_feature=class_centers if self.class_feature == "paper" else released_class_feature,
                ),
                num_classes=num_classes,
                align_corners=self.align_corners,
                normalization=self.normalization,
            )
