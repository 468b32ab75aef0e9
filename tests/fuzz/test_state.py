"""Seeded hostile run folders: each is continued, or refused in one bounded line that names the file."""

from __future__ import annotations

import collections
import copy
import json
import random
import resource
import runpy
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

BATCHES, CASES = 8, 300
_LONGEST_MESSAGE = 2000
_MOST_SECONDS = 10.0
_MEMORY = 6 << 30
"""Bytes of address space for a process, torch and all."""

BYTES: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_weights.py")))
LOG = b'{"kind": "train", "step": 1, "loss": 0.5}\n{"kind": "validation", "step": 2, "miou": null}\n'


def _values() -> list[Any]:
    """What stands in the place of a part of a state."""
    import torch

    return [
        *(None, True, -1, 0, 1, 2, 3, 10**20, 2**63, float("nan"), float("inf"), "", "x" * 10_000, "\x1b[2J\n", b"a"),
        *([], {}, (), [1] * 1000, {1: 2}, {"step": {}}, [[[]]], {"a": None}, 1.5, 1e308, complex(1, 2)),
        *(torch.zeros(()), torch.tensor(float("nan")), torch.zeros(3), torch.zeros(0), torch.ones(8, 3, 3, 3)),
        *(torch.zeros(8, dtype=torch.complex64), torch.zeros(8, dtype=torch.int64), torch.zeros(8, dtype=torch.bool)),
        *(torch.zeros(8, dtype=torch.float64), torch.zeros(8).to_sparse(), torch.zeros(8, device="meta")),
        *(torch.zeros(1).expand(8, 3, 3, 3), torch.zeros(8, dtype=torch.bfloat16), torch.float32, torch.Size([3])),
    ]


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every entry of nested containers: the container and the key in it."""
    if not isinstance(content, (dict, list)):
        return []
    keys = list(content) if isinstance(content, dict) else range(len(content))
    return [place for key in keys for place in ((content, key), *_places(content[key]))]


def _changed(state: dict[str, Any], rng: random.Random) -> Any:
    """A state with one to three parts that are something else, gone, or there under another name."""
    if rng.random() < 0.02:
        return rng.choice(_values())
    state = copy.deepcopy(state)
    for _ in range(rng.choice((1, 1, 2, 3))):
        part = rng.choice(list(state.values())) if rng.random() < 0.7 else state
        places = _places(part)
        if not places:
            continue
        container, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind < 4:
            container[key] = rng.choice(_values())
        elif kind == 4:
            del container[key]
        elif isinstance(container, dict):
            container[rng.choice((0, 1, 99, -1, "extra", "x" * 1000, None, 1.5, (1,)))] = container[key]
        else:
            container.append(container[key])
    return state


def _runs() -> list[Any]:
    """What makes a fresh model with its optimiser, of two kinds of run."""
    import torch
    from torch import nn

    from segattn import recipe
    from segattn.recipes.schema import AdamW
    from segattn.training.optim import EMA, build_optimizer
    from segattn.training.state import Progress, TrainingState

    row = recipe("attanet_light_camvid")
    row = replace(row, training=replace(row.training, precision="float32"), losses=row.losses[:1])
    rows = (row, replace(row, optimizer=AdamW(weight_decay=0.01)))

    def fresh(index: int) -> tuple[Any, Any]:
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
        optimizer = build_optimizer(model, rows[index].optimizer, ())
        scaler = torch.amp.GradScaler("cpu", enabled=index == 1)
        return rows[index], TrainingState(model, optimizer, scaler, EMA(model, 0.9) if index else None, Progress())

    return [lambda: fresh(0), lambda: fresh(1)]


def _step(state: Any) -> None:
    """One step of training: what was read can be used."""
    import torch

    loss = state.model(torch.ones(2, 3, 6, 6)).square().sum()
    state.scaler.scale(loss).backward()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if state.ema is not None:
        state.ema.update(state.model)
    state.progress.step += 1


def _continue(folder: Path, row: Any, state: Any) -> None:
    """Everything that a resumed run reads of its folder, and a step."""
    import torch

    from segattn.contracts import Classes
    from segattn.training.sinks import JsonLines
    from segattn.training.state import RunFolder

    run = RunFolder(folder, row, Classes(("a", "b"), ((0, 0, 0), (1, 1, 1))))
    run.with_precision(torch.device("cpu"), resume=True)
    run.accumulation()
    run.prepare(resume=True)
    run.restore(state)
    JsonLines(folder, state.progress).close(failed=False)
    _step(state)
    run.save(state.state_dict())


def _seed(folder: Path, make: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A state of this kind of run, and the bytes of its files."""
    import torch

    from segattn.contracts import Classes
    from segattn.training.state import RunFolder
    from segattn.weights.checkpoint import describe_model, save_model

    row, state = make()
    classes = Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)))
    for _ in range(2):
        _step(state)
    state.progress.validated, state.progress.scores, state.progress.best = 2, {"miou": 50.0, "macc": None}, 50.0
    state.progress.calm_losses, state.progress.high_steps = [0.5, 0.25], 1
    RunFolder(folder, row, classes).save(state.state_dict())
    save_model(folder / "last.safetensors", state.model, describe_model(row, classes))
    files = {name: (folder / name).read_bytes() for name in ("state.pt", "last.safetensors")}
    return torch.load(folder / "state.pt", weights_only=True), files | {"log.jsonl": LOG, "last.json": b"{}"}


def _write_case(kind: int, folder: Path, state: dict[str, Any], files: dict[str, bytes], rng: random.Random) -> None:
    import torch

    for name, data in files.items():
        (folder / name).write_bytes(data)
    path = folder / "state.pt"
    match kind:
        case 0:
            path.write_bytes(BYTES["_mutated"](files["state.pt"], rng))
        case 1:
            path.write_bytes(BYTES["_repacked"](files["state.pt"], rng))
        case 2:
            path.write_bytes(BYTES["_zip"](BYTES["_program"](rng), rng))
        case 3:
            older = {key: value for key, value in state.items() if key != "classes"}  # its last model says them
            torch.save(older, path)
            for name in ("last.safetensors", "last.json"):
                if rng.random() < 0.7:
                    (folder / name).write_bytes(BYTES["_mutated"](files[name], rng))
        case 4:
            (folder / "log.jsonl").write_bytes(BYTES["_mutated"](LOG, rng))
        case _:
            torch.save(_changed(state, rng), path, _use_new_zipfile_serialization=rng.random() < 0.8)


def _run_batch(seed: int, folder: Path) -> None:
    """The cases of one seed; prints what became of them. Runs in a process of its own, which a crash would end."""
    warnings.simplefilter("ignore")
    makers = _runs()
    seeds = [_seed(folder, make) for make in makers]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    rng = random.Random(seed)
    counts: collections.Counter[str] = collections.Counter()
    for index in range(CASES):
        which = rng.randrange(len(makers))
        _write_case(index % 10, folder, *seeds[which], rng)
        start, message = time.monotonic(), None
        try:
            _continue(folder, *makers[which]())
        except (ValueError, OSError) as error:
            message = str(error)
        except Exception as error:
            raise AssertionError(f"case {index} of seed {seed}") from error
        assert time.monotonic() - start < _MOST_SECONDS, index
        if message is not None:
            one_line = message.isprintable() and len(message) <= _LONGEST_MESSAGE and str(folder) in message
            assert one_line, (index, message[:500])
        counts["continued" if message is None else "refused"] += 1
        counts["cases"] += 1
    print(json.dumps(counts))


@pytest.mark.slow
def test_hostile_run_folders_are_continued_or_refused(
    run_batches: Callable[[str, int, str], collections.Counter[str]],
) -> None:
    total = run_batches(__file__, BATCHES, "hostile run folders")
    assert total["cases"] == BATCHES * CASES >= 2000
    assert total["continued"] > 100
    assert total["refused"] > 1000


if __name__ == "__main__":
    _run_batch(int(sys.argv[1]), Path(sys.argv[2]))
