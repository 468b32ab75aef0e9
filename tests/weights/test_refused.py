"""Weights that would load and give wrong labels, or harm the reader: refused before anything is changed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segattn.api import load_model
from segattn.models.agent import AgentSwinUperNet
from segattn.models.attanet import AttaNet
from segattn.weights.checkpoint import read_description, read_model, save_model
from segattn.weights.extract import extract
from segattn.weights.inspect import inspect
from segattn.weights.load import load_backbone, load_weights
from segattn.weights.reading import ForeignObjectsError, open_checkpoint

CONV, VARIANCE, COUNTER = "backbone.s1_1.conv.weight", "backbone.s1_1.norm.running_var", "num_batches_tracked"


@pytest.fixture
def model() -> nn.Module:
    return AttaNet(backbone="light").build(11)


def _set(name: str, value: float) -> Callable[[dict[str, Tensor]], None]:
    def change(state: dict[str, Tensor]) -> None:
        state[name] = state[name].clone()
        state[name].view(-1)[0] = value

    return change


def _cast(name: str, make: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], None]:
    return lambda state: state.update({name: make(state[name])})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_set(CONV, float("nan")), rf"{CONV} holds 1 of \d+ values that are NaN or infinite"),
        (_set(CONV, float("-inf")), rf"{CONV} holds 1 of \d+ values that are NaN or infinite"),
        (_set(VARIANCE, -1.0), rf"{VARIANCE} holds 1 variances below zero"),
        (_cast(CONV, lambda t: t.double() * 0 + 1e300), "too large for float32"),
        (_cast(CONV, lambda t: t.to_sparse()), f"{CONV}' is a tensor that is sparse|{CONV} is a tensor that is sparse"),
        (_cast(CONV, lambda t: t.to("meta")), f"{CONV} is a tensor that is a meta tensor"),
        (_cast(CONV, lambda t: t.to(torch.complex64)), "complex"),
        (_cast(CONV, lambda t: t.to(torch.int32)), f"{CONV} holds int32 values, expected floating point"),
        (_cast(f"backbone.s1_1.norm.{COUNTER}", lambda t: t.double() + 0.5), "no whole numbers"),
    ],
)
@pytest.mark.parametrize("from_file", [False, True], ids=["state dict", "file"])
def test_values_that_can_not_be_weights_leave_the_model_alone(
    tmp_path: Path, model: nn.Module, spoil: Any, message: str, from_file: bool
) -> None:
    state: Any = dict(model.state_dict())
    spoil(state)
    if from_file:
        torch.save({"state_dict": state}, tmp_path / "x.pth")
        state = tmp_path / "x.pth"
        message = "unknown type|" + message if "complex" in message else message
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(model, state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def _prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def _inside(state: dict[str, Tensor], word: str) -> dict[str, Tensor]:
    return {key.replace("backbone.", f"backbone.{word}.", 1): value for key, value in state.items()}


@pytest.mark.parametrize("suffix", ["state dict", "pth", "extracted"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: _prefixed(s, "module._orig_mod."),
        lambda s: _prefixed(s, "module.module."),
        lambda s: {"state_dict": _prefixed(s, "model.")},
        lambda s: {"state_dict": _prefixed(s, "segmentor.net."), "hyper_parameters": {"lr": 0.1}},
        lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}}},
        lambda s: {"net": s, "acc": 90.1},
        lambda s: {"params": s},
        lambda s: {"network": {"state_dict": s}},
        lambda s: {"anything": s, "epoch": 3},
        lambda s: {**_prefixed(s, "module."), "n_averaged": torch.tensor(5)},
        lambda s: {**_prefixed(s, "_orig_mod.module."), "_orig_mod.n_averaged": torch.tensor(5)},
        lambda s: _inside(s, "_orig_mod"),
        lambda s: {"model": {"name": "x"}, "params": s},
    ],
)
def test_wrapped_checkpoints_load(tmp_path: Path, model: nn.Module, wrap: Any, suffix: str) -> None:
    state = {key: torch.full_like(value, 2) for key, value in model.state_dict().items()}
    source: Any = wrap(state)
    if suffix != "state dict":
        torch.save(source, tmp_path / "x.pth")
        source = tmp_path / "x.pth"
    if suffix == "extracted":
        save_file(extract(source).tensors, tmp_path / "x.safetensors")
        source = tmp_path / "x.safetensors"
    report = load_weights(model, source)
    assert report.loaded == len(state)
    assert all(bool((value == 2).all()) for value in model.state_dict().values())
    if "n_averaged" in str(wrap(state).keys()) and suffix != "extracted":
        assert "averaged weights" in str(report)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.module."])
def test_a_tensor_that_is_there_twice_is_refused(tmp_path: Path, model: nn.Module, prefix: str) -> None:
    state = dict(model.state_dict())
    torch.save({**state, **_prefixed({key: value * 0 for key, value in state.items()}, prefix)}, tmp_path / "x.pth")
    for read in (lambda: load_weights(model, tmp_path / "x.pth"), lambda: extract(tmp_path / "x.pth")):
        with pytest.raises(ValueError, match=r"x\.pth.*it holds both"):
            read()


def test_indices_that_follow_from_the_window_may_be_missing_but_not_wrong() -> None:
    model = AgentSwinUperNet(size="t").build(4)
    state = dict(model.state_dict())
    index = [key for key in state if key.endswith("relative_position_index")]
    assert index
    lacking = {key: value for key, value in state.items() if key not in index}
    lacking["backbone.layers.0.blocks.1.attn_mask"] = torch.zeros(1)
    report = load_weights(model, lacking)
    assert set(index) <= set(report.defaulted)
    assert len(report.dropped) == 1
    assert set(index) <= set(load_backbone(model, lacking).defaulted)
    with pytest.raises(ValueError, match="not the index of positions"):
        load_weights(model, {**state, index[0]: state[index[0]] + 1})


def _zip(program: bytes, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program)
    return path


@pytest.mark.parametrize("function", [b"cnumpy.core.multiarray\nscalar\n", b"cnumpy._core.multiarray\nscalar\n"])
@pytest.mark.parametrize("dtype", [b"]X\x01\x00\x00\x00aX\x01\x00\x00\x00O\x86a", b"X\x0b\x00\x00\x00V2000000000"])
def test_numpy_types_with_any_arguments_are_refused(tmp_path: Path, function: bytes, dtype: bytes) -> None:
    value = function + b"cnumpy\ndtype\n" + dtype + b"\x85R\x85R"
    file = _zip(b"\x80\x02}(X\x0a\x00\x00\x00state_dict}X\x01\x00\x00\x00x" + value + b"su.", tmp_path / "x.pth")
    with pytest.raises(ForeignObjectsError, match="numpy values that are no plain numbers"):
        open_checkpoint(file)
    with pytest.raises(ValueError, match="it holds none"):
        inspect(file)


def test_the_checksums_of_an_archive_are_compared(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, tmp_path / "x.pth")
    data = bytearray((tmp_path / "x.pth").read_bytes())
    data[data.index(b"\x00\x00\x80\x3f" * 100) + 200] ^= 1
    (tmp_path / "x.pth").write_bytes(data)
    for read in (open_checkpoint, extract, inspect):
        with pytest.raises(ValueError, match=r"x\.pth.*Bad CRC-32.*download or copy it again"):
            read(tmp_path / "x.pth")


def test_tensors_that_share_a_storage_take_bounded_memory(tmp_path: Path) -> None:
    base = torch.ones(1 << 20)
    torch.save({str(index): base[: (1 << 20) - index] for index in range(100)}, tmp_path / "x.pth")
    for read in (open_checkpoint, extract):
        with pytest.raises(ValueError, match="share storages"):
            read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\n  <html>", "HTML"),
        (b'{"error": "login"}', "JSON text"),
        (b"", "empty"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"7z\xbc\xaf\x27\x1c\x00", "7z"),
        (b"x".ljust(257) + b"ustar\x0000", "tar archive"),
        (bytes(600), "zeros"),
    ],
)
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_what_is_no_file_of_weights_is_named(
    tmp_path: Path, model: Any, content: bytes, message: str, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    doors: tuple[Callable[[], object], ...] = (
        *(lambda: load_weights(model, path), lambda: load_backbone(model, path), lambda: inspect(path)),
        *(lambda: extract(path), lambda: load_model(path), lambda: read_description(path)),
    )
    for door in doors:
        with pytest.raises(ValueError, match=rf"{path.name}: is .*{message}"):
            door()


def test_the_kind_is_read_from_the_content(tmp_path: Path, model: nn.Module, trained: Path) -> None:
    (tmp_path / "x.pth").write_bytes(trained.read_bytes())
    assert load_model(tmp_path / "x.pth")[0].name == "attanet_light_camvid"
    torch.save(model.state_dict(), tmp_path / "y.safetensors")
    assert load_weights(model, tmp_path / "y.safetensors").loaded == 135


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a mapping"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "no JSON"),
        ('{"scores": {"miou": NaN}}', "finite"),
        ('{"scores": {"miou": 1e999}}', "finite"),
        ('{"scores": ["miou"]}', "scores is"),
        ('{"recipe": [], "classes": {}}', "recipe is"),
        ('{"recipe": {}, "classes": 3}', "classes is"),
        ('{"recipe": {}, "recipe": {}}', "twice"),
        ('{"x": "' + "x" * (5 << 20) + '"}', "characters, more than"),
        ("{}", "has no 'recipe'"),
        ('{"recipe": {"name": 3}, "classes": {}}', "does not fit"),
    ],
)
def test_descriptions_that_are_not_ours_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"segattn": text})
    with pytest.raises(ValueError, match=rf"x\.safetensors: .*{message}") as error:
        load_model(path)
    assert len(str(error.value)) < 1000


def test_a_description_of_another_size_takes_no_memory(tmp_path: Path, trained: Path) -> None:
    _, description = read_model(trained)
    description["recipe"]["network"] = {"kind": "VANLightHam", "backbone": "van_b0", "ham_channels": 2**24}
    save_model(tmp_path / "x.safetensors", nn.Linear(1, 1), json.loads(json.dumps(description)))
    with pytest.raises(ValueError, match=r"x\.safetensors: its description"):
        load_model(tmp_path / "x.safetensors")


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/data.pkl", b"\x80\x02].")
    (tmp_path / "x.pth").write_bytes(out.getvalue())
    with pytest.raises(ValueError, match="two parts of one name"):
        open_checkpoint(tmp_path / "x.pth")
    twice = b"\x80\x02}(X\x01\x00\x00\x00aNX\x01\x00\x00\x00aNu."
    with pytest.raises(ValueError, match="'a' twice"):
        open_checkpoint(_zip(twice, tmp_path / "y.pth"))
