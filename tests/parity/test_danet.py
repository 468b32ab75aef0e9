"""DANet against the authors' code, which filled both networks with the same weights and saw the same images."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segattn.layers import resize
from segattn.models.danet import DANET, DANET_DEEP_STEM, DANet
from segattn.models.segmenter import Segmenter
from segattn.weights.load import load_weights

TAPS = {
    "pretrained.maxpool": "backbone.maxpool",
    "pretrained.layer1": "backbone.layer1",
    "pretrained.layer2": "backbone.layer2",
    "pretrained.layer3": "backbone.layer3",
    "pretrained.layer4": "backbone.layer4",
    "head.conv5a": "head.position.0",
    "head.conv5c": "head.channel.0",
    "head.sa.query_conv": "head.position.1.query",
    "head.sa.key_conv": "head.position.1.key",
    "head.sa": "head.position.1",
    "head.sc": "head.channel.1",
    "head.conv51": "head.position.2",
    "head.conv52": "head.channel.2",
}
VARIANTS = {
    "danet_r50": DANet(backbone="resnet50"),
    "danet_r50_deepstem": DANet(backbone="resnet50", stem="deep", stage4_dilations=(2, 4, 4)),
    "danet_r101": DANet(backbone="resnet101"),
    "danet_r101_pcontext": DANet(backbone="resnet101", stage4_dilations=(2, 4, 4)),
}


def load_released(parity: Any, fixture: str) -> Segmenter:
    description = parity.description(fixture)
    network = VARIANTS[fixture]
    model = network.build(description["classes"]).eval()
    key_map = DANET_DEEP_STEM if network.stem == "deep" else DANET
    state = parity.state(description["keys"])
    model.load_state_dict({key_map.translate(key): value for key, value in state.items()})
    return model


def record(model: nn.Module, taps: dict[str, str]) -> dict[str, Tensor]:
    """Per-channel mean and population deviation of each tapped output, taken before anything writes over it."""
    seen: dict[str, Tensor] = {}
    for theirs, ours in taps.items():

        def hook(_module: nn.Module, _inputs: Any, output: Tensor, name: str = theirs) -> None:
            seen[name] = torch.stack([output.mean((0, 2, 3)), output.std((0, 2, 3), correction=0)])

        model.get_submodule(ours).register_forward_hook(hook)
    return seen


@pytest.mark.parametrize("fixture", VARIANTS)
def test_all_outputs_and_taps_at_every_size(fixture: str, parity: Any, fill: ModuleType) -> None:
    description, arrays = parity.description(fixture), parity.arrays(fixture)
    model = load_released(parity, fixture)
    stem_norm = "backbone.bn3" if VARIANTS[fixture].stem == "deep" else "backbone.bn1"
    seen = record(model, {"pretrained.bn1": stem_norm, **TAPS})
    checked = 0
    for height, width in description["inputs"]:
        image = torch.from_numpy(fill.image(height, width))
        with torch.no_grad():
            output = model.segment(image)
        got = {f"tap.{name}": value for name, value in seen.items()}
        got |= {"main": output.logits, **output.auxiliary}
        if f"{height}x{width}.main_full_s4" in arrays:
            full = resize(output.logits, (height, width), align_corners=model.align_corners)
            got["main_full_s4"] = full[:, :, ::4, ::4]
        for name, value in got.items():
            wanted = torch.from_numpy(arrays[f"{height}x{width}.{name}"])
            assert value.shape == wanted.shape, name
            assert (value - wanted).abs().max() < 1e-4, (height, width, name)
            checked += 1
    assert checked == len(arrays)


def test_released_keys_load_strictly_and_old_files_too(parity: Any, tmp_path: Any) -> None:
    description = parity.description("danet_r50")
    state = parity.state(description["keys"])
    with torch.device("meta"):
        names = set(DANet(backbone="resnet50").build(19).state_dict())
    assert {DANET.translate(key) for key in state} == names

    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    old |= {"pretrained.fc.weight": torch.zeros(1000, 2048), "pretrained.fc.bias": torch.zeros(1000)}
    torch.save({"epoch": 240, "state_dict": old, "best_pred": 0.8}, tmp_path / "DANet50.pth.tar")
    model = DANet(backbone="resnet50").build(19)
    report = load_weights(model, tmp_path / "DANet50.pth.tar")
    assert set(report.dropped) == {"pretrained.fc.weight", "pretrained.fc.bias"}
    assert all("ImageNet classifier" in reason for reason in report.dropped.values())
    for key, value in old.items():
        if key not in report.dropped:
            assert torch.equal(model.state_dict()[DANET.translate(key)], value), key


def test_deep_stem_files_are_told_apart(parity: Any) -> None:
    state = parity.state(parity.description("danet_r50_deepstem")["keys"])
    network = VARIANTS["danet_r50_deepstem"]
    report = load_weights(network.build(19), state)
    assert report.naming == DANET_DEEP_STEM.name
    assert report.loaded == len(state)
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(DANet(backbone="resnet50").build(19), state)
