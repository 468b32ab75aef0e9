"""AttaNet (arXiv 2103.05930): its description, which builds the network, and the key names of its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from segattn.contracts import AlignCorners
from segattn.models.key_map import RESNET_IMAGENET, KeyMap
from segattn.normalization import Normalization, check_channels

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter

_UNUSED_CLASSIFIER = "ImageNet classifier, which segmentation does not use"

_HEAD = (
    (r"^head\.conv_head1\.", "head.before_strip."),
    (r"^head\.conv_head2\.", "head.after_strip."),
    # The released code names the strips' map query and the pixels' map key; ours are the paper's names.
    (r"^head\.sam\.conv1\.", "head.strip.key."),
    (r"^head\.sam\.conv2\.", "head.strip.query."),
    (r"^head\.sam\.conv3\.", "head.strip.value."),
    (r"^head\.afm\.conv\.", "head.fusion.mix."),
    (r"^head\.afm\.conv_atten\.", "head.fusion.gate."),
    (r"^head\.afm\.bn_atten\.", "head.fusion.norm."),
    (r"^conv_out\.", "head.output."),
    (r"^conv_out1\.", "head.aux1."),
    (r"^conv_out2\.", "head.aux2."),
    (r"^(head\.(?:output|aux1|aux2))\.conv_out\.", r"\1.classifier."),
)

ATTANET_RESNET = KeyMap(
    name="AttaNet on ResNet, released",
    renames=(
        (r"^head\.resnet\.", "backbone."),
        (r"^head\.conv_head16\.", "head.reduce_fine."),
        (r"^head\.conv_head32\.", "head.reduce_coarse."),
        *_HEAD,
        (r"^(head\..+)\.bn\.", r"\1.norm."),
    ),
    dropped=((r"^head\.resnet\.fc\.", _UNUSED_CLASSIFIER),),
)

ATTANET_LIGHT = KeyMap(
    name="AttaNet-light, released",
    renames=(
        (r"^head\.backbone\.branch\.S(\d_\d)\.", r"backbone.s\1."),
        (r"^head\.conv_head8\.", "head.reduce_fine."),
        (r"^head\.conv_head16\.", "head.reduce_coarse."),
        (r"^head\.conv_head81\.", "head.refine_fine."),
        (r"^head\.conv_head161\.", "head.refine_coarse."),
        *_HEAD,
        (r"^((?:head|backbone)\..+)\.bn\.", r"\1.norm."),
    ),
)

DF_IMAGENET = KeyMap(
    name="DF, ImageNet",
    renames=((r"^(stage\d(?:_\d)?)\.", r"backbone.\1."),),
    dropped=((r"^fc\.", _UNUSED_CLASSIFIER),),
)


@dataclass(frozen=True, kw_only=True)
class AttaNet:
    """Strip attention and attention fusion (arXiv 2103.05930) on the paper's light stack, a ResNet, or DF2.

    The paper's code has `light` and `resnet18`. The deeper ResNets and the head on `df2` are extensions, derived from
    the ResNet-18 head. The paper's code aligns corners; see `contracts.AlignCorners` for what that costs.
    """

    backbone: Literal["light", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "df2"]
    align_corners: AlignCorners = "corners"
    normalization: Normalization = Normalization()
    in_channels: int = 3

    key_maps: ClassVar[tuple[KeyMap, ...]] = (ATTANET_RESNET, ATTANET_LIGHT)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (RESNET_IMAGENET, DF_IMAGENET)

    def __post_init__(self) -> None:
        check_channels(self)

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode: the light stack with its own head, else the
        ResNet-18 head; logits (B, num_classes, ~H/8, ~W/8).

        Raises:
            ValueError: no such backbone.
        """
        from segattn.backbones.df import DF2
        from segattn.backbones.light import AttaNetLight
        from segattn.backbones.resnet import ResNet, resnet_depth
        from segattn.heads.attanet import AttaNetHead, AttaNetLightHead
        from segattn.layers import float32_by_default
        from segattn.models.segmenter import Segmenter

        with float32_by_default():
            if self.backbone == "light":
                light = AttaNetLight(in_channels=self.in_channels)
                return Segmenter(
                    backbone=light,
                    head=AttaNetLightHead(light.channels, num_classes),
                    num_classes=num_classes,
                    align_corners=self.align_corners,
                    stride=8,
                    normalization=self.normalization,
                )
            backbone: DF2 | ResNet
            if self.backbone == "df2":
                backbone = DF2(in_channels=self.in_channels)
            else:
                backbone = ResNet(resnet_depth(self.backbone), in_channels=self.in_channels)
            return Segmenter(
                backbone=backbone,
                head=AttaNetHead(backbone.channels[-3:], num_classes),
                num_classes=num_classes,
                align_corners=self.align_corners,
                stride=8,
                normalization=self.normalization,
            )
