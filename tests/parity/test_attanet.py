"""AttaNet against the released code, which filled both networks with the same weights and saw the same images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from segattn.layers import resize
from segattn.models.attanet import ATTANET_LIGHT, ATTANET_RESNET, AttaNet
from segattn.models.key_map import RESNET_IMAGENET, KeyMap
from segattn.models.segmenter import Segmenter

BOTH_TAPS = {
    "head.conv_head1": "head.before_strip",
    "head.conv_head2": "head.after_strip",
    "head.sam": "head.strip",
    "head.sam.conv1": "head.strip.key",
    "head.sam.conv2": "head.strip.query",
    "head.sam.conv3": "head.strip.value",
    "head.afm": "head.fusion",
}
RESNET_TAPS = BOTH_TAPS | {
    "head.resnet.bn1": "backbone.bn1",
    "head.resnet.maxpool": "backbone.maxpool",
    "head.resnet.layer1": "backbone.layer1",
    "head.resnet.layer2": "backbone.layer2",
    "head.resnet.layer3": "backbone.layer3",
    "head.resnet.layer4": "backbone.layer4",
    "head.conv_head16": "head.reduce_fine",
    "head.conv_head32": "head.reduce_coarse",
}
LIGHT_TAPS = BOTH_TAPS | {
    "head.backbone.branch.S1_1": "backbone.s1_1",
    "head.backbone.branch.S1_2": "backbone.s1_2",
    "head.backbone.branch.S2_3": "backbone.s2_3",
    "head.backbone.branch.S3_3": "backbone.s3_3",
    "head.conv_head8": "head.reduce_fine",
    "head.conv_head16": "head.reduce_coarse",
    "head.conv_head81": "head.refine_fine",
    "head.conv_head161": "head.refine_coarse",
}

variants = pytest.mark.parametrize(
    ("fixture", "network", "key_map", "taps"),
    [
        ("attanet_r18", AttaNet(backbone="resnet18"), ATTANET_RESNET, RESNET_TAPS),
        ("attanet_light", AttaNet(backbone="light"), ATTANET_LIGHT, LIGHT_TAPS),
    ],
    ids=["resnet18", "light"],
)


def load_released(parity: Any, fixture: str, network: AttaNet, key_map: KeyMap) -> Segmenter:
    description = parity.description(fixture)
    model = network.build(description["classes"]).eval()
    state = parity.state(description["keys"])
    model.load_state_dict({ours: state[theirs] for theirs, ours in key_map.translate_all(state).items()})
    return model


def summary(y: Tensor, expected: Tensor) -> Tensor:
    """What the fixture keeps of a module's output: all of it, or each channel's mean and deviation."""
    return y if expected.ndim == 4 else torch.stack((y[0].mean((1, 2)), y[0].std((1, 2), correction=0)))


@variants
@pytest.mark.parametrize("size", [(128, 160), (97, 129)])
def test_every_output_and_tap_is_the_released_codes(
    parity: Any, fill: Any, size: tuple[int, int], fixture: str, network: AttaNet, key_map: KeyMap, taps: dict[str, str]
) -> None:
    model, prefix = load_released(parity, fixture, network, key_map), "{}x{}.".format(*size)
    arrays = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in parity.arrays(fixture).items() if prefix in k}
    expected_taps = {k.removeprefix("tap."): v for k, v in arrays.items() if k.startswith("tap.")}
    assert set(expected_taps) == set(taps)
    found: dict[str, Tensor] = {}
    for theirs, ours in taps.items():
        model.get_submodule(ours).register_forward_hook(
            lambda _, __, y, name=theirs: found.update({name: summary(y, expected_taps[name])})
        )
    with torch.no_grad():
        output = model.segment(torch.from_numpy(fill.image(*size)))
    for name, expected in expected_taps.items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
    for name, logits in {"main": output.logits, **output.auxiliary}.items():
        torch.testing.assert_close(logits, arrays[name], rtol=0, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    if "main_full_s4" in arrays:
        full = resize(output.logits, size, align_corners=model.align_corners)
        torch.testing.assert_close(full[..., ::4, ::4], arrays["main_full_s4"], rtol=0, atol=1e-5)


@variants
def test_released_keys_and_ours_match_one_to_one(
    parity: Any, fixture: str, network: AttaNet, key_map: KeyMap, taps: dict[str, str]
) -> None:
    description = parity.description(fixture)
    released, translated = description["keys"], key_map.translate_all(description["keys"])
    with torch.device("meta"):
        model = network.build(description["classes"])
    ours = {key: list(value.shape) for key, value in model.state_dict().items()}
    counts = {"attanet_r18": (197, 195), "attanet_light": (135, 135)}[fixture]
    assert (len(released), len(set(translated.values()))) == counts
    assert {name: released[key] for key, name in translated.items()} == ours
    unused = sum(p.numel() for p in (torch.empty(1000, 512), torch.empty(1000))) if fixture == "attanet_r18" else 0
    assert sum(p.numel() for p in model.parameters()) == description["parameters"] - unused


def test_only_the_imagenet_classifier_is_dropped_and_with_a_reason(parity: Any) -> None:
    reasons = {key: ATTANET_RESNET.reason_to_drop(key) for key in parity.description("attanet_r18")["keys"]}
    dropped = {key: reason for key, reason in reasons.items() if reason is not None}
    assert set(dropped) == {"head.resnet.fc.weight", "head.resnet.fc.bias"}
    assert "ImageNet classifier" in dropped["head.resnet.fc.weight"]


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_torchvisions_files_fill_the_backbone_and_leave_the_classifier(backbone: Any) -> None:
    with torch.device("meta"):
        state = AttaNet(backbone=backbone).build(19).backbone.state_dict()
    translated = RESNET_IMAGENET.translate_all([*state, "fc.weight", "fc.bias"])
    assert translated == {key: f"backbone.{key}" for key in state}
    assert "classifier" in (RESNET_IMAGENET.reason_to_drop("fc.bias") or "")


@variants
def test_a_training_step_reaches_every_parameter(
    fixture: str, network: AttaNet, key_map: KeyMap, taps: dict[str, str]
) -> None:
    model = network.build(5)
    output = model.segment(torch.randn(2, 3, 97, 129))
    sum(x.square().mean() for x in (output.logits, *output.auxiliary.values())).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []
