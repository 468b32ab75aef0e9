from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segattn.models.attanet import AttaNet
from segattn.models.segmenter import Segmenter
from segattn.weights.load import load_weights


@pytest.fixture(scope="module")
def released(parity) -> dict[str, torch.Tensor]:
    return parity.state(parity.description("attanet_light")["keys"])


@pytest.fixture
def model() -> Segmenter:
    return AttaNet(backbone="light").build(19)


def _wrap(state: dict[str, torch.Tensor], form: str) -> dict[str, object]:
    match form:
        case "bare":
            return dict(state)
        case "module":
            return {f"module.{key}": value for key, value in state.items()}
        case "state_dict":
            return {"epoch": 3, "state_dict": dict(state), "best_pred": 0.5}
        case _:
            return {"model": {f"module.{key}": value for key, value in state.items()}}


@pytest.mark.parametrize("form", ["bare", "module", "state_dict", "model"])
def test_released_files_load_in_every_wrapping(tmp_path, model, released, form: str) -> None:
    torch.save(_wrap(released, form), tmp_path / "released.pth")
    report = load_weights(model, tmp_path / "released.pth")
    assert report.loaded == len(released) == 135
    assert report.naming == "AttaNet-light, released"
    assert report.renamed["conv_out.conv_out.weight"] == "head.output.classifier.weight"
    assert torch.equal(model.state_dict()["head.output.classifier.weight"], released["conv_out.conv_out.weight"])


def test_our_own_names_load(tmp_path, model, released) -> None:
    load_weights(model, released)
    save_file(model.state_dict(), tmp_path / "ours.safetensors")
    other = AttaNet(backbone="light").build(19)
    report = load_weights(other, tmp_path / "ours.safetensors")
    assert report.naming == "our own"
    assert not report.renamed
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_counters_may_be_missing_and_are_said(model, released) -> None:
    old = {key: value for key, value in released.items() if not key.endswith("num_batches_tracked")}
    report = load_weights(model, old)
    assert len(report.defaulted) == len(released) - len(old)
    assert "counters" in str(report)


def test_dropped_tensors_are_accounted_for(parity) -> None:
    state = parity.state(parity.description("attanet_r18")["keys"])
    report = load_weights(AttaNet(backbone="resnet18").build(19), state)
    assert sorted(report.dropped) == ["head.resnet.fc.bias", "head.resnet.fc.weight"]
    assert report.loaded == len(state) - 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda state: state.pop("conv_out1.conv.conv.weight"),
            r"1 of its tensors are not in the file, e\.g\. head\.aux",
        ),
        (lambda state: state.update(extra=torch.zeros(1)), r"1 tensors have no place in it, e\.g\. extra"),
        (
            lambda state: state.update({"conv_out.conv_out.weight": torch.zeros(11, 64, 1, 1)}),
            r"shape \(11, 64, 1, 1\).*\(19, 64, 1, 1\).*number of classes",
        ),
        (lambda state: state.update(note="text"), "'note' is a str"),
        (lambda state: state.clear(), "it is empty"),
    ],
)
def test_misfits_are_errors_and_leave_the_model_alone(model, released, spoil, message: str) -> None:
    state = dict(released)
    spoil(state)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(model, state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


class _Trap:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.file}",)


def test_a_malicious_pickle_runs_nothing(tmp_path, model) -> None:
    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"state_dict": _Trap(tmp_path / "sprung")}))
    torch.save({"state_dict": _Trap(tmp_path / "sprung")}, tmp_path / "trap2.pth")
    for name in ("trap.pth", "trap2.pth"):
        with pytest.raises(ValueError, match=rf"{name}: not readable as a checkpoint of plain tensors"):
            load_weights(model, tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors", "words.pth"])
def test_broken_files_are_named(tmp_path, model, released, name: str) -> None:
    file = tmp_path / name
    if name == "words.pth":
        file.write_text("not a checkpoint")
    else:
        whole = tmp_path / "whole"
        (save_file if name.endswith("safetensors") else torch.save)(released, whole)
        file.write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(ValueError, match=name):
        load_weights(model, file)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        load_weights(model, tmp_path / "none.pth")
