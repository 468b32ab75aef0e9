"""Depths by name: in the order in which data flows, without gaps, for every backbone of the package."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segattn.models.build import BACKBONES
from segattn.training.blocks import backbone_blocks, parameter_depths

NAMES = [*BACKBONES]
FAMILIES = ["resnet18", "resnet50_os8", "ecanet101_os8", "attanet_light", "df1", "df2", "van_tiny", "swin_t"]
FAMILIES += ["efficientnet_lite0", "agent_swin_t", "pvt_t", "agent_pvt_t"]


def built(name: str) -> nn.Module:
    with torch.device("meta"):
        return nn.ModuleDict({"backbone": BACKBONES[name](), "head": nn.Linear(2, 2)})


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_depth_and_every_depth_a_parameter(name: str) -> None:
    model = built(name)
    found = parameter_depths(model)
    top = found["head.weight"]
    assert {*found} == {name for name, _ in model.named_parameters()}
    assert sorted({*found.values()}) == list(range(top + 1))
    assert max(value for key, value in found.items() if key.startswith("backbone.")) == top - 1
    stem = 0 if name == "attanet_light" else 1
    assert len(backbone_blocks(model, "this test")) == top - stem


@pytest.mark.parametrize("name", FAMILIES)
def test_depth_grows_along_the_forward_pass(name: str) -> None:
    model = built(name)
    found, order = parameter_depths(model), []
    for path, module in model.named_modules():
        own = [key for key, _ in module.named_parameters(recurse=False)]
        if own and not any(module.children()):
            module.register_forward_pre_hook(lambda *_, key=f"{path}.{own[0]}": order.append(found[key]))
    model["backbone"](torch.empty(2, 3, 64, 64, device="meta"))
    assert order == sorted(order)
    assert {*order} == {*range(found["head.weight"])}


def test_a_resnet_by_hand() -> None:
    found = parameter_depths(built("resnet18"))
    by_hand = {
        "backbone.conv1.weight": 0,
        "backbone.bn1.bias": 0,
        "backbone.layer1.0.conv1.weight": 1,
        "backbone.layer1.1.bn2.weight": 2,
        "backbone.layer2.0.downsample.0.weight": 3,
        "backbone.layer4.1.conv2.weight": 8,
        "head.bias": 9,
    }
    assert {key: found[key] for key in by_hand} == by_hand


def test_what_lies_between_stages_by_hand() -> None:
    van, swin, pvt = (parameter_depths(built(name)) for name in ("van_tiny", "swin_t", "pvt_t"))
    assert van["backbone.patch_embed1.proj.weight"] == 0
    assert van["backbone.norm1.weight"] == van["backbone.block1.2.mlp.fc2.bias"] == 3
    assert van["backbone.patch_embed2.norm.weight"] == van["backbone.block2.0.layer_scale_1"] == 4
    assert swin["backbone.norm0.weight"] == swin["backbone.layers.0.blocks.1.norm2.weight"] == 2
    assert swin["backbone.layers.0.downsample.reduction.weight"] == 3
    assert pvt["backbone.pos_embed1"] == 0
    assert pvt["backbone.pos_embed4"] == pvt["backbone.block4.0.attn.q.weight"] == 7


def test_blocks_are_listed_in_order() -> None:
    paths = backbone_blocks(built("resnet101_os8"), "this test")
    assert paths[:2] == ["backbone.layer1.0", "backbone.layer1.1"]
    assert paths[-4:-2] == ["backbone.layer3.22", "backbone.layer4.0"]


class Own(nn.Module):
    """A backbone of somebody's own."""

    channels, strides = (4,), (2,)

    def __init__(self, blocks: object) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.body = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(2))
        self.last = nn.Linear(4, 4)
        if blocks is not None:
            self.blocks = blocks


def test_a_backbone_of_ones_own_goes_by_the_blocks_that_it_declares() -> None:
    model = nn.ModuleDict({"backbone": Own(("body.0", "body.1")), "head": nn.Linear(2, 2)})
    found = {name.removesuffix(".weight"): depth for name, depth in parameter_depths(model).items()}
    weights = {name: depth for name, depth in found.items() if not name.endswith("bias")}
    assert weights == {
        "backbone.first": 0,
        "backbone.body.0": 1,
        "backbone.body.1": 2,
        "backbone.last": 2,
        "head": 3,
    }


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (None, "this model has no part called `backbone`"),
        (Own(None), "no backbone whose blocks are known: Own declares none in `blocks`"),
        (Own([]), "Own declares none in `blocks`"),
        (Own(nn.ModuleList()), "Own declares none in `blocks`"),
        (Own(("body.0", "body.7")), "Own.blocks names 'body.7', and the backbone has no such module"),
    ],
)
def test_what_declares_no_blocks_is_refused(backbone: nn.Module | None, message: str) -> None:
    model = nn.ModuleDict({"head": nn.Linear(2, 2)} if backbone is None else {"backbone": backbone})
    with pytest.raises(ValueError, match=f"optimizer.layer_decay: .*{message}"):
        parameter_depths(model)
