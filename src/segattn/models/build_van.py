"""The compositions of VAN (arXiv 2202.09741). All resize their logits without aligned corners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from segattn.backbones.van import VAN
from segattn.heads.fcn import FCN
from segattn.heads.ham import HamNet, LightHam
from segattn.heads.initialization import group_norm
from segattn.heads.semantic_fpn import SemanticFPN
from segattn.heads.upernet import UperNet
from segattn.models.networks import VANHamNet, VANLightHam, VANSemanticFPN, VANUperNet
from segattn.models.segmenter import Segmenter


def van_light_ham(network: VANLightHam, num_classes: int) -> Segmenter:
    """VAN with the Light-Ham decoder; logits at 1/8."""
    backbone = VAN(network.size, drop_path=network.drop_path, norm_eps=network.norm_eps)
    return Segmenter(
        backbone=backbone,
        head=LightHam(
            backbone.channels,
            num_classes,
            ham_channels=network.ham_channels,
            channels=network.channels,
            bases=network.bases,
            random_bases_in_eval=network.bases_in_eval == "random",
        ),
        num_classes=num_classes,
        align_corners=False,
        normalization=network.normalization,
    )


def van_hamnet(network: VANHamNet, num_classes: int) -> Segmenter:
    """VAN at output stride 8 with the HamNet decoder and an FCN auxiliary head, group norm in both; logits at 1/8."""
    backbone = VAN(network.size, stage_strides=(4, 2, 1, 1), drop_path=network.drop_path, norm_eps=network.norm_eps)
    return Segmenter(
        backbone=backbone,
        head=HamNet(backbone.channels, num_classes, random_bases_in_eval=network.bases_in_eval == "random"),
        auxiliary_head=FCN(backbone.channels, num_classes, norm=group_norm),
        num_classes=num_classes,
        align_corners=False,
        normalization=network.normalization,
    )


def van_upernet(network: VANUperNet, num_classes: int) -> Segmenter:
    """VAN with UperNet and an FCN auxiliary head; logits at 1/4."""
    backbone = VAN(network.size, drop_path=network.drop_path, norm_eps=network.norm_eps)
    return Segmenter(
        backbone=backbone,
        head=UperNet(backbone.channels, num_classes),
        auxiliary_head=FCN(backbone.channels, num_classes),
        num_classes=num_classes,
        align_corners=False,
        normalization=network.normalization,
    )


def van_semantic_fpn(network: VANSemanticFPN, num_classes: int) -> Segmenter:
    """VAN with the Semantic FPN decoder; logits at 1/4."""
    backbone = VAN(network.size, drop_path=network.drop_path, norm_eps=network.norm_eps)
    return Segmenter(
        backbone=backbone,
        head=SemanticFPN(backbone.channels, num_classes),
        num_classes=num_classes,
        align_corners=False,
        normalization=network.normalization,
    )


VAN_BUILDERS: dict[type, Callable[[Any, int], Segmenter]] = {
    VANLightHam: van_light_ham,
    VANHamNet: van_hamnet,
    VANUperNet: van_upernet,
    VANSemanticFPN: van_semantic_fpn,
}
"""Which function builds which description."""
