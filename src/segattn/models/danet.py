"""DANet (arXiv 1809.02983): its description, which builds the network, and the key names of its files.

Both states of the authors' repository name their tensors alike, and so does PyTorch-Encoding, which the repository is
made from; mmsegmentation has names of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from segattn.contracts import AlignCorners, Range, check
from segattn.models.key_map import (
    DEEP_STEM_IMAGENET,
    RESNET_IMAGENET,
    V1C_IMAGENET,
    KeyMap,
    deep_stem_renames,
)
from segattn.normalization import Normalization, check_channels

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter

_HEAD = (
    (r"^head\.conv5a\.", "head.position.0."),
    (r"^head\.conv51\.", "head.position.2."),
    (r"^head\.conv5c\.", "head.channel.0."),
    (r"^head\.conv52\.", "head.channel.2."),
    (r"^(head\.(?:position|channel)\.[02])\.0\.", r"\1.conv."),
    (r"^(head\.(?:position|channel)\.[02])\.1\.", r"\1.norm."),
    (r"^head\.sa\.(query|key|value)_conv\.", r"head.position.1.\1."),
    (r"^head\.sa\.", "head.position.1."),
    (r"^head\.sc\.", "head.channel.1."),
    (r"^head\.conv8\.", "head.classify."),
    (r"^head\.conv6\.", "head.classify_position."),
    (r"^head\.conv7\.", "head.classify_channel."),
)
_DROPPED = (
    (r"^pretrained\.fc\.", "ImageNet classifier that files of 2018 keep and DANet does not use"),
    (r"^auxlayer\.", "auxiliary head of PyTorch-Encoding's networks, which DANet does not use"),
)

DANET = KeyMap(name="DANet, released", renames=((r"^pretrained\.", "backbone."), *_HEAD), dropped=_DROPPED)

DANET_DEEP_STEM = KeyMap(
    name="DANet with deep stem, released",
    renames=(
        (r"^pretrained\.bn1\.", "backbone.bn3."),
        *deep_stem_renames("pretrained.conv1"),
        (r"^pretrained\.", "backbone."),
        *_HEAD,
    ),
    dropped=_DROPPED,
)

DANET_MMSEG = KeyMap(
    name="DANet, mmsegmentation",
    renames=(
        *deep_stem_renames("backbone.stem"),
        (r"^decode_head\.pam_in_conv\.", "head.position.0."),
        (r"^decode_head\.pam_out_conv\.", "head.position.2."),
        (r"^decode_head\.cam_in_conv\.", "head.channel.0."),
        (r"^decode_head\.cam_out_conv\.", "head.channel.2."),
        (r"^decode_head\.pam\.(query|key|value)_project\.", r"head.position.1.\1."),
        (r"^decode_head\.pam\.gamma\.scale$", "head.position.1.gamma"),
        (r"^decode_head\.cam\.gamma\.scale$", "head.channel.1.gamma"),
        (r"^decode_head\.conv_seg\.", "head.classify.1."),
        (r"^decode_head\.pam_conv_seg\.", "head.classify_position.1."),
        (r"^decode_head\.cam_conv_seg\.", "head.classify_channel.1."),
        (r"^decode_head\.", "head."),
        (r"^auxiliary_head\.convs\.0\.", "auxiliary_head.block."),
        (r"^auxiliary_head\.conv_seg\.", "auxiliary_head.classifier.1."),
        (r"^((?:head|auxiliary_head)\..*)\.bn\.", r"\1.norm."),
    ),
)
"""Its gates are numbers without dimensions; ours have one."""


@dataclass(frozen=True, kw_only=True)
class DANet:
    """Position and channel attention (arXiv 1809.02983) on a ResNet of output stride 8.

    `stage4_dilations` belong to the last stage's three blocks: (4, 8, 16) with multi-grid, (2, 4, 4) without. A "deep"
    stem has 64, 64 and 128 channels (the authors' current code), "deep32" 32, 32 and 64 (mmsegmentation). The
    auxiliary head, on the last stage but one, is mmsegmentation's alone, and runs in training only.
    """

    backbone: Literal["resnet50", "resnet101", "resnet152"]
    stem: Literal["conv7x7", "deep", "deep32"] = "conv7x7"
    stage4_dilations: tuple[int, ...] = (4, 8, 16)
    align_corners: AlignCorners = "corners"
    auxiliary_head: Literal["fcn"] | None = None
    normalization: Normalization = Normalization()
    in_channels: int = 3

    key_maps: ClassVar[tuple[KeyMap, ...]] = (DANET, DANET_DEEP_STEM, DANET_MMSEG)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (RESNET_IMAGENET, DEEP_STEM_IMAGENET, V1C_IMAGENET)

    def __post_init__(self) -> None:
        check_channels(self)
        check(self, stage4_dilations=Range(1, 1024, "1 to 1024"))
        if not 1 <= len(self.stage4_dilations) <= 3:
            raise ValueError(f"stage4_dilations: {len(self.stage4_dilations)} numbers, expected 1 to 3, one a block")

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode; logits (B, num_classes, ~H/8, ~W/8).

        Of the ResNet of output stride 8, stage 3 dilates by 1 in the first block and by 2 in the rest.

        Raises:
            ValueError: no such backbone.
        """
        from segattn.backbones.resnet import ResNet, resnet_depth
        from segattn.heads.danet import DANetHead
        from segattn.heads.fcn import FCN
        from segattn.layers import float32_by_default
        from segattn.models.segmenter import Segmenter

        with float32_by_default():
            backbone = ResNet(
                resnet_depth(self.backbone),
                output_stride=8,
                stage3_dilations=(1, 2),
                stage4_dilations=self.stage4_dilations,
                deep_stem=self.stem != "conv7x7",
                stem_channels=32 if self.stem == "deep32" else 64,
                in_channels=self.in_channels,
            )
            return Segmenter(
                backbone=backbone,
                head=DANetHead(backbone.channels[-1], num_classes),
                auxiliary_head=None if self.auxiliary_head is None else FCN(backbone.channels, num_classes),
                num_classes=num_classes,
                align_corners=self.align_corners,
                stride=8,
                normalization=self.normalization,
            )
