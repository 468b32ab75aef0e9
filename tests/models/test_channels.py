"""Networks for images of other than three channels, and of more than 8 bits."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args

import pytest
import torch

import segattn
from segattn.models.build import BACKBONES, build, make_backbone
from segattn.models.networks import Network
from segattn.normalization import Normalization
from segattn.recipes.catalog import RECIPES
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, override, to_dict
from segattn.weights.inflate import input_convolution

FIVE = Normalization(mean=(0.1, 0.2, 0.3, 0.4, 0.5), std=(0.5, 0.4, 0.3, 0.2, 0.1), value_range=(0, 10000))
ONE_A_STEM = {
    *("resnet18", "resnet50_os8", "attanet_light", "df1", "df2", "efficientnet_lite0", "efficientnet_lite0_os16"),
    *("van_tiny", "agent_swin_t", "swin_t", "agent_pvt_t", "pvt_t"),
}
"""The smallest with each way of seeing the image first; sizes share it."""

every_backbone = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ONE_A_STEM else pytest.mark.slow) for name in BACKBONES]
)


@every_backbone
def test_every_backbone_takes_any_number_of_channels(name: str) -> None:
    for channels in (1, 5):
        with torch.device("meta"):
            backbone = make_backbone(name, channels)
            maps = backbone(torch.empty(2, channels, 64, 96))
        assert tuple(map_.shape[1] for map_ in maps) == backbone.channels


@every_backbone
def test_the_convolution_that_sees_the_image_is_found(name: str) -> None:
    with torch.device("meta"):
        three, five = (
            build(name, "fcn", num_classes=2, normalization=normalization, in_channels=len(normalization.mean))
            for normalization in (Normalization(), FIVE)
        )
    ours = input_convolution(five)
    shapes, wide = ({key: tensor.shape for key, tensor in model.state_dict().items()} for model in (three, five))
    assert {key for key, shape in shapes.items() if wide[key] != shape} == {ours}


def test_every_description_has_the_key_and_builds_by_it() -> None:
    for network in get_args(Network):
        assert "in_channels" in {field.name for field in fields(network)}
    seen: set[type] = set()
    for recipe in RECIPES.values():
        if type(recipe.network) in seen:
            continue
        seen.add(type(recipe.network))
        with torch.device("meta"):
            model = replace(recipe.network, in_channels=5, normalization=FIVE).build(3)
            assert model.segment(torch.empty(2, 5, 64, 64)).logits.shape[:2] == (2, 3)
        assert model.in_channels == 5


def test_the_key_round_trips_and_is_left_out_of_older_recipes() -> None:
    recipe = replace(RECIPES["attanet_light_camvid"])
    five = replace(recipe, network=replace(recipe.network, in_channels=5, normalization=FIVE))
    assert from_dict(Recipe, to_dict(five)) == five
    older = to_dict(recipe)
    del older["network"]["in_channels"], older["network"]["normalization"]["value_range"]
    assert from_dict(Recipe, older) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network.in_channels": "5"},
            r"network: in_channels 5: normalization\.mean and std have 3 entries, expected 5",
        ),
        ({"network.in_channels": "0"}, r"network: in_channels 0: expected 1 to 512"),
        ({"network.normalization.mean": "[0, 0, 0, 0]"}, r"std has 3 entries and mean 4: expected one each a channel"),
        (
            {"network.normalization.value_range": "[5, 5]"},
            r"value_range .*: expected two numbers, the first",
        ),
        (
            {"network.normalization": "{mean: [0, 0], std: [1, 1], bgr: true}", "network.in_channels": "2"},
            r"bgr true with 2 channels",
        ),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(RECIPES["attanet_light_camvid"], changes)


def test_three_channels_are_normalised_bit_for_bit_as_before() -> None:
    model = build("attanet_light", "fcn", num_classes=2)
    mean, std = model.mean, model.std
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(model.normalize(pixels), torch.addcmul(-mean / std, pixels.float(), 1 / std / 255))
    values = torch.rand(2, 3, 16, 16)
    assert torch.equal(model.normalize(values), torch.addcmul(-mean / std, values, 1 / std))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_a_stated_range_goes_before_the_type(dtype: torch.dtype) -> None:
    model = build("attanet_light", "fcn", num_classes=2, normalization=FIVE, in_channels=5)
    stored = torch.randint(0, 200, (1, 5, 8, 8)).to(dtype)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(5, 1, 1) for values in (FIVE.mean, FIVE.std))
    expected = (stored.double() / 10000 - mean) / std
    assert (model.normalize(stored) - expected).abs().max() < 1e-5


def test_sixteen_bits_are_0_to_1_where_no_range_is_stated() -> None:
    model = build("attanet_light", "fcn", num_classes=2, normalization=Normalization((0.5,), (0.25,)), in_channels=1)
    stored = torch.tensor([0, 1, 300, 65535]).to(torch.uint16).view(1, 1, 2, 2)
    assert (model.normalize(stored) - (stored.float() / 65535 - 0.5) / 0.25).abs().max() < 1e-5
    assert (model.half().normalize(stored) - (stored.float() / 65535 - 0.5) / 0.25).abs().max() < 1e-2


def test_a_module_of_ones_own_is_tried_on_its_channels() -> None:
    class Own(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == 5
            return x[:, :2, ::4, ::4]

    model: Any = segattn.wrap(Own(), classes=2, normalization=FIVE)
    assert (model.in_channels, model.stride) == (5, 4)
    with pytest.raises(ValueError, match=r"expected \(batch, 5, height, width\)"):
        model(torch.zeros(1, 3, 8, 8))
