"""VAN segmentation (arXiv 2202.09741): one description a decoder, which builds the network, and the files' key names.

All resize their logits without aligned corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from segattn.contracts import ABOVE_ZERO_TO_ONE, BELOW_ONE, CHANNELS, AlignCorners, check
from segattn.models.key_map import MMSEG, KeyMap
from segattn.normalization import Normalization, check_channels

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter

VANSize = Literal["tiny", "small", "base", "large", "huge", "b5", "b6"]

VAN_IMAGENET = KeyMap(
    name="VAN, ImageNet classifier",
    renames=((r"^((?:patch_embed|block|norm)\d\.)", r"backbone.\1"),),
    dropped=((r"^head\.", "the ImageNet classes"),),
)


@dataclass(frozen=True, kw_only=True)
class VANLightHam:
    """VAN (arXiv 2202.09741) with the Light-Ham head: `ham_channels` D, `channels` E, `bases` R of the NMF.

    The released code draws the NMF's initial bases anew at every call, in evaluation too, so that an image scores
    differently each time; "fixed" draws them once, "random" is as released.
    """

    size: VANSize
    ham_channels: int = 512
    channels: int = 512
    bases: int = 64
    bases_in_eval: Literal["fixed", "random"] = "fixed"
    drop_path: float = 0.1
    norm_eps: float = 1e-6
    normalization: Normalization = Normalization()
    in_channels: int = 3

    align_corners: ClassVar[AlignCorners] = "edges"
    key_maps: ClassVar[tuple[KeyMap, ...]] = (MMSEG,)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (VAN_IMAGENET,)

    def __post_init__(self) -> None:
        check_channels(self)
        check(self, ham_channels=CHANNELS, channels=CHANNELS, bases=CHANNELS)
        check(self, drop_path=BELOW_ONE, norm_eps=ABOVE_ZERO_TO_ONE)

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode; logits (B, num_classes, ~H/8, ~W/8).

        Raises:
            ValueError: no such size.
        """
        from segattn.backbones.van import VAN
        from segattn.heads.ham import LightHam
        from segattn.layers import float32_by_default
        from segattn.models.segmenter import Segmenter

        with float32_by_default():
            backbone = VAN(self.size, drop_path=self.drop_path, norm_eps=self.norm_eps, in_channels=self.in_channels)
            return Segmenter(
                backbone=backbone,
                head=LightHam(
                    backbone.channels,
                    num_classes,
                    ham_channels=self.ham_channels,
                    channels=self.channels,
                    bases=self.bases,
                    random_bases_in_eval=self.bases_in_eval == "random",
                ),
                num_classes=num_classes,
                align_corners=self.align_corners,
                normalization=self.normalization,
            )


@dataclass(frozen=True, kw_only=True)
class VANHamNet:
    """VAN at output stride 8 with the HamNet head and an FCN auxiliary head; `bases_in_eval` as in `VANLightHam`."""

    size: VANSize
    bases_in_eval: Literal["fixed", "random"] = "fixed"
    drop_path: float = 0.1
    norm_eps: float = 1e-6
    normalization: Normalization = Normalization()
    in_channels: int = 3

    align_corners: ClassVar[AlignCorners] = "edges"
    key_maps: ClassVar[tuple[KeyMap, ...]] = (MMSEG,)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (VAN_IMAGENET,)

    def __post_init__(self) -> None:
        check_channels(self)
        check(self, drop_path=BELOW_ONE, norm_eps=ABOVE_ZERO_TO_ONE)

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode; logits (B, num_classes, ~H/8, ~W/8).

        Group norm in both heads.

        Raises:
            ValueError: no such size.
        """
        from segattn.backbones.van import VAN
        from segattn.heads.fcn import FCN
        from segattn.heads.ham import HamNet
        from segattn.layers import float32_by_default, group_norm
        from segattn.models.segmenter import Segmenter

        with float32_by_default():
            backbone = VAN(
                self.size,
                stage_strides=(4, 2, 1, 1),
                drop_path=self.drop_path,
                norm_eps=self.norm_eps,
                in_channels=self.in_channels,
            )
            return Segmenter(
                backbone=backbone,
                head=HamNet(backbone.channels, num_classes, random_bases_in_eval=self.bases_in_eval == "random"),
                auxiliary_head=FCN(backbone.channels, num_classes, norm=group_norm),
                num_classes=num_classes,
                align_corners=self.align_corners,
                normalization=self.normalization,
            )


@dataclass(frozen=True, kw_only=True)
class VANUperNet:
    """VAN with UperNet and an FCN auxiliary head. `norm_eps` is 1e-5 in the newer released code."""

    size: VANSize
    drop_path: float = 0.1
    norm_eps: float = 1e-6
    normalization: Normalization = Normalization()
    in_channels: int = 3

    align_corners: ClassVar[AlignCorners] = "edges"
    key_maps: ClassVar[tuple[KeyMap, ...]] = (MMSEG,)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (VAN_IMAGENET,)

    def __post_init__(self) -> None:
        check_channels(self)
        check(self, drop_path=BELOW_ONE, norm_eps=ABOVE_ZERO_TO_ONE)

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode; logits (B, num_classes, ~H/4, ~W/4).

        Raises:
            ValueError: no such size.
        """
        from segattn.backbones.van import VAN
        from segattn.heads.fcn import FCN
        from segattn.heads.upernet import UperNet
        from segattn.layers import float32_by_default
        from segattn.models.segmenter import Segmenter

        with float32_by_default():
            backbone = VAN(self.size, drop_path=self.drop_path, norm_eps=self.norm_eps, in_channels=self.in_channels)
            return Segmenter(
                backbone=backbone,
                head=UperNet(backbone.channels, num_classes),
                auxiliary_head=FCN(backbone.channels, num_classes),
                num_classes=num_classes,
                align_corners=self.align_corners,
                normalization=self.normalization,
            )


@dataclass(frozen=True, kw_only=True)
class VANSemanticFPN:
    """VAN with the Semantic FPN neck and head."""

    size: VANSize
    drop_path: float = 0.1
    norm_eps: float = 1e-6
    normalization: Normalization = Normalization()
    in_channels: int = 3

    align_corners: ClassVar[AlignCorners] = "edges"
    key_maps: ClassVar[tuple[KeyMap, ...]] = (MMSEG,)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (VAN_IMAGENET,)

    def __post_init__(self) -> None:
        check_channels(self)
        check(self, drop_path=BELOW_ONE, norm_eps=ABOVE_ZERO_TO_ONE)

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode; logits (B, num_classes, ~H/4, ~W/4).

        Raises:
            ValueError: no such size.
        """
        from segattn.backbones.van import VAN
        from segattn.heads.semantic_fpn import SemanticFPN
        from segattn.layers import float32_by_default
        from segattn.models.segmenter import Segmenter

        with float32_by_default():
            backbone = VAN(self.size, drop_path=self.drop_path, norm_eps=self.norm_eps, in_channels=self.in_channels)
            return Segmenter(
                backbone=backbone,
                head=SemanticFPN(backbone.channels, num_classes),
                num_classes=num_classes,
                align_corners=self.align_corners,
                normalization=self.normalization,
            )
