"""The loop on a tiny model and made-up images: it learns, resumes bit for bit, accumulates, stops, and refuses."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segattn.contracts import IGNORE, Classes, Sample, SegOutput
from segattn.evaluation.protocol import Protocol
from segattn.losses.terms import CrossEntropy
from segattn.models.attanet import AttaNet
from segattn.recipes.schema import SGD, Data, ParameterRule, Recipe, Schedule, Training
from segattn.training import train as loop
from segattn.training.divergence import NonFiniteLossError
from segattn.training.state import RunFolder
from segattn.training.train import train
from segattn.transforms.colours import ColorJitter
from segattn.transforms.mixing import ClassMix, CutMix, Mixing
from segattn.transforms.resizing import HorizontalFlip
from segattn.weights.checkpoint import read_model

CLASSES = Classes(names=("dark", "bright"), palette=((0, 0, 0), (255, 255, 255)))


class Images:
    """Noise with a bright rectangle, which is class 1; a strip of each mask is ignored, of another width each."""

    classes = CLASSES

    def __init__(self, count: int = 10, seed: int = 0) -> None:
        self.count, self.seed = count, seed
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        rng = np.random.default_rng([self.seed, index])
        image = rng.integers(0, 120, (16, 24, 3), dtype=np.uint8)
        mask = np.zeros((16, 24), dtype=np.uint8)
        top, left = rng.integers(0, 8, 2)
        image[top : top + 8, left : left + 12] += 100
        mask[top : top + 8, left : left + 12] = 1
        mask[:, : index % 7] = IGNORE
        return Sample(image=image, mask=mask, name=f"image{index}", image_path=Path(f"image{index}.png"))


class OneBlock(nn.Sequential):
    blocks = ("0",)


class Tiny(nn.Module):
    """A stand-in for a Segmenter: half resolution, one auxiliary output, dropout, a norm if wanted."""

    align_corners = "edges"

    def __init__(self, norm: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.backbone = OneBlock(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU()
        )
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(8, 2, 1)
        self.aux = nn.Conv2d(8, 2, 1)

    def normalize(self, images: Tensor) -> Tensor:
        return images.float() / 255 - 0.5

    def segment(self, x: Tensor) -> SegOutput:
        features = self.dropout(self.backbone(x))
        return SegOutput(self.head(features), {"aux": self.aux(features)})

    def logits(self, x: Tensor) -> Tensor:
        return self.segment(x).logits

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.interpolate(self.logits(self.normalize(images)), images.shape[-2:], mode="bilinear")


def make_recipe(iterations: int = 12, *, mixing: tuple[Mixing, ...] = (), **training: Any) -> Recipe:
    settings = {"batch_size": 4, "validate_every": 6, "checkpoint_every": 4, "log_every": 3, "workers": 0}
    return Recipe(
        name="tiny",
        network=AttaNet(backbone="light"),
        data=Data(dataset="none", num_classes=2),
        augmentation=(HorizontalFlip(), ColorJitter()),
        mixing=mixing,
        losses=(CrossEntropy(), CrossEntropy(output="aux", weight=0.4)),
        optimizer=SGD(weight_decay=1e-3),
        parameter_rules=(ParameterRule(pattern="^(head|aux)", lr=10.0),),
        schedule=Schedule(lr=0.05, iterations=iterations),
        training=Training(**{**settings, **training}),
        protocol=Protocol(),
    )


def run(folder: Path, recipe: Recipe, model: nn.Module | None = None, **options: Any) -> tuple[nn.Module, Any]:
    model = Tiny() if model is None else model
    data = {"train_set": Images(), "val_set": Images(3, seed=1), **options}
    return model, train(model, recipe, output_dir=folder, device="cpu", **data)


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def saved(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "state.pt", weights_only=True)


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Equal bit for bit, in every tensor of nested containers."""
    if isinstance(a, Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}.{index}")
    else:
        assert a == b, where


class StopAfter(Images):
    """Sends a signal to this process when its n-th image is read."""

    def __init__(self, reads: int, number: int = signal.SIGTERM, **options: Any) -> None:
        super().__init__(**options)
        self.reads, self.number = reads, number
        self.counter = itertools.count(1)  # one number a call even where several threads read

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        if next(self.counter) == self.reads:
            os.kill(os.getpid(), self.number)
        return sample


def test_it_learns_and_leaves_what_it_promises(tmp_path):
    recipe = make_recipe(60, validate_every=20, ema_decay=0.9)
    _, result = run(tmp_path, recipe)
    log = records(tmp_path, "train")
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert [record["step"] for record in log] == list(range(3, 61, 3))
    first = log[0]
    assert first["loss"] == pytest.approx(first["loss/main.cross_entropy"] + first["loss/aux.cross_entropy"], rel=1e-5)
    assert first["lr_by_group"] == [first["lr"], 10 * first["lr"]]
    assert first["images_per_second"] > 0
    assert 0 <= first["data_wait"] <= 1
    scores = records(tmp_path, "validation")
    assert [record["step"] for record in scores] == [20, 40, 60]
    assert result.step == 60
    assert result.interrupted is None
    assert result.best == max(record["miou"] for record in scores) > 60
    names = {"best.json", "best.safetensors", "last.json", "last.safetensors", "log.jsonl", "recipe.yaml", "state.pt"}
    assert {path.name for path in tmp_path.iterdir()} == {*names, "samples"}
    state, description = read_model(tmp_path / "last.safetensors")
    assert description["step"] == 60
    assert description["recipe"]["name"] == "tiny"
    assert description["classes"]["names"] == ["dark", "bright"]
    assert description["scores"]["miou"] == scores[-1]["miou"]
    assert_same(state, saved(tmp_path)["ema"]["model"])
    best = read_model(tmp_path / "best.safetensors")[1]
    assert best["scores"]["miou"] == result.best


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"mixing": (ClassMix(), CutMix())},
        {"ema_decay": 0.9, "accumulation": 2, "clip_norm": 0.5, "channels_last": True},
    ],
)
def test_a_stopped_run_continues_bit_for_bit(tmp_path, extra):
    recipe = make_recipe(**extra)
    whole, _ = run(tmp_path / "whole", recipe)
    for reads in (7, 9):  # twice stopped, in the middle of an epoch
        _, result = run(tmp_path / "parts", recipe, train_set=StopAfter(reads))
        assert result.interrupted == "SIGTERM"
        assert result.step < 12
    model, result = run(tmp_path / "parts", recipe)
    assert result == loop.TrainingResult(12, result.best, None)
    assert_same(model.state_dict(), whole.state_dict())
    assert_same(saved(tmp_path / "parts"), saved(tmp_path / "whole"))
    for name in ("last", "best"):
        pair = [read_model(tmp_path / part / f"{name}.safetensors") for part in ("parts", "whole")]
        assert_same(pair[0], pair[1], name)
    assert records(tmp_path / "parts", "validation") == records(tmp_path / "whole", "validation")
    steps = [[record["step"] for record in records(tmp_path / part, "train")] for part in ("parts", "whole")]
    assert steps[0] == steps[1]


def test_the_logged_loss_is_the_mean_of_the_steps_since_the_last_record(tmp_path):
    wanted = [record["loss"] for record in _log_of(tmp_path / "each", log_every=1)]
    logged = _log_of(tmp_path / "validated", log_every=2, validate_every=3)
    assert [record["step"] for record in logged] == [2, 4, 6, 8, 10, 12]
    means = [(wanted[i] + wanted[i + 1]) / 2 for i in range(0, 12, 2)]
    assert [record["loss"] for record in logged] == pytest.approx(means, rel=1e-5)
    terms = [record["loss/main.cross_entropy"] + record["loss/aux.cross_entropy"] for record in logged]
    assert terms == pytest.approx(means, rel=1e-5)


def test_after_a_resume_the_logged_loss_is_that_of_the_steps_since(tmp_path):
    wanted = [record["loss"] for record in _log_of(tmp_path / "each", log_every=1)]
    recipe = make_recipe(log_every=5, validate_every=3)
    _, result = run(tmp_path / "parts", recipe, train_set=StopAfter(13))
    assert 0 < result.step < 10
    run(tmp_path / "parts", recipe)
    logged = {record["step"]: record["loss"] for record in records(tmp_path / "parts", "train")}
    first = 5 if result.step < 5 else 10
    assert logged[first] == pytest.approx(np.mean(wanted[result.step : first]), rel=1e-5)


def _log_of(folder: Path, **training: Any) -> list[dict[str, Any]]:
    run(folder, make_recipe(**{"validate_every": 100, **training}))
    return records(folder, "train")


def test_resuming_reads_no_image_twice_and_finished_runs_read_none(tmp_path):
    recipe = make_recipe()
    run(tmp_path, recipe, train_set=StopAfter(8), val_set=None)
    rest, over = Images(), Images()
    run(tmp_path, recipe, train_set=rest, val_set=None)
    assert len(rest.read) == (12 - 2) * 4
    _, result = run(tmp_path, recipe, train_set=over)
    assert result.step == 12
    assert over.read == []


def test_a_signal_during_validation_repeats_it_after_the_resume(tmp_path):
    recipe = make_recipe()
    whole, _ = run(tmp_path / "whole", recipe)
    _, result = run(tmp_path / "parts", recipe, val_set=StopAfter(2, signal.SIGINT, count=3, seed=1))
    assert (result.step, result.interrupted) == (6, "SIGINT")
    assert records(tmp_path / "parts", "validation") == []
    model, _ = run(tmp_path / "parts", recipe)
    assert_same(model.state_dict(), whole.state_dict())
    assert records(tmp_path / "parts", "validation") == records(tmp_path / "whole", "validation")


def test_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run(tmp_path, make_recipe(1), val_set=None)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_number_of_workers_changes_nothing(tmp_path):
    models = [run(tmp_path / str(n), make_recipe(5, workers=n), val_set=None)[0] for n in (0, 1, 2)]
    assert_same(models[0].state_dict(), models[1].state_dict())
    assert_same(models[0].state_dict(), models[2].state_dict())


def test_accumulation_equals_the_joint_batch(tmp_path):
    """Also with ignored pixels spread unevenly; without norms and dropout, which look at what is computed together."""
    models = [
        run(tmp_path / str(parts), make_recipe(4, accumulation=parts), Tiny(norm=False, dropout=0.0), val_set=None)[0]
        for parts in (1, 2, 4)
    ]
    for other in models[1:]:
        for name, value in models[0].state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_with_the_images_names(tmp_path):
    recipe = replace(make_recipe(30, checkpoint_every=1), schedule=Schedule(lr=1e30, iterations=30))
    with pytest.raises(NonFiniteLossError, match=r"step \d+: the loss .* with the images image\d") as info:
        run(tmp_path, recipe, Tiny(norm=False))
    assert str(info.value).count("image") >= 4
    for tensor in saved(tmp_path)["model"].values():
        assert tensor.isfinite().all() or tensor.abs().max() > 1e20


def test_a_failure_while_saving_keeps_the_last_state(tmp_path, monkeypatch):
    recipe = make_recipe()
    run(tmp_path, recipe, train_set=StopAfter(8), val_set=None)
    before = (tmp_path / "state.pt").read_bytes()

    def fail(content: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        run(tmp_path, recipe, val_set=None)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_another_recipe_is_refused_and_a_fresh_start_is_possible(tmp_path):
    run(tmp_path, make_recipe(2), val_set=None)
    changed = replace(make_recipe(2, ema_decay=0.5, workers=1), schedule=Schedule(lr=0.1, iterations=2))
    with pytest.raises(ValueError, match=r"lr: 0\.05 there, 0\.1 here; training\.ema_decay: None") as info:
        run(tmp_path, changed, val_set=None)
    assert "workers" not in str(info.value)
    _, result = run(tmp_path, changed, val_set=None, resume=False)
    assert result.step == 2
    assert saved(tmp_path)["recipe"]["schedule"]["lr"] == 0.1


def test_a_broken_state_is_said(tmp_path):
    recipe = make_recipe(2)
    (tmp_path / "state.pt").write_bytes(b"no state at all")
    with pytest.raises(ValueError, match=r"state\.pt: not a training state of ours"):
        RunFolder(tmp_path, recipe).prepare(resume=True)


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"batch_size 4 does not divide by 1 processes x training\.accumulation 3"):
        run(tmp_path, make_recipe(accumulation=3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_with_float32_weights_and_losses(tmp_path, precision):
    seen = []

    class Watched(Tiny):
        def segment(self, x: Tensor) -> SegOutput:
            output = super().segment(x)
            if self.training:
                seen.append(output.logits.dtype)
            return output

    model, _ = run(tmp_path, make_recipe(30, precision=precision), Watched())
    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    log = records(tmp_path, "train")
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert bool(saved(tmp_path)["scaler"]) == (precision == "fp16")


def test_tensorboard_writes_event_files(tmp_path):
    pytest.importorskip("tensorboard")
    run(tmp_path, make_recipe(3), val_set=None, tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums of gradients in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
