"""Every description of a network, and every naming of checkpoint tensors that they read.

A description is data: it is a field of every recipe and round-trips to YAML, tagged by `kind`. It builds itself, and
declares the key maps of its files. No torch here.
"""

from __future__ import annotations

from itertools import chain
from typing import get_args

from segattn.models.acfnet import ACFNet
from segattn.models.agent import AgentPVTSemanticFPN, AgentSwinUperNet
from segattn.models.attanet import AttaNet
from segattn.models.compose import Pair
from segattn.models.danet import DANet
from segattn.models.key_map import KeyMap
from segattn.models.van import VANHamNet, VANLightHam, VANSemanticFPN, VANUperNet

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

OURS = KeyMap(name="our own", renames=())

KEY_MAPS: tuple[KeyMap, ...] = (
    OURS,
    *dict.fromkeys(chain.from_iterable(network.key_maps for network in get_args(Network))),
)
"""Files of whole networks, in the order in which they are tried."""

BACKBONE_MAPS: tuple[KeyMap, ...] = (
    *dict.fromkeys(chain.from_iterable(network.backbone_key_maps for network in get_args(Network))),
    KeyMap(name="our own, backbone alone", renames=((r"^", "backbone."),)),
)
"""Files of backbones: ImageNet classifiers."""
