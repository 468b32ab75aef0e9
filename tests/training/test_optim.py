"""Parameter groups: the rules by themselves, and against the groups of the released codes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from segattn.models.attanet import ATTANET_LIGHT, ATTANET_RESNET, AttaNet
from segattn.models.key_map import MMSEG
from segattn.recipes.catalog import recipe as find_recipe
from segattn.recipes.schema import SGD, AdamW, ParameterRule
from segattn.training.optim import build_optimizer, parameter_groups, set_rate


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)
        self.gamma = nn.Parameter(torch.zeros(1))


RULES = (ParameterRule(max_ndim=1, weight_decay=0.0), ParameterRule(pattern=r"^head\.", lr=10.0))


def table(groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """{name: (learning rate factor, weight decay)}; no parameter may be in two groups."""
    names = [name for group in groups for name in group["names"]]
    assert len(names) == len(set(names))
    return {name: (group["lr_factor"], group["weight_decay"]) for group in groups for name in group["names"]}


def test_rules_multiply():
    groups = parameter_groups(Small(), SGD(weight_decay=0.1), RULES)
    assert table(groups) == {
        "gamma": (1.0, 0.0),
        "backbone.0.weight": (1.0, 0.1),
        "backbone.0.bias": (1.0, 0.0),
        "backbone.1.weight": (1.0, 0.0),
        "backbone.1.bias": (1.0, 0.0),
        "head.weight": (10.0, 0.1),
        "head.bias": (10.0, 0.0),
    }
    assert len(groups) == 4


def test_frozen_parameters_are_left_out():
    model = Small()
    model.backbone.requires_grad_(False)
    assert set(table(parameter_groups(model, AdamW()))) == {"gamma", "head.weight", "head.bias"}
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_groups(model.requires_grad_(False), AdamW())


def test_a_rule_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match=r"pattern='haed'.* matches no parameter of this model"):
        parameter_groups(Small(), SGD(), (ParameterRule(pattern="haed", lr=10.0),))


def test_a_rule_may_be_about_frozen_parameters_alone():
    model = Small()
    model.head.requires_grad_(False)
    assert set(table(parameter_groups(model, SGD(weight_decay=0.1), RULES)).values()) == {(1.0, 0.1), (1.0, 0.0)}


def test_layer_decay_multiplies_along_the_backbone():
    """Blocks of a ResNet-18 by hand; rules multiply with it, and frozen layers count."""
    with torch.device("meta"):
        model = AttaNet(backbone="resnet18").build(3)
    model.get_submodule("backbone.layer2").requires_grad_(False)
    rules = (ParameterRule(max_ndim=1, weight_decay=0.0), ParameterRule(pattern=r"^head\.output", lr=10.0))
    found = table(parameter_groups(model, AdamW(weight_decay=0.1, layer_decay=0.5), rules))
    assert found["backbone.layer4.1.conv2.weight"] == (0.5, 0.1)
    assert found["backbone.layer4.0.bn1.weight"] == (0.25, 0.0)
    assert found["backbone.layer1.1.conv1.weight"] == (0.5**7, 0.1)
    assert found["backbone.conv1.weight"] == (0.5**9, 0.1)
    assert {lr for name, (lr, _) in found.items() if name.startswith("head.output.")} == {10.0}
    assert {lr for name, (lr, _) in found.items() if name.startswith("head.")} == {1.0, 10.0}
    assert not any(name.startswith("backbone.layer2") for name in found)


def test_layer_decay_scales_the_rate_of_every_step():
    with torch.device("meta"):
        model = AttaNet(backbone="light").build(3)
    optimizer = build_optimizer(model, SGD(layer_decay=0.9))
    set_rate(optimizer, 0.01)
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}
    assert rates["backbone.s1_1.conv.weight"] == pytest.approx(0.01 * 0.9**8)
    assert rates["backbone.s3_3.norm.bias"] == pytest.approx(0.01 * 0.9)
    assert len(optimizer.param_groups) == 9


def test_layer_decay_needs_a_known_backbone():
    with pytest.raises(ValueError, match="no backbone whose blocks are known"):
        parameter_groups(Small(), SGD(layer_decay=0.9))
    for value in (0.0, 1.5, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"layer_decay .*: expected a number above 0, at most 1"):
            AdamW(layer_decay=value)
    assert parameter_groups(Small(), SGD(layer_decay=None))


def test_sgd_with_groups_takes_the_documented_step():
    model = Small()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = build_optimizer(model, SGD(momentum=0.9, weight_decay=0.1), RULES)
    for _ in range(2):
        set_rate(optimizer, 0.01)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    after = dict(model.named_parameters())
    torch.testing.assert_close(after["gamma"], before["gamma"] - 0.01 * (1 + 1.9))
    torch.testing.assert_close(after["head.bias"], before["head.bias"] - 0.1 * (1 + 1.9))
    first = 1 + 0.1 * before["backbone.0.weight"]
    middle = before["backbone.0.weight"] - 0.01 * first
    second = 0.9 * first + 1 + 0.1 * middle
    torch.testing.assert_close(after["backbone.0.weight"], middle - 0.01 * second)


def test_adamw_gets_its_settings():
    optimizer = build_optimizer(Small(), AdamW(betas=(0.8, 0.99), eps=1e-6, weight_decay=0.3))
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.99), 1e-6, 0.3)


def test_names_survive_the_state_dict(tmp_path):
    optimizer = build_optimizer(Small(), SGD(), RULES)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    loaded = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    assert [group["names"] for group in loaded["param_groups"]] == [g["names"] for g in optimizer.param_groups]


def of_recipe(name: str) -> tuple[nn.Module, list[dict[str, Any]]]:
    """A recipe's network, without memory for its weights, and its parameter groups."""
    recipe = find_recipe(name)
    with torch.device("meta"):
        model = recipe.network.build(recipe.data.num_classes)
    return model, parameter_groups(model, recipe.optimizer, recipe.parameter_rules)


@pytest.mark.parametrize(
    ("system", "key_map"), [("attanet_light", ATTANET_LIGHT), ("attanet_r18", ATTANET_RESNET)], ids=["light", "r18"]
)
def test_attanet_groups_equal_the_released_code(system, key_map, parity):
    """What our network has no place for (the unused ImageNet classifier) is left out."""
    _, groups = of_recipe(f"{system}_cityscapes")
    expected = {
        ours: (float(group["lr_factor"]), float(group["weight_decay"]))
        for group in parity.description("schedules_cnn")["systems"][system]["groups"]
        for ours in key_map.translate_all(group["keys"]).values()
    }
    assert table(groups) == expected
    assert len(groups) == 4


def test_danet_groups_equal_the_released_code(parity):
    model, groups = of_recipe("danet_r101_cityscapes")
    backbone, head = parity.description("schedules_cnn")["systems"]["danet_cityscapes"]["groups"]
    found = table(groups)
    for prefix, expected in (("backbone.", backbone), ("head.", head)):
        part = {values for name, values in found.items() if name.startswith(prefix)}
        assert part == {(float(expected["lr_factor"]), expected["weight_decay"])}
        assert sum(name.startswith(prefix) for name in found) == expected["count"]
    assert len(found) == len(list(model.parameters()))


def test_acfnet_has_one_group_as_the_released_code(parity):
    _, (group,) = of_recipe("acfnet_ecanet101_cityscapes")
    assert (group["lr_factor"], group["weight_decay"]) == (1.0, 1e-4)
    assert len(group["params"]) == 390


FIRST_OF_FAMILY = {
    "van_light_ham": "light_ham_d256_van_tiny_ade20k",
    "van_ham": "ham_van_tiny_ade20k",
    "van_upernet": "upernet_van_tiny_ade20k",
    "van_fpn": "fpn_van_tiny_ade20k",
    "agent_swin_upernet": "upernet_agent_swin_t_ade20k",
    "agent_pvt_fpn": "fpn_agent_pvt_t_ade20k",
}


@pytest.mark.parametrize("family", FIRST_OF_FAMILY)
def test_van_and_agent_groups_equal_mmcv(family, parity):
    fixture = parity.description("optim_mm")[family]
    expected = next(iter(fixture["models"].values()))
    found = table(of_recipe(FIRST_OF_FAMILY[family])[1])
    assert {lr for lr, _ in found.values()} == {1.0}
    undecayed = {name for name, (_, decay) in found.items() if decay == 0.0}
    assert undecayed == set(MMSEG.translate_all(expected["zero_weight_decay"]).values())
    assert len(found) == expected["parameter_tensors"]
    assert {decay for _, decay in found.values()} - {0.0} == {fixture["settings"]["optimizer"]["weight_decay"]}


SIZES = {
    "hamnet_light_van_large_512x512_160k_ade20k": "light_ham_van_large_ade20k",
    "upernet_agent_swin_b_9-12-14-7": "upernet_agent_swin_b_ade20k",
    "fpn_agent_pvt_l_12-16-28-28": "fpn_agent_pvt_l_ade20k",
}


@pytest.mark.parametrize("config", SIZES)
def test_larger_sizes_have_as_many_tensors_without_decay(config, parity):
    models = {
        path.split("/")[-1].removesuffix(".py"): numbers
        for family in FIRST_OF_FAMILY
        for path, numbers in parity.description("optim_mm")[family]["models"].items()
    }
    found = table(of_recipe(SIZES[config])[1])
    assert len(found) == models[config]["parameter_tensors"]
    assert sum(decay == 0.0 for _, decay in found.values()) == models[config]["zero_weight_decay_tensors"]
