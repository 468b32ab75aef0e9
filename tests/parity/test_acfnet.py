"""ACFNet against the unofficial code, which filled both networks with the same weights and saw the same images."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from segattn.layers import resize
from segattn.models.acfnet import ACFNET, ACFNet
from segattn.weights.load import load_weights

TAPS = {
    "bn3": "backbone.bn3",
    "maxpool": "backbone.maxpool",
    "layer1": "backbone.layer1",
    "layer2": "backbone.layer2",
    "layer3": "backbone.layer3",
    "layer4": "backbone.layer4",
    "layer1.0.eca": "backbone.layer1.0.eca",
    "aspp": "head.aspp",
    "acfhead.acf.conv1": "head.class_feature.reduce",
    "acfhead": "head.class_feature",
}


def record(model: nn.Module, taps: dict[str, str]) -> dict[str, Tensor]:
    """Per-channel mean and population deviation of each tapped output, taken before anything writes over it."""
    seen: dict[str, Tensor] = {}
    for theirs, ours in taps.items():

        def hook(_module: nn.Module, _inputs: Any, output: Tensor, name: str = theirs) -> None:
            seen[name] = torch.stack([output.mean((0, 2, 3)), output.std((0, 2, 3), correction=0)])

        model.get_submodule(ours).register_forward_hook(hook)
    return seen


def test_released_form_all_outputs_and_taps_at_every_size(parity: Any, fill: ModuleType) -> None:
    description, arrays = parity.description("acfnet_ecanet101"), parity.arrays("acfnet_ecanet101")
    model = ACFNet(backbone="ecanet101", class_feature="released").build(description["classes"]).eval()
    state = parity.state(description["keys"])
    report = load_weights(model, state)
    assert report.naming == ACFNET.name
    assert report.loaded == len(state) == len(model.state_dict())
    seen = record(model, TAPS)
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
