"""`segattn.build`: any backbone with any head, parts by name from explicit lists, or the caller's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from segattn.backbones.df import DF1, DF2
from segattn.backbones.efficientnet_lite import EfficientNetLite
from segattn.backbones.light import AttaNetLight
from segattn.backbones.pvt import PVT
from segattn.backbones.resnet import ResNet
from segattn.backbones.swin import Swin
from segattn.backbones.timm_adapter import TimmBackbone
from segattn.backbones.van import VAN
from segattn.contracts import AlignCorners, Backbone, Head, nearest
from segattn.heads.acfnet import ACFNetHead
from segattn.heads.attanet import AttaNetHead, AttaNetLightHead
from segattn.heads.danet import DANetHead
from segattn.heads.fcn import FCN
from segattn.heads.ham import HamNet, LightHam
from segattn.heads.semantic_fpn import SemanticFPN
from segattn.heads.upernet import UperNet
from segattn.layers import float32_by_default
from segattn.models.segmenter import Segmenter
from segattn.normalization import Normalization, require_entries

_os8 = partial(ResNet, output_stride=8, stage3_dilations=(1, 2), stage4_dilations=(2, 4))
_acfnet_trunk = partial(
    ResNet, output_stride=8, stage3_dilations=(2,), stage4_dilations=(4,), deep_stem=True, ceil_pool=True
)
_lite_os16 = partial(EfficientNetLite, output_stride=16, padding="centred")

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "resnet18": partial(ResNet, 18),
    "resnet34": partial(ResNet, 34),
    "resnet50": partial(ResNet, 50),
    "resnet101": partial(ResNet, 101),
    "resnet152": partial(ResNet, 152),
    "resnet50_os8": partial(_os8, 50),
    "resnet101_os8": partial(_os8, 101),
    "resnet152_os8": partial(_os8, 152),
    "ecanet101_os8": partial(_acfnet_trunk, 101, eca=True),
    "attanet_light": AttaNetLight,
    "df1": DF1,
    "df2": DF2,
    "efficientnet_lite0": partial(EfficientNetLite, 0),
    "efficientnet_lite1": partial(EfficientNetLite, 1),
    "efficientnet_lite2": partial(EfficientNetLite, 2),
    "efficientnet_lite3": partial(EfficientNetLite, 3),
    "efficientnet_lite4": partial(EfficientNetLite, 4),
    "efficientnet_lite0_os16": partial(_lite_os16, 0),
    "efficientnet_lite1_os16": partial(_lite_os16, 1),
    "efficientnet_lite2_os16": partial(_lite_os16, 2),
    "efficientnet_lite3_os16": partial(_lite_os16, 3),
    "efficientnet_lite4_os16": partial(_lite_os16, 4),
    "van_tiny": partial(VAN, "tiny"),
    "van_small": partial(VAN, "small"),
    "van_base": partial(VAN, "base"),
    "van_large": partial(VAN, "large", drop_path=0.25),
    "van_huge": partial(VAN, "huge", drop_path=0.4),
    "van_b5": partial(VAN, "b5", drop_path=0.4),
    "van_b6": partial(VAN, "b6", drop_path=0.5),
    "van_tiny_os8": partial(VAN, "tiny", stage_strides=(4, 2, 1, 1)),
    "van_small_os8": partial(VAN, "small", stage_strides=(4, 2, 1, 1)),
    "van_base_os8": partial(VAN, "base", stage_strides=(4, 2, 1, 1)),
    "van_large_os8": partial(VAN, "large", stage_strides=(4, 2, 1, 1), drop_path=0.25),
    "agent_swin_t": partial(Swin, "t", drop_path=0.3),
    "agent_swin_s": partial(Swin, "s", drop_path=0.3),
    "agent_swin_b": partial(Swin, "b", drop_path=0.5),
    "swin_t": partial(Swin, "t", attention="BBBB", drop_path=0.3),
    "swin_s": partial(Swin, "s", attention="BBBB", drop_path=0.3),
    "swin_b": partial(Swin, "b", attention="BBBB", drop_path=0.5),
    "agent_pvt_t": partial(PVT, "t", drop_path=0.1),
    "agent_pvt_s": partial(PVT, "s", drop_path=0.1),
    "agent_pvt_m": partial(PVT, "m", drop_path=0.2),
    "agent_pvt_l": partial(PVT, "l", drop_path=0.1),
    "pvt_t": partial(PVT, "t", agents=False, drop_path=0.1),
    "pvt_s": partial(PVT, "s", agents=False, drop_path=0.1),
    "pvt_m": partial(PVT, "m", agents=False, drop_path=0.2),
    "pvt_l": partial(PVT, "l", agents=False, drop_path=0.1),
}
"""Every backbone by name, with random weights and the drop path of its recipes. `timm:NAME` is taken too.

The `resnet*_os8` are dilated by 2 and 4 without multi-grid; `ecanet101_os8` is ACFNet's; the `van_*_os8` are HamNet's,
without dilation; the `efficientnet_lite*_os16` have three maps, at 1/4, 1/8 and 1/16, and their cells on the grid."""


class _HeadEntry(NamedTuple):
    """The making of a head from a backbone's channels, and its demands on the maps.

    Attributes:
        maps: fewest maps.
        exactly: no more than that.
        halving: each map half as large as the one before.
    """

    make: Callable[[tuple[int, ...], int], Head]
    maps: int
    exactly: bool = False
    halving: bool = False


def _danet(channels: tuple[int, ...], num_classes: int) -> Head:
    if channels[-1] < 32:
        raise ValueError(f"head danet: last map of {channels[-1]} channels, expected 32 or more for its keys")
    return DANetHead(channels[-1], num_classes)


HEADS: dict[str, _HeadEntry] = {
    "danet": _HeadEntry(_danet, maps=1),
    "acfnet": _HeadEntry(partial(ACFNetHead, aux_index=-2), maps=2),
    "acfnet_narrow": _HeadEntry(partial(ACFNetHead, aux_index=-2, width=64), maps=2),
    "attanet": _HeadEntry(lambda channels, num_classes: AttaNetHead(channels[-3:], num_classes), maps=3),
    "attanet_light": _HeadEntry(AttaNetLightHead, maps=3, exactly=True),
    "light_ham": _HeadEntry(LightHam, maps=4, exactly=True),
    "ham": _HeadEntry(HamNet, maps=1),
    "upernet": _HeadEntry(UperNet, maps=2),
    "semantic_fpn": _HeadEntry(SemanticFPN, maps=2, halving=True),
    "fcn": _HeadEntry(FCN, maps=2),
}
"""Every head by name: danet and ham read the last map, fcn the last but one, acfnet both, in its own width
and in an eighth of it; attanet reads the last three, light_ham all four but the first, upernet and semantic_fpn all."""

MakeHead = Callable[[tuple[int, ...], int], Head]
"""A backbone's channels and a number of classes -> a head."""


def build(
    backbone: str | Backbone,
    head: str | MakeHead,
    *,
    num_classes: int,
    auxiliary_head: str | MakeHead | None = None,
    align_corners: AlignCorners | bool = "edges",
    normalization: Normalization = Normalization(),
    in_channels: int = 3,
) -> Segmenter:
    """A backbone with a head, with random weights, in evaluation mode.

    >>> model = build("van_tiny", "danet", num_classes=19)

    Args:
        backbone: a name of `BACKBONES`, `timm:NAME`, or a module with `channels` and `strides` (`contracts.Backbone`).
        head: a name of `HEADS`, or a function of the backbone's channels and the number of classes.
        num_classes: K of all logits.
        auxiliary_head: a second head that only training runs; its logits are the output "aux".
        align_corners: how logits are resized to the image (`contracts.AlignCorners`); PyTorch's True and False are read
            as "corners" and "edges".
        normalization: what the backbone's weights expect.
        in_channels: of the images, which a backbone of one's own takes; `normalization` has entries for each.

    Raises:
        ValueError: an unknown name (the nearest are offered), or maps that don't suit the head.
        TypeError: a backbone without `channels` and `strides`.
        ImportError: `timm:NAME` without timm.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes {num_classes}: expected 1 or more")
    require_entries(normalization, in_channels)
    with float32_by_default():
        trunk = make_backbone(backbone, in_channels) if isinstance(backbone, str) else backbone
        channels, strides = _declared(trunk)
        return Segmenter(
            trunk,
            _make_head(head, channels, strides, num_classes),
            None if auxiliary_head is None else _make_head(auxiliary_head, channels, strides, num_classes),
            num_classes=num_classes,
            align_corners=align_corners,
            normalization=normalization,
        ).eval()


def make_backbone(name: str, in_channels: int = 3) -> Backbone:
    """The backbone of that name, with random weights, for images of so many channels.

    Raises:
        ValueError: there is none; the nearest are offered.
        ImportError: `timm:NAME` without timm.
    """
    if name.startswith("timm:"):
        return TimmBackbone(name.removeprefix("timm:"), in_channels=in_channels)
    if name not in BACKBONES:
        raise ValueError(
            f"unknown backbone {name!r}.{nearest(name, BACKBONES)} Known: {', '.join(BACKBONES)}, and timm:NAME"
        )
    return BACKBONES[name](in_channels=in_channels)


def _declared(backbone: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    declared = []
    for what in ("channels", "strides"):
        values = getattr(backbone, what, None)
        if not isinstance(values, (tuple, list)) or not all(isinstance(value, int) for value in values):
            raise TypeError(
                f"backbone {type(backbone).__name__}: `{what}` is {values!r}, expected a tuple of one int for each map "
                "that it returns; see segattn.contracts.Backbone"
            )
        declared.append(tuple(values))
    channels, strides = declared
    if not channels or len(channels) != len(strides):
        raise ValueError(f"backbone {type(backbone).__name__}: {len(channels)} channels and {len(strides)} strides")
    return channels, strides


def _make_head(head: str | MakeHead, channels: tuple[int, ...], strides: tuple[int, ...], num_classes: int) -> Head:
    if not isinstance(head, str):
        return head(channels, num_classes)
    if head not in HEADS:
        raise ValueError(f"unknown head {head!r}.{nearest(head, HEADS)} Known: {', '.join(HEADS)}")
    entry = HEADS[head]
    if len(channels) < entry.maps or (entry.exactly and len(channels) != entry.maps):
        raise ValueError(
            f"head {head} needs {'exactly' if entry.exactly else 'at least'} {entry.maps} maps, "
            f"the backbone gives {len(channels)}, of strides {strides}"
        )
    if entry.halving and any(coarse != 2 * fine for fine, coarse in itertools.pairwise(strides)):
        raise ValueError(
            f"head {head} needs maps that halve from one to the next, such as strides (4, 8, 16, 32); "
            f"the backbone's are {strides}"
        )
    return entry.make(channels, num_classes)
