"""From a network's description to the network: one function a composition, explicit in all that it puts together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from segattn.attention.class_center import class_centers, released_class_feature
from segattn.backbones.df import DF2
from segattn.backbones.light import AttaNetLight
from segattn.backbones.resnet import Depth, ResNet
from segattn.contracts import nearest
from segattn.heads.acfnet import ACFNetHead
from segattn.heads.attanet import AttaNetHead, AttaNetLightHead
from segattn.heads.danet import DANetHead
from segattn.heads.fcn import FCN
from segattn.layers import float32_by_default
from segattn.models import networks
from segattn.models.build_agent import agent_pvt_semantic_fpn, agent_swin_upernet
from segattn.models.build_van import VAN_BUILDERS
from segattn.models.pairs import pair
from segattn.models.segmenter import Segmenter

RESNET_DEPTHS: dict[str, Depth] = {
    "resnet18": 18,
    "resnet34": 34,
    "resnet50": 50,
    "resnet101": 101,
    "resnet152": 152,
}


def build_network(network: networks.Network, num_classes: int) -> Segmenter:
    """The described network with random float32 weights, in training mode; logits of `num_classes`.

    Raises:
        TypeError: `network` is no description that this module knows.
        ValueError: it names a part that does not exist.
    """
    builder = BUILDERS.get(type(network))
    if builder is None:
        known = ", ".join(kind.__name__ for kind in BUILDERS)
        raise TypeError(f"network description of type {type(network).__name__}: expected one of {known}")
    with float32_by_default():
        model = builder(network, num_classes)
    model.network = network
    return model


def attanet(network: networks.AttaNet, num_classes: int) -> Segmenter:
    """AttaNet: the light stack with its own head, anything else with the ResNet-18 head."""
    if network.backbone == "light":
        light = AttaNetLight()
        return Segmenter(
            backbone=light,
            head=AttaNetLightHead(light.channels, num_classes),
            num_classes=num_classes,
            align_corners=network.align_corners,
            stride=8,
            normalization=network.normalization,
        )
    backbone = DF2() if network.backbone == "df2" else ResNet(resnet_depth(network.backbone))
    return Segmenter(
        backbone=backbone,
        head=AttaNetHead(backbone.channels[-3:], num_classes),
        num_classes=num_classes,
        align_corners=network.align_corners,
        stride=8,
        normalization=network.normalization,
    )


def danet(network: networks.DANet, num_classes: int) -> Segmenter:
    """DANet: a ResNet of output stride 8, whose stage 3 dilates by 1 in the first block and 2 in the rest."""
    backbone = ResNet(
        resnet_depth(network.backbone),
        output_stride=8,
        stage3_dilations=(1, 2),
        stage4_dilations=network.stage4_dilations,
        deep_stem=network.stem != "conv7x7",
        stem_channels=32 if network.stem == "deep32" else 64,
    )
    return Segmenter(
        backbone=backbone,
        head=DANetHead(backbone.channels[-1], num_classes),
        auxiliary_head=None if network.auxiliary_head is None else FCN(backbone.channels, num_classes),
        num_classes=num_classes,
        align_corners=network.align_corners,
        normalization=network.normalization,
    )


def acfnet(network: networks.ACFNet, num_classes: int) -> Segmenter:
    """ACFNet: a deep-stem ResNet of output stride 8, with ECA or without; auxiliary logits from its stage 3."""
    eca = network.backbone == "ecanet101"
    backbone = ResNet(
        101 if eca else resnet_depth(network.backbone),
        output_stride=8,
        stage3_dilations=(2,),
        stage4_dilations=(4,),
        deep_stem=True,
        ceil_pool=True,
        eca=eca,
    )
    return Segmenter(
        backbone=backbone,
        head=ACFNetHead(
            backbone.channels,
            num_classes,
            aux_index=2,
            class_feature=class_centers if network.class_feature == "paper" else released_class_feature,
        ),
        num_classes=num_classes,
        align_corners=True,
        normalization=network.normalization,
    )


def resnet_depth(name: str) -> Depth:
    """The depth in a ResNet's name.

    Raises:
        ValueError: no such ResNet.
    """
    if name not in RESNET_DEPTHS:
        known = ", ".join(RESNET_DEPTHS)
        raise ValueError(f"unknown backbone {name!r}: expected one of {known}.{nearest(name, RESNET_DEPTHS)}")
    return RESNET_DEPTHS[name]


BUILDERS: dict[type, Callable[[Any, int], Segmenter]] = {
    networks.AttaNet: attanet,
    networks.DANet: danet,
    networks.ACFNet: acfnet,
    **VAN_BUILDERS,
    networks.AgentSwinUperNet: agent_swin_upernet,
    networks.AgentPVTSemanticFPN: agent_pvt_semantic_fpn,
    networks.Pair: pair,
}
"""Which function builds which description."""
