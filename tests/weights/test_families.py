"""Files made in exactly the forms in which each paper's code writes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segattn.models.acfnet import ACFNet
from segattn.models.agent import AgentPVTSemanticFPN, AgentSwinUperNet
from segattn.models.attanet import AttaNet
from segattn.models.danet import DANet
from segattn.models.networks import KEY_MAPS, Network
from segattn.models.van import VANHamNet, VANLightHam, VANSemanticFPN, VANUperNet
from segattn.weights.load import load_weights
from segattn.weights.match import match, read_names

FILES: dict[str, Network] = {
    "attanet_light": AttaNet(backbone="light"),
    "attanet_r18": AttaNet(backbone="resnet18"),
    "danet_r50": DANet(backbone="resnet50"),
    "danet_r50_deepstem": DANet(backbone="resnet50", stem="deep"),
    "danet_r101": DANet(backbone="resnet101"),
    "danet_r101_pcontext": DANet(backbone="resnet101"),
    "acfnet_ecanet101": ACFNet(backbone="ecanet101"),
    "van_tiny_light_ham_d256": VANLightHam(size="tiny", ham_channels=256, channels=256, bases=16),
    "van_tiny_light_ham": VANLightHam(size="tiny", ham_channels=480),
    "van_base_light_ham": VANLightHam(size="base"),
    "van_large_light_ham": VANLightHam(size="large"),
    "van_tiny_ham": VANHamNet(size="tiny"),
    "van_tiny_upernet": VANUperNet(size="tiny"),
    "van_b0_upernet_newer": VANUperNet(size="tiny", norm_eps=1e-5),
    "van_tiny_fpn": VANSemanticFPN(size="tiny"),
    "van_small_fpn": VANSemanticFPN(size="small"),
    "van_b0_fpn_newer": VANSemanticFPN(size="tiny", norm_eps=1e-5),
    "agent_swin_t": AgentSwinUperNet(size="t"),
    "agent_swin_b": AgentSwinUperNet(size="b"),
    "agent_pvt_t": AgentPVTSemanticFPN(size="t"),
    "agent_pvt_s": AgentPVTSemanticFPN(size="s"),
    "agent_pvt_l": AgentPVTSemanticFPN(size="l"),
}


def released(parity: Any, name: str) -> tuple[dict[str, Tensor], int]:
    """A state dict with all keys of the released form, each tensor full of a number of its own, and its class count."""
    description = parity.description(name)
    state = {}
    for number, (key, shape) in enumerate(description["keys"].items()):
        counter = key.endswith(("num_batches_tracked", "relative_position_index"))
        state[key] = torch.full(shape, number if counter else 1 + number / 64, dtype=torch.int64 if counter else None)
    return state, description["classes"]


def wrapped(name: str, state: dict[str, Tensor]) -> dict[str, Any]:
    """As the training code of the family saves it."""
    if name.startswith("attanet"):
        return dict(state)
    if name.startswith("danet"):
        classifier = {"pretrained.fc.weight": torch.ones(1000, 2048), "pretrained.fc.bias": torch.ones(1000)}
        return {"epoch": 240, "state_dict": {**state, **classifier}, "optimizer": {"state": {}}, "best_pred": 0.8}
    if name.startswith("acfnet"):
        return {"model": {f"module.{key}": value for key, value in state.items()}}
    meta = {
        "mmseg_version": "0.12.0",
        "config": "model = dict()",
        "CLASSES": ("wall",),
        "PALETTE": [[1, 2, 3]],
        "iter": 9,
    }
    return {"meta": meta, "state_dict": state, "optimizer": {"state": {0: {"step": 1, "exp_avg": torch.ones(2)}}}}


@pytest.mark.parametrize("name", FILES)
def test_every_key_of_every_file_has_its_place(parity: Any, name: str) -> None:
    state, classes = released(parity, name)
    with torch.device("meta"):
        target = FILES[name].build(classes).state_dict()
    result = match(read_names(state, KEY_MAPS), target)
    assert result.names_fit
    assert result.misfits(state, target) == []
    assert set(result.pairs) | set(result.defaulted) == set(target)
    assert set(result.pairs.values()) | set(result.dropped) == set(state)
    assert len(result.defaulted) == 0


SMALL = ["attanet_light", "attanet_r18", "danet_r50_deepstem", "van_tiny_ham", "agent_pvt_t"]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_files_load_as_the_training_code_wrote_them(
    tmp_path: Any, parity: Any, name: str, dtype: torch.dtype
) -> None:
    state, classes = released(parity, name)
    half = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    torch.save(wrapped(name, half), tmp_path / "file.pth.tar")
    model = FILES[name].build(classes)
    report = load_weights(model, tmp_path / "file.pth.tar")
    assert report.notes == (f"converted from {str(dtype).removeprefix('torch.')}",)
    ours = model.state_dict()
    for theirs, value in half.items():
        if theirs not in report.dropped:
            loaded = ours[report.renamed.get(theirs, theirs)]
            assert torch.equal(loaded, value.to(loaded.dtype)), theirs
            assert loaded.dtype in (torch.float32, torch.int64)
    if name.startswith("danet"):
        assert report.beside == ("epoch", "optimizer", "best_pred")
        assert "not read: epoch, optimizer, best_pred" in str(report)


@pytest.mark.parametrize("name", ["attanet_r18", "danet_r50_deepstem", "van_tiny_ham", "van_tiny_fpn", "agent_pvt_t"])
def test_another_class_list_keeps_all_but_the_classifiers_on_request(parity: Any, name: str) -> None:
    state, classes = released(parity, name)
    model = FILES[name].build(7)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"num_classes_may_differ=True"):
        load_weights(model, state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())

    report = load_weights(model, state, num_classes_may_differ=True)
    reason = f"classifier: {classes} classes in the file, 7 in the network"
    kept = [key for key, value in report.defaulted.items() if value == reason]
    wide = [key for key, value in model.state_dict().items() if value.ndim in (1, 4) and value.shape[0] == 7]
    assert sorted(kept) == sorted(wide)
    assert kept
    assert list(report.dropped.values()).count(reason) == len(kept)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == (key in kept), key


def test_the_same_class_count_skips_nothing(parity: Any) -> None:
    state, classes = released(parity, "attanet_light")
    report = load_weights(FILES["attanet_light"].build(classes), state, num_classes_may_differ=True)
    assert report.loaded == len(state)
    assert report.defaulted == {}


def test_misfits_that_no_class_count_explains_stay_errors(parity: Any) -> None:
    state, _ = released(parity, "attanet_light")
    state["conv_out.conv_out.weight"] = torch.ones(11, 64, 3, 3)
    with pytest.raises(ValueError, match=r"shape \(11, 64, 3, 3\).*\(19, 64, 1, 1\)"):
        load_weights(FILES["attanet_light"].build(19), state, num_classes_may_differ=True)


def test_activated_norm_scales_are_converted_on_request_only(parity: Any) -> None:
    state, classes = released(parity, "acfnet_ecanet101")
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    norms = [key.removesuffix("running_mean") + "weight" for key in state if key.endswith("running_mean")]
    assert len(norms) > 100
    for key in norms[::2]:
        state[key] = -state[key]
    model = FILES["acfnet_ecanet101"].build(classes)
    plain = load_weights(model, state)
    ours = model.state_dict()
    assert all(torch.equal(ours[plain.renamed[key]], state[key]) for key in norms)

    report = load_weights(model, state, inplace_abn=True)
    ours = model.state_dict()
    for key, value in state.items():
        expected = value.abs() + 1e-5 if key in norms else value
        assert torch.equal(ours[report.renamed[key]], expected), key
    assert report.notes == (f"{len(norms)} batch norm scales stored as |w| + 1e-5",)
    light, _ = released(parity, "attanet_light")
    with pytest.raises(ValueError, match=r"inplace_abn is for ACFNet.*AttaNet-light"):
        load_weights(FILES["attanet_light"].build(19), light, inplace_abn=True)


def test_other_trained_sizes_are_resized_on_request_and_said(parity: Any) -> None:
    state, classes = released(parity, "agent_pvt_t")
    state["backbone.pos_embed1"] = torch.full((1, 64 * 64, 64), 3.0)
    state["backbone.block1.0.attn.ah_bias"] = torch.full((1, 1, 9, 64, 1), 2.0)
    model = FILES["agent_pvt_t"].build(classes)
    with pytest.raises(ValueError, match=r"another image size: sizes_may_differ=True"):
        load_weights(model, state)
    report = load_weights(model, state, sizes_may_differ=True)
    assert report.resized == {
        "backbone.pos_embed1": ((1, 4096, 64), (1, 3136, 64)),
        "backbone.block1.0.attn.ah_bias": ((1, 1, 9, 64, 1), (1, 1, 9, 56, 1)),
    }
    assert "resized   backbone.pos_embed1: 1x4096x64 to 1x3136x64" in report.details()
    torch.testing.assert_close(model.state_dict()["backbone.pos_embed1"], torch.full((1, 3136, 64), 3.0))
    state["backbone.block1.0.attn.ah_bias"] = torch.full((1, 1, 16, 64, 1), 2.0)  # and another number of agents
    with pytest.raises(ValueError, match=r"ah_bias has shape \(1, 1, 16, 64, 1\)"):
        load_weights(model, state, sizes_may_differ=True)


def test_unexplained_tensors_come_with_their_nearest_names(parity: Any) -> None:
    state, _ = released(parity, "attanet_light")
    state["conv_out.conv_out.weights"] = state.pop("conv_out.conv_out.weight")
    with pytest.raises(
        ValueError, match=r"conv_out\.conv_out\.weights Did you mean head\.output\.classifier\.weight"
    ) as e:
        load_weights(FILES["attanet_light"].build(19), state)
    assert "head.output.classifier.weight (nearest in the file: conv_out.conv_out.weights)" in str(e.value)


def test_quantised_weights_are_refused(parity: Any) -> None:
    state, _ = released(parity, "attanet_light")
    state["conv_out.conv_out.weight"] = state["conv_out.conv_out.weight"].to(torch.int8)
    with pytest.raises(ValueError, match=r"conv_out\.conv_out\.weight holds int8 values"):
        load_weights(FILES["attanet_light"].build(19), state)


def test_a_backbone_file_is_recognised_and_the_way_named() -> None:
    model = AttaNet(backbone="resnet18").build(19)
    assert isinstance(model.backbone, nn.Module)
    with pytest.raises(ValueError, match=r"fits the backbone alone \(ResNet.*load_backbone \(--pretrained\)"):
        load_weights(model, {**model.backbone.state_dict(), "fc.weight": torch.ones(1000, 512)})
