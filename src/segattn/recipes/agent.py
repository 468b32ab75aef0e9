"""Agent Attention (arXiv 2312.08874): the seven ADE20K rows of the released README, and one of ours on CamVid."""

from __future__ import annotations

from dataclasses import replace

from segattn.evaluation.protocol import MMSEG_WHOLE
from segattn.models.agent import AgentPVTSemanticFPN, AgentSwinUperNet
from segattn.recipes.ade20k import (
    ADE20K,
    AUGMENTATION,
    AUXILIARY_LOSS,
    FPN_OPTIMIZER,
    FPN_SCHEDULE,
    LONG_OPTIMIZER,
    LONG_SCHEDULE,
    MAIN_LOSS,
)
from segattn.recipes.attanet import LIGHT_CAMVID
from segattn.recipes.published import PublishedCost
from segattn.recipes.schema import Checkpoint, Claim, Paper, ParameterRule, Recipe, Training

AGENT = Paper(
    name="agent",
    title="Agent Attention: On the Integration of Softmax and Linear Attention",
    venue="ECCV 2024",
    arxiv="2312.08874",
    code="https://github.com/LeapLabTHU/Agent-Attention",
    code_licence="not known (none found in the repository)",
    ideas=("agent", "window", "spatial_reduction"),
    counting="agent_script",
)

_NO_DECAY = (
    ParameterRule(
        pattern=r"^backbone\..*(norm|relative_position_bias_table|an_bias|na_bias|ah_bias|aw_bias|ha_bias|wa_bias)",
        weight_decay=0.0,
    ),
)


def _claim(value: float, macc: float) -> tuple[Claim, ...]:
    return (Claim(value=value, split="val", source="released README", protocol="single scale", macc=macc),)


def _cost(parameters: float, macs: float, differs: str = "") -> PublishedCost:
    return PublishedCost(parameters=parameters, macs=macs, convention="agent_script", differs=differs)


_IMAGENET_ONLY_ON_REQUEST = (
    "starts from random weights unless --pretrained is given; the released code demands ImageNet weights"
)
_POSITIONS = (
    "position embeddings are resized wherever a map's sides are not the trained ones; the released code leaves them as "
    "they are where the map has 3136 tokens, which is wrong at 112x448 and fails at 448x448"
)

_EMPTY_LINK = Checkpoint(note="the link in the released README is empty")


def _released(number: str) -> Checkpoint:
    return Checkpoint(url=f"https://cloud.tsinghua.edu.cn/f/{number}/?dl=1", licence=AGENT.code_licence)


def _imagenet(size: str, number: str) -> Checkpoint:
    return replace(_released(number), file=f"agent_{size}_max_acc.pth", holds_objects=True)


SWIN_T = Recipe(
    name="upernet_agent_swin_t_ade20k",
    paper=AGENT,
    checkpoint=_released("280481ee38024bce8364"),
    backbone_checkpoint=_imagenet("swin_t", "a2ddc1190c224f768a41"),
    claims=_claim(46.68, macc=58.53),
    published_cost=_cost(61, 954),
    network=AgentSwinUperNet(size="t", drop_path=0.3),
    data=replace(ADE20K, count_at=(512, 2048)),
    augmentation=AUGMENTATION,
    losses=(MAIN_LOSS, AUXILIARY_LOSS),
    optimizer=LONG_OPTIMIZER,
    parameter_rules=_NO_DECAY,
    schedule=LONG_SCHEDULE,
    training=Training(batch_size=16, sync_norm=True, validate_every=16_000, checkpoint_every=4000),
    protocol=MMSEG_WHOLE,
    validation=MMSEG_WHOLE,
    deviations=(_IMAGENET_ONLY_ON_REQUEST,),
)

SWIN = (
    SWIN_T,
    replace(
        SWIN_T,
        name="upernet_agent_swin_s_ade20k",
        checkpoint=_EMPTY_LINK,
        backbone_checkpoint=_imagenet("swin_s", "f607172c9fea4d6e99bb"),
        claims=_claim(48.08, macc=59.78),
        published_cost=_cost(81, 1043),
        network=AgentSwinUperNet(size="s", drop_path=0.3),
    ),
    replace(
        SWIN_T,
        name="upernet_agent_swin_b_ade20k",
        checkpoint=_EMPTY_LINK,
        backbone_checkpoint=_imagenet("swin_b", "4fcd2d0114bb490483c3"),
        claims=_claim(48.73, macc=60.01),
        published_cost=_cost(121, 1196, "121.6 M was cut to 121"),
        network=AgentSwinUperNet(size="b", drop_path=0.5),
    ),
)

PVT_T = replace(
    SWIN_T,
    name="fpn_agent_pvt_t_ade20k",
    checkpoint=_released("5e7bf988b4b74efe8654"),
    backbone_checkpoint=_imagenet("pvt_t", "13fdf0e0a7c5498c934f"),
    claims=_claim(40.18, macc=51.76),
    published_cost=_cost(15, 147),
    network=AgentPVTSemanticFPN(size="t", drop_path=0.1),
    losses=(MAIN_LOSS,),
    optimizer=FPN_OPTIMIZER,
    parameter_rules=(),
    schedule=FPN_SCHEDULE,
    training=Training(batch_size=16, sync_norm=True, validate_every=4000, checkpoint_every=4000),
    deviations=(_IMAGENET_ONLY_ON_REQUEST, _POSITIONS),
)

PVT = (
    PVT_T,
    replace(
        PVT_T,
        name="fpn_agent_pvt_s_ade20k",
        checkpoint=_released("11332fa565e443678e4c"),
        backbone_checkpoint=_imagenet("pvt_s", "36b8be9a8863456685a3"),
        claims=_claim(44.18, macc=56.17),
        published_cost=_cost(24, 211),
        network=AgentPVTSemanticFPN(size="s", drop_path=0.1),
    ),
    replace(
        PVT_T,
        name="fpn_agent_pvt_m_ade20k",
        checkpoint=_EMPTY_LINK,
        backbone_checkpoint=_imagenet("pvt_m", "4d00ecacf18b45f9b88c"),
        claims=_claim(44.30, macc=56.42),
        published_cost=_cost(40, 321),
        network=AgentPVTSemanticFPN(size="m", drop_path=0.2),
    ),
    replace(
        PVT_T,
        name="fpn_agent_pvt_l_ade20k",
        checkpoint=_released("0da8b58581214f85974f"),
        backbone_checkpoint=_imagenet("pvt_l", "040cfe0cfbbe4762ad09"),
        claims=_claim(46.52, macc=58.50),
        published_cost=_cost(52, 434),
        network=AgentPVTSemanticFPN(size="l", drop_path=0.1),
    ),
)

PVT_T_CAMVID = replace(
    LIGHT_CAMVID,
    name="fpn_agent_pvt_t_camvid",
    results=(),
    checkpoint=Checkpoint(),
    paper=AGENT,
    network=PVT_T.network,
    losses=LIGHT_CAMVID.losses[:1],
    deviations=(
        "the paper has no CamVid recipe: all but the network is attanet_light_camvid's, to be compared with it",
        "the two auxiliary terms of that loss are left out, as this network has no such outputs",
        _POSITIONS,
    ),
)

RECIPES = (*SWIN, *PVT, PVT_T_CAMVID)
