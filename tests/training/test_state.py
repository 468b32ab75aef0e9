"""A state.pt that is not one of ours, and settings that a norm can't work with, are refused in one line."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from segattn.machine import automatic_precision, native_bf16

LOOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_train.py")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("run")
    LOOP["run"](folder, LOOP["make_recipe"](2, ema_decay=0.9), val_set=None)
    return torch.load(folder / "state.pt", weights_only=True)


def _without(key: str) -> Any:
    return lambda state: {name: value for name, value in state.items() if name != key}


def _changed(change: Any) -> Any:
    def apply(state: Any) -> Any:
        state = copy.deepcopy(state)
        change(state)
        return state

    return apply


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {},
        lambda state: [1],
        lambda state: torch.zeros(3),
        *(_without(key) for key in ("recipe", "model", "optimizer", "scaler", "ema", "progress")),
        _changed(lambda state: state["progress"].update(extra=1)),
        _changed(lambda state: state["progress"].update(step="two")),
        _changed(lambda state: state["progress"].update(step=10**20)),
        _changed(lambda state: state["model"].update({"head.bias": torch.zeros(3)})),
        _changed(lambda state: state["model"].pop("head.bias")),
        _changed(lambda state: state["ema"].update(updates="many")),
        _changed(lambda state: state["optimizer"].update(param_groups=[])),
        _changed(lambda state: state["optimizer"]["state"][0].update(momentum_buffer=torch.zeros(5))),
        _changed(lambda state: state["optimizer"]["state"][0].pop("momentum_buffer")),
        _changed(lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(8, 3, 3, 3))),
        _changed(lambda state: state["optimizer"]["state"][0].update(momentum_buffer=3)),
        _changed(lambda state: state["optimizer"]["param_groups"][0].update(lr_factor="fast")),
        _changed(lambda state: state["optimizer"]["param_groups"][0].update(names=torch.zeros(2))),
        _changed(lambda state: state["recipe"].update(name=torch.zeros(2))),
    ],
)
def test_a_state_that_is_not_ours_is_refused(change: Any, finished: dict[str, Any], tmp_path: Path) -> None:
    torch.save(change(finished), tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt: not a training state of ours \(.*remove it to start afresh"):
        LOOP["run"](tmp_path, LOOP["make_recipe"](2, ema_decay=0.9), val_set=None)


def test_settings_of_torch_are_never_the_files(finished: dict[str, Any], tmp_path: Path) -> None:
    """Weights that rise instead of fall, and averages that share memory, would train something else in silence."""
    state = copy.deepcopy(finished)
    for group in state["optimizer"]["param_groups"]:
        group.update(maximize=True, nesterov=True, dampening=0.5)
    buffer = state["optimizer"]["state"][0]["momentum_buffer"]
    state["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(1).expand_as(buffer)
    plain = copy.deepcopy(finished)
    plain["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros_like(buffer)
    for name, content in (("odd", state), ("plain", plain)):
        (tmp_path / name).mkdir()
        content["recipe"]["schedule"]["iterations"] = 4
        torch.save(content, tmp_path / name / "state.pt")
        LOOP["run"](tmp_path / name, LOOP["make_recipe"](4, ema_decay=0.9), val_set=None)
    models = [LOOP["saved"](tmp_path / name)["model"] for name in ("odd", "plain")]
    LOOP["assert_same"](*models)


@pytest.mark.parametrize("content", [b"", b"text\n", b"PK\x03\x04" + bytes(50), bytes(100)])
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"state\.pt: not a training state of ours"):
        LOOP["run"](tmp_path, LOOP["make_recipe"](2), val_set=None)


class Pooling(LOOP["Tiny"]):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(8)

    def segment(self, x: torch.Tensor) -> Any:
        output = super().segment(x)
        self.norm(self.backbone(x).mean((2, 3), keepdim=True))
        return output


@pytest.mark.parametrize(("batch", "parts"), [(1, 1), (2, 2)])
def test_one_image_is_too_few_for_a_norm_over_pooled_maps(batch: int, parts: int, tmp_path: Path) -> None:
    images = LOOP["Images"]()
    recipe = LOOP["make_recipe"](2, batch_size=batch, accumulation=parts)
    words = rf"batch_size {batch}, training\.accumulation {parts} and 1 processes .* batch norm norm "
    with pytest.raises(ValueError, match=words):
        LOOP["run"](tmp_path / "run", recipe, Pooling(), train_set=images, val_set=None)
    assert images.read == []
    frozen = LOOP["make_recipe"](2, batch_size=batch, accumulation=parts, frozen=("^norm",))
    LOOP["run"](tmp_path / "frozen", frozen, Pooling(), val_set=None)


def test_auto_is_bf16_only_where_it_is_native_and_a_resumed_run_keeps_its_own(tmp_path, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert automatic_precision(cpu) == "float32"
    LOOP["run"](tmp_path, LOOP["make_recipe"](2, precision="auto"), val_set=None)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert native_bf16(cpu)
    LOOP["run"](tmp_path, LOOP["make_recipe"](2, precision="auto"), val_set=None)
    assert LOOP["saved"](tmp_path)["recipe"]["training"]["precision"] == "float32"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert automatic_precision(cpu) == "float32"
