"""The compositions of Agent Attention (arXiv 2312.08874). Both resize their logits without aligned corners."""

from __future__ import annotations

from segattn.backbones.pvt import PVT
from segattn.backbones.swin import Swin
from segattn.heads.fcn import FCN
from segattn.heads.semantic_fpn import SemanticFPN
from segattn.heads.upernet import UperNet
from segattn.models.networks import AgentPVTSemanticFPN, AgentSwinUperNet
from segattn.models.segmenter import Segmenter


def agent_swin_upernet(network: AgentSwinUperNet, num_classes: int) -> Segmenter:
    """Agent-Swin with UperNet and an FCN auxiliary head, batch norm in both; logits at 1/4."""
    backbone = Swin(network.size, drop_path=network.drop_path)
    return Segmenter(
        backbone,
        UperNet(backbone.channels, num_classes),
        FCN(backbone.channels, num_classes),
        num_classes=num_classes,
        align_corners=False,
        normalization=network.normalization,
    )


def agent_pvt_semantic_fpn(network: AgentPVTSemanticFPN, num_classes: int) -> Segmenter:
    """Agent-PVT with the Semantic FPN neck and head; logits at 1/4."""
    backbone = PVT(network.size, drop_path=network.drop_path)
    return Segmenter(
        backbone,
        SemanticFPN(backbone.channels, num_classes),
        num_classes=num_classes,
        align_corners=False,
        normalization=network.normalization,
    )
