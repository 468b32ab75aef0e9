"""Every naming of checkpoint tensors that this package reads: an explicit list, tried in this order."""

from __future__ import annotations

from segattn.weights.acfnet import ACFNET
from segattn.weights.attanet import ATTANET_LIGHT, ATTANET_RESNET
from segattn.weights.danet import DANET, DANET_DEEP_STEM
from segattn.weights.keymap import KeyMap
from segattn.weights.mmseg import MMSEG

OURS = KeyMap(name="our own", renames=())

KEY_MAPS: tuple[KeyMap, ...] = (OURS, ATTANET_RESNET, ATTANET_LIGHT, DANET, DANET_DEEP_STEM, ACFNET, MMSEG)
