"""Depths by name: in the order in which data flows, without gaps, for every backbone of the package."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segattn.models.pairs import BACKBONES
from segattn.training.depth import block_paths, parameter_depths

NAMES = [*BACKBONES]
FAMILIES = ["resnet18", "resnet50_os8", "ecanet101_os8", "attanet_light", "df1", "df2", "van_tiny", "swin_t"]
FAMILIES += ["efficientnet_lite0", "agent_swin_t", "pvt_t", "agent_pvt_t"]


def built(name: str) -> nn.Module:
    with torch.device("meta"):
        return nn.ModuleDict({"backbone": BACKBONES[name](), "head": nn.Linear(2, 2)})


def depths(model: nn.Module) -> dict[str, int]:
    return parameter_depths([name for name, _ in model.named_parameters()])


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_depth_and_every_depth_a_parameter(name: str) -> None:
    model = built(name)
    found = depths(model)
    top = found["head.weight"]
    assert {*found} == {name for name, _ in model.named_parameters()}
    assert sorted({*found.values()}) == list(range(top + 1))
    assert max(value for key, value in found.items() if key.startswith("backbone.")) == top - 1
    stem = 0 if name == "attanet_light" else 1
    assert len(block_paths(found)) == top - stem


@pytest.mark.parametrize("name", FAMILIES)
def test_depth_grows_along_the_forward_pass(name: str) -> None:
    model = built(name)
    found, order = depths(model), []
    for path, module in model.named_modules():
        own = [key for key, _ in module.named_parameters(recurse=False)]
        if own and not any(module.children()):
            module.register_forward_pre_hook(lambda *_, key=f"{path}.{own[0]}": order.append(found[key]))
    model["backbone"](torch.empty(2, 3, 64, 64, device="meta"))
    assert order == sorted(order)
    assert {*order} == {*range(found["head.weight"])}


def test_a_resnet_by_hand() -> None:
    found = depths(built("resnet18"))
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
    van, swin, pvt = (depths(built(name)) for name in ("van_tiny", "swin_t", "pvt_t"))
    assert van["backbone.patch_embed1.proj.weight"] == 0
    assert van["backbone.norm1.weight"] == van["backbone.block1.2.mlp.fc2.bias"] == 3
    assert van["backbone.patch_embed2.norm.weight"] == van["backbone.block2.0.layer_scale_1"] == 4
    assert swin["backbone.norm0.weight"] == swin["backbone.layers.0.blocks.1.norm2.weight"] == 2
    assert swin["backbone.layers.0.downsample.reduction.weight"] == 3
    assert pvt["backbone.pos_embed1"] == 0
    assert pvt["backbone.pos_embed4"] == pvt["backbone.block4.0.attn.q.weight"] == 7


def test_blocks_are_listed_in_order() -> None:
    names = [name for name, _ in built("resnet101_os8").named_parameters()]
    paths = block_paths(reversed(names))
    assert paths[:2] == ["backbone.layer1.0", "backbone.layer1.1"]
    assert paths[-4:-2] == ["backbone.layer3.22", "backbone.layer4.0"]
    assert block_paths(["head.layer1.0.weight"]) == []


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the depth of backbone\.model\.stem\.weight can't be told"):
        parameter_depths(["backbone.model.stem.weight", "head.weight"])
    with pytest.raises(ValueError, match=r"no parameter's name begins with 'backbone\.'"):
        parameter_depths(["stem.weight"])
