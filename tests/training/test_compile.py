"""Compiled training: the same losses to rounding, and files that know nothing of it."""

from __future__ import annotations

import importlib.util
import math
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segattn.layers import DropPath
from segattn.losses.terms import CrossEntropy, Dice, OhemCrossEntropy
from segattn.models.attanet import AttaNet
from segattn.models.compose import Pair
from segattn.training import step
from segattn.training.activation_checkpoint import recompute_blocks
from segattn.training.step import training_step
from segattn.weights.checkpoint import read_model


def loop_tests() -> dict[str, Any]:
    """The names of test_train.py, from a module that the compiler can import."""
    spec = importlib.util.spec_from_file_location("segattn_loop_tests", Path(__file__).with_name("test_train.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


LOOP = loop_tests()


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.compiler.reset()
    with warnings.catch_warnings():
        # of torch's own code while it compiles, by the version
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
    torch.compiler.reset()
    torch._dynamo.config.optimize_ddp = True
    torch.set_num_threads(threads)


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in LOOP["records"](folder, "train")]


def run(folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    recipe = LOOP["make_recipe"](6, log_every=1, ema_decay=0.9, **settings)
    LOOP["run"](folder, recipe, LOOP["Tiny"](dropout=0.0))
    return read_model(folder / "last.safetensors")[0]


def test_a_compiled_run_learns_the_same_and_saves_plain_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "COMPILER", "eager")
    plain, compiled = run(tmp_path / "plain"), run(tmp_path / "compiled", compile=True)
    assert list(compiled) == list(plain)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-5, atol=1e-6)
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    state = LOOP["saved"](tmp_path / "compiled")
    assert list(state["model"]) == list(LOOP["saved"](tmp_path / "plain")["model"])
    with pytest.raises(ValueError, match=r"training\.compile: True there, False here"):
        run(tmp_path / "compiled")


def compiled_and_plain(network: Any, backend: str, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Any, Any]:
    monkeypatch.setattr(step, "COMPILER", backend)
    recipe = replace(
        LOOP["make_recipe"](**settings), losses=(CrossEntropy(), OhemCrossEntropy(min_kept=100), Dice(weight=0.5))
    )
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(0, 2, (2, 64, 96), generator=torch.Generator().manual_seed(2))
    results = []
    for wanted in (True, False):
        torch.manual_seed(0)
        model = network.build(2)
        forward = training_step(model, replace(recipe, training=replace(recipe.training, compile=wanted)))
        loss = forward(images, labels)["total"]
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients, model.state_dict()))
    return results[0], results[1]


def assert_close(a: Any, b: Any) -> None:
    torch.testing.assert_close(a[0], b[0], rtol=1e-4, atol=1e-5)
    largest = max(float(value.norm()) for value in b[1].values())
    for name, gradient in b[1].items():
        torch.testing.assert_close(
            a[1][name], gradient, rtol=2e-2, atol=1e-4 * largest, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert list(a[2]) == list(b[2])
    for name, value in b[2].items():
        torch.testing.assert_close(a[2][name], value, rtol=1e-4, atol=1e-5)


def test_it_is_compiled_in_one_piece_and_computes_blocks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms count the batch once although the compiler, too, computes blocks again in the backward pass."""
    torch._dynamo.utils.counters.clear()
    compiled, plain = compiled_and_plain(
        AttaNet(backbone="light"), "aot_eager", monkeypatch, checkpoint_activations=True
    )
    assert_close(compiled, plain)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert compiled[2]["backbone.s2_2.norm.num_batches_tracked"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["swin_t", "agent_pvt_t"])
def test_transformers_too(monkeypatch: pytest.MonkeyPatch, backbone: str) -> None:
    network = Pair(backbone=backbone, head="semantic_fpn")
    assert_close(*compiled_and_plain(network, "aot_eager", monkeypatch, checkpoint_activations=True))


@pytest.mark.slow
@pytest.mark.parametrize("twice", [False, True])
def test_by_the_default_compiler(monkeypatch: pytest.MonkeyPatch, twice: bool) -> None:
    network = AttaNet(backbone="light")
    assert_close(*compiled_and_plain(network, "inductor", monkeypatch, checkpoint_activations=twice))


class Dropping(nn.Module):
    """x + m w x, where m drops images: the weight's gradient tells which the backward pass took for dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.drop_path = DropPath(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop_path(torch.sin(self.weight) * x)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_both_passes_drop_the_same_paths(backend: str) -> None:
    stage = nn.Sequential(Dropping())
    stage.blocks = ("0",)  # type: ignore[assignment]
    recompute_blocks(nn.ModuleDict({"backbone": stage}))
    compiled = torch.compile(stage, backend=backend)
    x = torch.rand(8, 2, 3, 3) + 0.5
    kept = set()
    for _ in range(6):
        stage.zero_grad()
        y = compiled(x)
        y.sum().backward()
        dropped = (y - x).detach()
        kept.add(tuple((dropped.flatten(1).abs().sum(1) > 0).tolist()))
        torch.testing.assert_close(stage[0].weight.grad, dropped.sum() / math.tan(1.0), rtol=1e-4, atol=1e-4)
    assert len(kept) > 1


@pytest.mark.slow
def test_a_run_by_the_default_compiler(tmp_path: Path) -> None:
    plain, compiled = (
        run(tmp_path / "plain", precision="bf16"),
        run(tmp_path / "compiled", precision="bf16", compile=True),
    )
    assert list(compiled) == list(plain)
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=0.05)
