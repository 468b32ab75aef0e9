"""Seeded hostile files of weights: each is read, or refused in one bounded line, in bounded time and memory."""

from __future__ import annotations

import collections
import io
import json
import pickle
import random
import resource
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

BATCHES, CASES = 8, 300
_LONGEST_MESSAGE = 2000
_MOST_SECONDS = 10.0
_MEMORY = 6 << 30
"""Bytes of address space for a process, torch and all."""

_NAMES = (
    *("numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "numpy ndarray", "os system"),
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor", "torch._utils _rebuild_sparse_tensor"),
    *("torch._utils _rebuild_parameter", "torch._utils _rebuild_qtensor", "torch._tensor _rebuild_from_type_v2"),
    *("torch FloatStorage", "torch ComplexFloatStorage", "torch Size", "collections OrderedDict", "builtins bytearray"),
)

_DESCRIPTIONS = (
    *("[]", "[" * 100_000, "3", "{}", '{"scores": {"miou": NaN}}', '{"scores": {"miou": 1e999}}', "9" * 10_000),
    *('{"recipe": [], "classes": 3}', '{"recipe": {"name": 3}, "classes": {"names": "x"}}', '{"a": 1, "a": 2}'),
)


def _value(rng: random.Random, depth: int = 0) -> bytes:
    """A value as pickle instructions: of plain kinds, or a call with any arguments."""
    kind = rng.randrange(12 if depth < 5 else 7)
    if kind < 2:
        return b"J" + struct.pack("<i", rng.choice((0, 1, 3, 10, -1, 2**31 - 1)))
    if kind == 2:
        number = rng.choice((2**40, 2**62, 2**64, 10**30, -(2**63))).to_bytes(14, "little", signed=True)
        return b"\x8a\x0e" + number
    if kind == 3:
        text = rng.choice(
            ("a", "0", "storage", "state_dict", "module.a", "O", "V2000000000", "f8", "\x1b[2J", "x" * 5000)
        )
        return b"X" + struct.pack("<I", len(text.encode())) + text.encode()
    if kind == 4:
        return rng.choice(
            (b"N", b"\x88", b"\x89", b")", b"]", b"}", b"C\x041234", b"G" + struct.pack(">d", float("nan")))
        )
    if kind == 5:
        return b"c" + b"\n".join(rng.choice(_NAMES).encode().split()) + b"\n"
    if kind == 6:
        return b"h" + bytes([rng.randrange(4)])
    parts = b"".join(_value(rng, depth + 1) for _ in range(rng.randrange(4)))
    if kind == 7:
        return b"(" + parts + b"t"
    if kind == 8:
        return b"c" + b"\n".join(rng.choice(_NAMES).encode().split()) + b"\n(" + parts + b"tR"
    if kind == 9:
        return b"(" + parts + b"tQ"
    if kind == 10:
        return b"}" + _value(rng, 5) + _value(rng, depth + 1) + b"s"
    return _value(rng, depth + 1) + b"2\x86" * rng.choice((1, 3, 40))


def _program(rng: random.Random) -> bytes:
    entries = b"".join(b"X\x01\x00\x00\x00" + rng.choice(b"abcm").to_bytes(1, "little") + _value(rng) for _ in range(3))
    inner = b"}q\x00(" + entries + b"u"
    wrapped = b"}(X\x0a\x00\x00\x00state_dict" + inner + b"u" if rng.random() < 0.5 else inner
    return b"\x80\x02" + wrapped + b"."


def _zip(program: bytes, rng: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/byteorder", "little")
        archive.writestr("a/data/0", bytes(rng.choice((0, 4, 40))))
    return out.getvalue()


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(max(1, len(changed)))
        match rng.randrange(5):
            case 0:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del changed[place : place + rng.choice((1, 8, 100))]
            case 2:
                changed[place:place] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 8))))
            case 3:
                changed[place : place + 8] = struct.pack("<q", rng.choice((-1, 2**31, 2**62, 2**63 - 1)))
            case _:
                changed[place:place] = changed[max(0, place - 50) : place]
    return bytes(changed)


def _repacked(data: bytes, rng: random.Random) -> bytes:
    """A file of torch.save whose pickle is changed and whose checksums fit again."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as packed:
        for name in archive.namelist():
            part = archive.read(name)
            packed.writestr(name, _mutated(part, rng) if name.endswith("data.pkl") else part)
    return out.getvalue()


def _safetensors(rng: random.Random) -> bytes:
    size = rng.choice((0, 4, 8))
    shape = rng.choice(([2], [0], [0, 2**62], [2**40], [], [1] * 100, [-1], [1.5], "2"))
    dtype = rng.choice(("F32", "I64", "BF16", "C64", "F8_E4M3", "F4", "X", 3))
    entry = {"dtype": dtype, "shape": shape, "data_offsets": rng.choice(([0, size], [0, 2**63], [8, 0], [0]))}
    described = rng.choice(_DESCRIPTIONS)
    header: dict[str, object] = {"__metadata__": {"segattn": described}, "a": entry}
    text = json.dumps(header).encode()
    if rng.random() < 0.2:
        text = text.replace(b'"a"', b'"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "a"', 1)
    return struct.pack("<Q", len(text)) + text + bytes(size)


def _seeds() -> dict[str, bytes]:
    import torch
    from safetensors.torch import save

    state = {"conv.weight": torch.ones(4, 3, 1, 1), "bn.num_batches_tracked": torch.tensor(3)}
    new, old = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": state, "epoch": 3}, new)
    torch.save({"state_dict": state, "epoch": 3}, old, _use_new_zipfile_serialization=False)
    return {
        "zip": new.getvalue(),
        "legacy": old.getvalue(),
        "safetensors": save(state, {"segattn": '{"version": "1"}'}),
    }


def _case(kind: int, seeds: dict[str, bytes], rng: random.Random) -> tuple[str, bytes]:
    match kind:
        case 0:
            return "a.pth", _mutated(seeds["zip"], rng)
        case 1:
            return "a.pth", _repacked(seeds["zip"], rng)
        case 2:
            return "a.pth", _zip(_program(rng), rng)
        case 3:
            return "a.pth", _mutated(seeds["legacy"], rng)
        case 4:
            head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
            return "a.pth", head + _program(rng) + pickle.dumps(["0"], 2) + bytes(rng.choice((0, 8, 48)))
        case 5:
            return "a.safetensors", _mutated(seeds["safetensors"], rng)
        case 6:
            return rng.choice(("a.safetensors", "a.pth")), _safetensors(rng)
        case _:
            texts = (b"version https://git-lfs.github.com/spec/v1\noid x\n", b"<!DOCTYPE html>", b'{"error": 1}', b"")
            texts += (b"\x1f\x8b\x08", b"7z\xbc\xaf\x27\x1c", bytes(257) + b"ustar", zlib.compress(b"a"))
            return rng.choice(("a.safetensors", "a.pth")), _mutated(rng.choice(texts), rng)


def _run_batch(seed: int, folder: Path) -> None:
    """The cases of one seed; prints what became of them. Runs in a process of its own, which a crash would end."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    from segattn.api import load_model
    from segattn.weights.checkpoint import read_description
    from segattn.weights.extract import extract
    from segattn.weights.reading import open_checkpoint

    rng, seeds = random.Random(seed), _seeds()
    counts: collections.Counter[str] = collections.Counter()
    for index in range(CASES):
        name, data = _case(index % 8, seeds, rng)
        path = folder / name
        path.write_bytes(data)
        for read in (open_checkpoint, extract, read_description, load_model):
            start, message = time.monotonic(), None
            try:
                read(path)
            except (ValueError, OSError) as error:
                message = str(error)
            except Exception as error:
                raise AssertionError(f"case {index} of seed {seed}, {read.__name__}") from error
            assert time.monotonic() - start < _MOST_SECONDS, (index, read)
            if message is not None:
                one_line = message.isprintable() and len(message) <= _LONGEST_MESSAGE and name in message
                assert one_line, (index, read, message[:500])
            counts["read" if message is None else "refused"] += 1
        counts["cases"] += 1
    print(json.dumps(counts))


@pytest.mark.slow
def test_hostile_files_are_read_or_refused(run_batches: Callable[[str, int, str], collections.Counter[str]]) -> None:
    total = run_batches(__file__, BATCHES, "hostile files of weights")
    assert total["cases"] == BATCHES * CASES >= 2000
    assert total["read"] > 100
    assert total["refused"] > 2000


if __name__ == "__main__":
    _run_batch(int(sys.argv[1]), Path(sys.argv[2]))
