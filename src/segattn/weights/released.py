"""Every naming of checkpoint tensors that this package reads: explicit lists, tried in this order."""

from __future__ import annotations

from segattn.weights.acfnet import ACFNET
from segattn.weights.agent import AGENT_PVT_IMAGENET, AGENT_SWIN_IMAGENET
from segattn.weights.attanet import ATTANET_LIGHT, ATTANET_RESNET, DF_IMAGENET
from segattn.weights.danet import DANET, DANET_DEEP_STEM, DANET_MMSEG
from segattn.weights.efficientnet_lite import EFFICIENTNET_LITE_IMAGENET
from segattn.weights.keymap import KeyMap
from segattn.weights.mmseg import MMSEG, VAN_IMAGENET
from segattn.weights.resnet import DEEP_STEM_IMAGENET, RESNET_IMAGENET, V1C_IMAGENET

OURS = KeyMap(name="our own", renames=())

KEY_MAPS: tuple[KeyMap, ...] = (
    OURS,
    ATTANET_RESNET,
    ATTANET_LIGHT,
    DANET,
    DANET_DEEP_STEM,
    ACFNET,
    MMSEG,
    DANET_MMSEG,
)
"""Files of whole networks."""

BACKBONE_MAPS: tuple[KeyMap, ...] = (
    RESNET_IMAGENET,
    DEEP_STEM_IMAGENET,
    V1C_IMAGENET,
    DF_IMAGENET,
    VAN_IMAGENET,
    EFFICIENTNET_LITE_IMAGENET,
    AGENT_SWIN_IMAGENET,
    AGENT_PVT_IMAGENET,
    KeyMap(name="our own, backbone alone", renames=((r"^", "backbone."),)),
)
"""Files of backbones: ImageNet classifiers."""
