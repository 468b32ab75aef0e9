"""Files that hold more than tensors: refused, explained, and emptied of their tensors without running anything."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segattn.weights.extract import extract
from segattn.weights.pickle_reader import Built, PickleReader
from segattn.weights.reading import open_checkpoint

both_formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])


class Config(dict[str, Any]):
    """Stands for the configuration libraries' mappings that some training scripts pickle."""


def save(content: Any, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype, key
        assert found[key].is_contiguous()
        assert torch.equal(found[key].float(), value.float()), key


@both_formats
def test_a_pickled_config_is_refused_named_and_left_out(tmp_path: Path, zipped: bool) -> None:
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
    content = {
        "model": state,
        "optimizer": {"exp_avg": torch.ones(3)},
        "config": Config(MODEL=Config(TYPE="swin")),
        "epoch": 3,
    }
    file = save(content, tmp_path / "agent_swin_t_max_acc.pth", zipped)
    with pytest.raises(ValueError, match=r"holds .*\.Config.*refused.*segattn weights extract .*max_acc\.pth OUT"):
        open_checkpoint(file)
    found = extract(file)
    assert_same(found.tensors, state)
    assert found.left_out.keys() == {"optimizer", "config", "epoch"}
    assert found.left_out["optimizer"] == "dict with 1 tensors"
    assert found.left_out["config"].endswith(".Config")
    assert [name.rsplit(".", 1)[-1] for name in found.foreign] == ["Config"]


@both_formats
def test_every_kind_of_tensor_comes_out_as_it_went_in(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(10.0)
    content = {
        "slice": base[2:5],
        "transposed": base.view(2, 5).t(),
        "parameter": nn.Parameter(base),
        "empty": torch.empty(0),
        "scalar": torch.tensor(3),
        "bf16": base.bfloat16(),
        "fp16": base.half(),
        "double": base.double(),
        "mask": base > 3,
        "bytes": base.byte(),
        "shared": base,
    }
    if zipped:
        content |= {"fp8": base.to(torch.float8_e4m3fn), "u16": torch.arange(4).to(torch.uint16)}
    found = extract(save(content, tmp_path / "file.pth", zipped))
    assert_same(found.tensors, content)
    assert found.foreign == ()
    assert found.tensors["shared"].data_ptr() != found.tensors["parameter"].data_ptr()


@both_formats
def test_a_whole_pickled_module_gives_its_state_dict(tmp_path: Path, zipped: bool) -> None:
    module = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), deeper=nn.Sequential(nn.BatchNorm2d(4))))
    file = save({"state_dict": module}, tmp_path / "module.pth", zipped)
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.conv\.Conv2d"):
        open_checkpoint(file)
    assert_same(extract(file).tensors, module.state_dict())


@both_formats
def test_numpy_scores_beside_the_weights_load_as_they_are(tmp_path: Path, zipped: bool) -> None:
    content = {"state_dict": {"a": torch.ones(2)}, "best_pred": np.float64(0.8), "epoch": np.int64(3)}
    file = save(content, tmp_path / "DANet101.pth.tar", zipped)
    checkpoint = open_checkpoint(file)
    assert checkpoint.beside == ("best_pred", "epoch")
    assert list(checkpoint.tensors) == ["a"]
    assert extract(file).foreign == ()


class Trap:
    """Anything that a pickle can ask for when it is made by hand: `reduce` is what `__reduce__` returns."""

    def __init__(self, reduce: tuple[Any, ...]) -> None:
        self.reduce = reduce

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduce


class Armed:
    """Runs code wherever a pickle could make it: on creation, on state, on items, on attributes."""

    sprung: ClassVar[list[str]] = []

    def __new__(cls, *arguments: Any) -> Armed:
        cls.sprung.append("new")
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.sprung.append("setstate")

    def __setitem__(self, key: Any, value: Any) -> None:
        self.sprung.append("setitem")

    def append(self, value: Any) -> None:
        self.sprung.append("append")

    def extend(self, values: Any) -> None:
        self.sprung.append("extend")

    def __setattr__(self, name: str, value: Any) -> None:
        self.sprung.append("setattr")

    def __hash__(self) -> int:
        self.sprung.append("hash")
        return 1

    def __reduce__(self) -> tuple[Any, ...]:
        return Armed, (), {"state": 1}, iter([1, 2]), iter([("key", 1)])


def _traps(mark: Path) -> dict[str, Any]:
    touch = f"open({str(mark)!r}, 'w').close()"
    nested = Trap((builtins.exec, (touch,)))
    return {
        "system": Trap((os.system, (f"touch {mark}",))),
        "eval": Trap((builtins.eval, (f"__import__('os').system('touch {mark}')",))),
        "nested": Trap((builtins.getattr, (Trap((builtins.__import__, ("os",))), "system"))),
        "argument": Trap((OrderedDict, ([["a", nested]],))),
        "state": Trap((OrderedDict, (), {"__class__": nested})),
        "key": {"a": 1, ("tuple", nested): 2},
        "armed": Armed(),
        "armed key": {Armed(): 1},
        "setstate of a tensor": Trap((torch._utils._rebuild_tensor_v2, (nested, 0, (1,), (1,), False, nested))),
        "from_type": Trap((torch._tensor._rebuild_from_type_v2, (builtins.exec, Armed, (touch,), {"a": 1}))),
        "parameter": Trap((torch._utils._rebuild_parameter, (nested, True, OrderedDict()))),
        "setattr": Trap((OrderedDict, (), (None, {"update": nested}))),
    }


TRAPS = list(_traps(Path("mark")))


@pytest.mark.parametrize("kind", TRAPS)
@pytest.mark.parametrize("protocol", [0, 2, 4], ids=["protocol0", "protocol2", "protocol4"])
def test_malicious_pickles_run_nothing(tmp_path: Path, kind: str, protocol: int) -> None:
    mark = tmp_path / "sprung"
    content = {"state_dict": {"a": torch.ones(2)}, "trap": _traps(mark)[kind]}
    torch.save(content, tmp_path / "trap.pth", pickle_protocol=max(protocol, 2))
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(_traps(mark)[kind], protocol=protocol))
    inside = {"state_dict": {"weight": _traps(mark)[kind], "a": torch.ones(2)}}
    torch.save(inside, tmp_path / "inside.pth", pickle_protocol=max(protocol, 2))
    Armed.sprung.clear()
    modules = set(sys.modules)

    for name in ("trap.pth", "bare.pth", "inside.pth"):
        with pytest.raises(ValueError, match=name):
            open_checkpoint(tmp_path / name)
    found = extract(tmp_path / "trap.pth")
    assert list(found.tensors) == ["a"]
    assert "trap" in found.left_out
    with pytest.raises(ValueError, match=r"bare\.pth: no tensors can be taken"):
        extract(tmp_path / "bare.pth")
    if kind in ("setstate of a tensor", "from_type", "parameter"):  # it passes itself off as a tensor
        with pytest.raises(ValueError, match=r"inside\.pth: no tensors can be taken"):
            extract(tmp_path / "inside.pth")
    else:
        assert list(extract(tmp_path / "inside.pth").tensors) == ["a"]
    with (tmp_path / "bare.pth").open("rb") as file:
        PickleReader().read(file)

    assert not mark.exists()
    assert Armed.sprung == []
    assert {name for name in set(sys.modules) - modules if not name.startswith("encodings.")} == set()


def test_the_traps_of_this_file_do_spring_when_run(tmp_path: Path) -> None:
    sprung = []
    for kind, trap in _traps(tmp_path / "sprung").items():
        Armed.sprung.clear()
        with contextlib.suppress(Exception):  # most fail after they did their harm
            pickle.loads(pickle.dumps(trap))
        sprung.append((tmp_path / "sprung").exists() or bool(Armed.sprung) or kind == "nested")
        (tmp_path / "sprung").unlink(missing_ok=True)
    assert all(sprung)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x02h\x05.", "malformed"),
        (b"\x80\x02R.", "malformed"),
        (b"\x80\x02]", "cut off|exhausted"),
        (b"\x80\x02K\x01K\x02K\x03s.", "no mapping"),
        (b"\x80\x02K\x01K\x02a.", "no list"),
        (b"\x80\x02(K\x01u.", "malformed"),
        (b"words", "."),
        (b"", "."),
    ],
)
def test_broken_pickles_are_refused(program: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PickleReader().read(io.BytesIO(program))


def test_bombs_stay_small() -> None:
    far_memo = b"\x80\x02]r\xff\xff\xff\xff."  # a memo entry at 2**32 - 1
    assert PickleReader().read(io.BytesIO(far_memo)) == []
    laughs = b"\x80\x02]q\x00" + b"".join(
        b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60)
    )
    root = PickleReader().read(io.BytesIO(laughs + b"."))
    assert len(root) == 2
    deep = PickleReader().read(io.BytesIO(b"\x80\x02)" + b"\x85" * 200_000 + b"."))
    assert isinstance(deep, tuple)


def _spoil(
    path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None], compression: int = zipfile.ZIP_STORED
) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = [change(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for part in parts:
            if part is not None:
                archive.writestr(*part)


@pytest.mark.parametrize(
    ("change", "compression", "message"),
    [
        (lambda name, data: None if "/data/" in name else (name, data), zipfile.ZIP_STORED, "is missing"),
        (lambda name, data: (name, data[:4] if "/data/" in name else data), zipfile.ZIP_STORED, "cut off"),
        (lambda name, data: (name, data), zipfile.ZIP_DEFLATED, "compressed"),
        (lambda name, data: (name, b"big" if name.endswith("byteorder") else data), zipfile.ZIP_STORED, "big-endian"),
        (
            lambda name, data: (name.replace("data.pkl", "other"), data),
            zipfile.ZIP_STORED,
            "not one that torch.save wrote",
        ),
    ],
)
def test_damaged_archives_are_refused(tmp_path: Path, change: Any, compression: int, message: str) -> None:
    file = save({"a": torch.ones(3)}, tmp_path / "file.pth")
    _spoil(file, change, compression)
    with pytest.raises(ValueError, match=rf"file\.pth: no tensors can be taken.*{message}"):
        extract(file)


def test_tensors_that_reach_outside_their_storage_are_refused(tmp_path: Path) -> None:
    for size, stride, offset in (((5,), (1,), 0), ((2,), (1,), 2), ((1000, 1000, 1000), (0, 0, 0), 0)):
        tensor = torch.ones(3)
        rebuild = (
            torch._utils._rebuild_tensor_v2,
            (tensor.untyped_storage(), offset, size, stride, False, OrderedDict()),
        )
        arguments = list(rebuild[1])
        arguments[0] = torch.storage.TypedStorage(
            wrap_storage=tensor.untyped_storage(), dtype=torch.float32, _internal=True
        )
        file = save({"a": Trap((rebuild[0], tuple(arguments)))}, tmp_path / "file.pth")
        with pytest.raises(ValueError, match=r"does not lie within its storage of 3"):
            extract(file)


@pytest.mark.parametrize("cut", [10, 200, -5])
def test_old_files_that_are_cut_off_are_refused(tmp_path: Path, cut: int) -> None:
    file = save({"a": torch.ones(100)}, tmp_path / "file.pth", zipped=False)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"file\.pth: no tensors can be taken"):
        extract(file)


def test_files_without_tensors_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it holds none"):
        extract(save({"epoch": 1}, tmp_path / "file.pth"))
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        extract(tmp_path / "none.pth")


def test_the_reader_records_what_was_asked_for() -> None:
    module = types.ModuleType("nowhere")
    thing = type("Thing", (), {"__module__": "nowhere"})
    module.Thing = thing  # type: ignore[attr-defined]
    sys.modules["nowhere"] = module
    try:
        instance = thing()
        instance.weight = struct.pack("<f", 1.0)
        data = pickle.dumps({"thing": instance})
    finally:
        del sys.modules["nowhere"]
    reader = PickleReader()
    built = reader.read(io.BytesIO(data))["thing"]
    assert isinstance(built, Built)
    assert built.kind == "nowhere.Thing"
    assert built.state == {"weight": struct.pack("<f", 1.0)}
    assert "nowhere" not in sys.modules
