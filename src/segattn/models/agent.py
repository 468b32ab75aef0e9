"""Agent Attention segmentation (arXiv 2312.08874): descriptions that build the networks, and the files' key names.

Both resize their logits without aligned corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from segattn.contracts import BELOW_ONE, AlignCorners, check
from segattn.models.key_map import MMSEG, KeyMap
from segattn.normalization import Normalization, check_channels

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter

AgentSwinSize = Literal["t", "s", "b"]
AgentPVTSize = Literal["t", "s", "m", "l"]

AGENT_SWIN_IMAGENET = KeyMap(
    name="Agent-Swin or Swin, ImageNet classifier",
    renames=((r"^(?:module\.)?((?:patch_embed|layers|norm\d)\.)", r"backbone.\1"),),
    dropped=(
        (r"^(?:module\.)?head\.", "the ImageNet classes"),
        (r"^(?:module\.)?norm\.", "the classifier's last norm; each stage has its own here"),
        (r"\.attn_mask$", "masks are made for the image at hand"),
    ),
    absent=((r"^backbone\.norm[0-3]\.", "the classifier has no norm for each stage; they start as initialised"),),
)
"""The released files keep the tensors under `model`, with names that fit the backbone one to one. They hold nothing for
`norm0` to `norm3`, which stay as initialised; the classifier's last `norm` is not used for `norm3`."""

AGENT_PVT_IMAGENET = KeyMap(
    name="Agent-PVT or PVT, ImageNet classifier",
    renames=((r"^(?:module\.)?", "backbone."),),
    dropped=(
        (r"^(?:module\.)?head\.", "the ImageNet classes"),
        (r"^(?:module\.)?norm\.", "PVT's last norm, which only its classifier uses"),
        (r"^(?:module\.)?cls_token$", "PVT's class token, which only its classifier uses"),
    ),
)


@dataclass(frozen=True, kw_only=True)
class AgentSwinUperNet:
    """Agent-Swin (arXiv 2312.08874) with UperNet and an FCN auxiliary head."""

    size: AgentSwinSize
    drop_path: float = 0.3
    normalization: Normalization = Normalization()
    in_channels: int = 3

    align_corners: ClassVar[AlignCorners] = "edges"
    key_maps: ClassVar[tuple[KeyMap, ...]] = (MMSEG,)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (AGENT_SWIN_IMAGENET,)

    def __post_init__(self) -> None:
        check_channels(self)
        check(self, drop_path=BELOW_ONE)

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode; logits (B, num_classes, ~H/4, ~W/4).

        Raises:
            ValueError: no such size.
        """
        from segattn.backbones.swin import Swin
        from segattn.heads.fcn import FCN
        from segattn.heads.upernet import UperNet
        from segattn.layers import float32_by_default
        from segattn.models.segmenter import Segmenter

        with float32_by_default():
            backbone = Swin(self.size, drop_path=self.drop_path, in_channels=self.in_channels)
            return Segmenter(
                backbone,
                UperNet(backbone.channels, num_classes),
                FCN(backbone.channels, num_classes),
                num_classes=num_classes,
                align_corners=self.align_corners,
                normalization=self.normalization,
            )


@dataclass(frozen=True, kw_only=True)
class AgentPVTSemanticFPN:
    """Agent-PVT (arXiv 2312.08874) with the Semantic FPN neck and head."""

    size: AgentPVTSize
    drop_path: float = 0.1
    normalization: Normalization = Normalization()
    in_channels: int = 3

    align_corners: ClassVar[AlignCorners] = "edges"
    key_maps: ClassVar[tuple[KeyMap, ...]] = (MMSEG,)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = (AGENT_PVT_IMAGENET,)

    def __post_init__(self) -> None:
        check_channels(self)
        check(self, drop_path=BELOW_ONE)

    def build(self, num_classes: int) -> Segmenter:
        """The network with random float32 weights, in training mode; logits (B, num_classes, ~H/4, ~W/4).

        Raises:
            ValueError: no such size.
        """
        from segattn.backbones.pvt import PVT
        from segattn.heads.semantic_fpn import SemanticFPN
        from segattn.layers import float32_by_default
        from segattn.models.segmenter import Segmenter

        with float32_by_default():
            backbone = PVT(self.size, drop_path=self.drop_path, in_channels=self.in_channels)
            return Segmenter(
                backbone,
                SemanticFPN(backbone.channels, num_classes),
                num_classes=num_classes,
                align_corners=self.align_corners,
                normalization=self.normalization,
            )
