"""What a network can be: one frozen description a composition. `models/build.py` turns it into a `Segmenter`.

A description is data: it is a field of every recipe and round-trips to YAML, tagged by `kind`. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segattn.contracts import ABOVE_ZERO_TO_ONE, BELOW_ONE, CHANNELS, AlignCorners, Normalization, Range, check

ResNetDepth = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


@dataclass(frozen=True, kw_only=True)
class AttaNet:
    """Strip attention and attention fusion (arXiv 2103.05930) on the paper's light stack, a ResNet, or DF2.

    The paper's code has `light` and `resnet18`. The deeper ResNets and the head on `df2` are extensions, derived from
    the ResNet-18 head. The paper's code aligns corners; see `contracts.AlignCorners` for what that costs.
    """

    backbone: Literal["light", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "df2"]
    align_corners: AlignCorners = True
    normalization: Normalization = Normalization()


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
    align_corners: bool = True
    auxiliary_head: Literal["fcn"] | None = None
    normalization: Normalization = Normalization()

    def __post_init__(self) -> None:
        check(self, stage4_dilations=Range(1, 1024, "1 to 1024"))
        if not 1 <= len(self.stage4_dilations) <= 3:
            raise ValueError(f"stage4_dilations: {len(self.stage4_dilations)} numbers, expected 1 to 3, one a block")


@dataclass(frozen=True, kw_only=True)
class ACFNet:
    """Attentional class features (arXiv 1909.09408) on a deep-stem ResNet-101 of output stride 8, with ASPP.

    `class_feature` picks the paper's class centres or the formula of the unofficial released code.
    """

    backbone: Literal["ecanet101", "resnet50", "resnet101"]
    class_feature: Literal["paper", "released"] = "paper"
    normalization: Normalization = Normalization()


VANSize = Literal["tiny", "small", "base", "large", "huge", "b5", "b6"]
AgentSwinSize = Literal["t", "s", "b"]
AgentPVTSize = Literal["t", "s", "m", "l"]


@dataclass(frozen=True, kw_only=True)
class VANLightHam:
    """VAN (arXiv 2202.09741) with the Light-Ham head: `ham_channels` D, `channels` E, `bases` R of the NMF.

    The released code draws the NMF's initial bases anew at every call, in evaluation too, so that a picture scores
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

    def __post_init__(self) -> None:
        check(self, ham_channels=CHANNELS, channels=CHANNELS, bases=CHANNELS)
        check(self, drop_path=BELOW_ONE, norm_eps=ABOVE_ZERO_TO_ONE)


@dataclass(frozen=True, kw_only=True)
class VANHamNet:
    """VAN at output stride 8 with the HamNet head and an FCN auxiliary head; `bases_in_eval` as in `VANLightHam`."""

    size: VANSize
    bases_in_eval: Literal["fixed", "random"] = "fixed"
    drop_path: float = 0.1
    norm_eps: float = 1e-6
    normalization: Normalization = Normalization()

    def __post_init__(self) -> None:
        check(self, drop_path=BELOW_ONE, norm_eps=ABOVE_ZERO_TO_ONE)


@dataclass(frozen=True, kw_only=True)
class VANUperNet:
    """VAN with UperNet and an FCN auxiliary head. `norm_eps` is 1e-5 in the newer released code."""

    size: VANSize
    drop_path: float = 0.1
    norm_eps: float = 1e-6
    normalization: Normalization = Normalization()

    def __post_init__(self) -> None:
        check(self, drop_path=BELOW_ONE, norm_eps=ABOVE_ZERO_TO_ONE)


@dataclass(frozen=True, kw_only=True)
class VANSemanticFPN:
    """VAN with the Semantic FPN neck and head."""

    size: VANSize
    drop_path: float = 0.1
    norm_eps: float = 1e-6
    normalization: Normalization = Normalization()

    def __post_init__(self) -> None:
        check(self, drop_path=BELOW_ONE, norm_eps=ABOVE_ZERO_TO_ONE)


@dataclass(frozen=True, kw_only=True)
class AgentSwinUperNet:
    """Agent-Swin (arXiv 2312.08874) with UperNet and an FCN auxiliary head."""

    size: AgentSwinSize
    drop_path: float = 0.3
    normalization: Normalization = Normalization()

    def __post_init__(self) -> None:
        check(self, drop_path=BELOW_ONE)


@dataclass(frozen=True, kw_only=True)
class AgentPVTSemanticFPN:
    """Agent-PVT (arXiv 2312.08874) with the Semantic FPN neck and head."""

    size: AgentPVTSize
    drop_path: float = 0.1
    normalization: Normalization = Normalization()

    def __post_init__(self) -> None:
        check(self, drop_path=BELOW_ONE)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Any backbone with any head, by the names of `models/pairs.py`: for comparisons in which only one part changes.

    `auxiliary_head` runs in training only; its logits are the output "aux".
    """

    backbone: str
    head: str
    auxiliary_head: str | None = None
    align_corners: AlignCorners = False
    normalization: Normalization = Normalization()


Network = (
    AttaNet
    | DANet
    | ACFNet
    | VANLightHam
    | VANHamNet
    | VANUperNet
    | VANSemanticFPN
    | AgentSwinUperNet
    | AgentPVTSemanticFPN
    | Pair
)
