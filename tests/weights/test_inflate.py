"""Weights for RGB images into networks for other numbers of channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import segattn
from segattn.backbones.resnet import ResNet
from segattn.models.build import build
from segattn.normalization import Normalization
from segattn.recipes.catalog import RECIPES
from segattn.weights.inflate import inflated, input_convolution
from segattn.weights.load import load_backbone, load_weights

LIGHT = RECIPES["attanet_light_camvid"]


def wide(channels: int, **settings: Any) -> Normalization:
    return Normalization((0.5,) * channels, (0.25,) * channels, **settings)


def widened(channels: int) -> segattn.Recipe:
    return replace(LIGHT, network=replace(LIGHT.network, in_channels=channels, normalization=wide(channels)))


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 13])
def test_channels_that_are_alike_give_what_grey_gave(channels: int) -> None:
    kernel, grey = torch.randn(8, 3, 3, 3), torch.randn(1, 1, 9, 9)
    before = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), kernel)
    after = torch.nn.functional.conv2d(grey.expand(-1, channels, -1, -1), inflated(kernel, channels))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_red_green_and_blue_keep_their_kernels_and_others_get_the_mean() -> None:
    kernel = torch.randn(8, 3, 3, 3)
    new = inflated(kernel, 5)
    torch.testing.assert_close(new[:, :3], kernel * 3 / 5)
    torch.testing.assert_close(new[:, 4], kernel.mean(1) * 3 / 5)
    torch.testing.assert_close(inflated(kernel, 1)[:, 0], kernel.sum(1))


@pytest.mark.parametrize("channels", [1, 5])
def test_shipped_weights_are_inflated_and_it_is_said(channels: int, tmp_path: Path) -> None:
    source = segattn.create_model("attanet_light_camvid", weights="default")
    model = widened(channels).network.build(11)
    report = load_weights(model, source.state_dict())
    assert f"first convolution inflated from 3 to {channels} channels" in str(report)
    ours = input_convolution(model)
    for key, value in model.state_dict().items():
        old = source.state_dict()[key]
        assert torch.equal(value, inflated(old, channels) if key == ours else old), key


def test_three_channels_are_loaded_as_they_are() -> None:
    source = segattn.create_model("attanet_light_camvid", weights="default")
    model = LIGHT.network.build(11)
    assert "inflated" not in str(load_weights(model, source.state_dict()))
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())


def test_other_classes_too() -> None:
    source = segattn.create_model("attanet_light_camvid", weights="default")
    report = load_weights(widened(5).network.build(3), source.state_dict(), num_classes_may_differ=True)
    assert "inflated" in str(report)
    assert "classifier" in str(report)


def test_a_backbone_from_imagenet() -> None:
    model = build("resnet18", "fcn", num_classes=2, normalization=wide(4), in_channels=4)
    classifier = {**ResNet(18).state_dict(), "fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)}
    report = load_backbone(model, classifier)
    assert "first convolution inflated from 3 to 4 channels" in str(report)
    torch.testing.assert_close(model.state_dict()["backbone.conv1.weight"], inflated(classifier["conv1.weight"], 4))


def test_weights_for_other_bands_are_refused_in_words() -> None:
    five = widened(5).network.build(11).state_dict()
    for model in (LIGHT.network.build(11), widened(4).network.build(11)):
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(
            ValueError, match=rf"images of 5 channels and the network for {model.in_channels} \(network"
        ):
            load_weights(model, five)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_inflated_weights_are_no_model_to_label_with() -> None:
    with pytest.raises(ValueError, match=r"network\.in_channels was 3 and is 5 here"):
        segattn.create_model(widened(5), weights="default")
