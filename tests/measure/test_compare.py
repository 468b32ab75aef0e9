"""`segattn compare` on a handful of drawn images: two networks, two steps."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from segattn.api import load_model
from segattn.cli.main import main
from segattn.measure import compare
from segattn.measure.benchmark import Settings
from segattn.measure.comparison import Row, known_rows
from segattn.recipes.catalog import recipe
from segattn.recipes.schema import AdamW, ParameterRule, Recipe, Schedule, Training
from segattn.recipes.serialize import to_yaml
from segattn.synthetic.write import write_synthetic
from segattn.training.divergence import NonFiniteLossError
from segattn.training.train import TrainingResult
from segattn.transforms.crops import RandomCrop

SIZE = (64, 96)


def small(name: str, **changes: Any) -> Recipe:
    base = recipe("attanet_light_synthetic")
    settings: dict[str, Any] = {
        "data": replace(base.data, count_at=SIZE),
        "augmentation": (RandomCrop(height=32, width=48),),
        "optimizer": AdamW(),
        "schedule": Schedule(lr=1e-3, iterations=2),
        "training": Training(batch_size=2, validate_every=100, checkpoint_every=100, log_every=1, workers=0),
        "parameter_rules": (
            ParameterRule(max_ndim=1, weight_decay=0.0),
            ParameterRule(pattern=r"^head\.aux1\.", lr=10.0),
        ),
    }
    return replace(base, name=name, **{**settings, **changes})


FIRST = small("first")
SECOND = small("second", network=recipe("light_ham_d256_van_tiny_ade20k").network, losses=FIRST.losses[:1])


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "streets", train=3, val=2, size=SIZE)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measures nothing: the real one needs a process for each network. Gives the names it was asked for."""
    asked: list[str] = []

    def stand_in(recipe: Recipe, size: tuple[int, int], settings: object) -> object:
        assert size == SIZE
        asked.append(recipe.name)
        return SimpleNamespace(seconds=0.0123, clock="wall", memory=3 << 20, memory_built=2 << 20)

    monkeypatch.setattr(compare, "measure", stand_in)
    return asked


def as_files(folder: Path, *recipes: Recipe) -> list[str]:
    files = []
    for row in recipes:
        files.append(str(folder / f"{row.name}.yaml"))
        Path(files[-1]).write_text(to_yaml(row))
    return files


def command(*words: object) -> int:
    return main(["compare", *map(str, words), "--device", "cpu"])


@pytest.mark.usefixtures("quick")
def test_trains_scores_and_continues(
    tmp_path: Path, streets: Path, capsys: pytest.CaptureFixture[str], quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, output = as_files(tmp_path, FIRST, SECOND), tmp_path / "out"
    words = (*files, "--data.root", streets, "--output", output)

    # Stopped by a signal in the second network's training, after the first one's row was written.
    real = compare.train

    def stopped(model: Any, row: Recipe, **options: Any) -> TrainingResult:
        return TrainingResult(1, None, "SIGTERM") if row.name == "second" else real(model, row, **options)

    monkeypatch.setattr(compare, "train", stopped)
    with pytest.raises(SystemExit) as leaving:
        command(*words)
    assert leaving.value.code == 3
    assert [row["name"] for row in json.loads((output / "comparison.json").read_text())["rows"]] == ["first"]
    written = (output / "first" / "last.safetensors").stat().st_mtime_ns

    monkeypatch.setattr(compare, "train", real)
    assert command(*words) == 0
    assert quick == ["first", "second"], "the first network's row was measured again"
    assert (output / "first" / "last.safetensors").stat().st_mtime_ns == written, "trained again"
    shown = capsys.readouterr().out
    for text in ("first", "second", "parameters", "GMACs", "mIoU", "12.3", "second: no CrossEntropy of aux1"):
        assert text in shown

    found = json.loads((output / "comparison.json").read_text())
    first, second = found["rows"]
    assert found["command"]
    assert found["conditions"]["training"].startswith("2 steps of 2 images as in first")
    assert (first["parameters"], second["steps"], first["notes"]) == (1_004_768, 2, [])
    assert 0 <= first["miou"] <= 100
    assert len(second["per_class"]) == 19
    assert set(second["per_class"]["road"]) == {"iou", "acc", "pixels"}
    assert second["notes"] == [
        "no CrossEntropy of aux1: this network has no such output",
        "no CrossEntropy of aux2: this network has no such output",
        r"no rate or decay of its own for '^head\\.aux1\\.': no such parameter",
    ]
    lines = (output / "comparison.md").read_text().splitlines()
    assert lines[0].startswith("| network | parameters | GMACs |")
    assert lines[2].startswith("| first | 1.00 M | ")
    assert lines[3].startswith("| second | 4.")

    text = (output / "comparison.html").read_text(encoding="utf-8")
    weights = hashlib.sha256((output / "first" / "last.safetensors").read_bytes()).hexdigest()
    assert first["sha256"] == weights
    assert f"first/last.safetensors, sha256 {weights[:12]}" in text
    for piece in ("<h1>2 networks on cityscapes, scored on val</h1>", f"{first['miou']:.2f} %", "12.3 ms", "3 MiB"):
        assert piece in text
    absent = [name for name, score in first["per_class"].items() if score["iou"] is None]
    assert text.count("\u2013 absent") == len(absent) + [s["iou"] for s in second["per_class"].values()].count(None)
    assert text.count("<small>cityscapes, scored on val, whole</small>") == 2
    assert not re.search(r"https?:|url\(|@import|<link|<script", text)

    # what was trained is what the plan says, and what its file says of itself
    trained = load_model(output / "second" / "last.safetensors")[0]
    assert trained.losses == FIRST.losses[:1]
    assert trained.parameter_rules == FIRST.parameter_rules[:1]
    assert trained.schedule == FIRST.schedule

    # other conditions in the same folder
    assert command(*words, "--schedule.lr", "0.5") == 2
    assert "schedule.lr: 0.001 there, 0.5 here" in capsys.readouterr().err

    # the trained models, scored anew under the same conditions, have the same scores
    models = [output / name / "last.safetensors" for name in ("first", "second")]
    again = tmp_path / "again"
    assert command(*models, "--score-only", "--output", again) == 0
    rows = json.loads((again / "comparison.json").read_text())["rows"]
    assert [row["miou"] for row in rows] == [first["miou"], second["miou"]]
    assert rows[0]["notes"] == []
    assert rows[1]["notes"] == ["trained under other conditions: losses, parameter_rules"]
    assert command(*models, "--score-only", "--output", again) == 0
    assert len(quick) == 4, "the same models were measured again"
    assert command(*models, "--score-only", "--output", again, "--protocol.flip", "true") == 0
    assert len(quick) == 6, "rows of another protocol were taken for these"
    assert "flip" in json.loads((again / "comparison.json").read_text())["conditions"]["protocol"]


@pytest.mark.usefixtures("quick")
def test_a_network_whose_training_fails_does_not_stop_the_others(
    tmp_path: Path, streets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Any, row: Recipe, **options: Any) -> TrainingResult:
        if row.name == "first":
            raise NonFiniteLossError("step 7: the loss is not finite")
        return real(model, row, **options)

    real = compare.train
    monkeypatch.setattr(compare, "train", broken)
    base = replace(FIRST, data=replace(FIRST.data, root=str(streets)))
    found = compare.compare_recipes([FIRST, SECOND], base, tmp_path, device="cpu")
    first, second = found.rows
    assert first.miou is None
    assert first.notes == ("its training failed: step 7: the loss is not finite",)
    assert first.cells()[-1] == "failed"
    assert second.miou is not None
    assert set(known_rows(tmp_path)) == {first.key, second.key}


@pytest.mark.usefixtures("quick")
def test_steps_and_like(tmp_path: Path, streets: Path) -> None:
    (second,) = as_files(tmp_path, SECOND)
    (like,) = as_files(tmp_path, replace(FIRST, name="conditions"))
    words = (second, "--like", like, "--steps", 1, "--data.root", streets, "--output", tmp_path / "out")
    assert command(*words) == 0
    (row,) = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    assert (row["name"], row["steps"]) == ("second", 1)


def test_plan_gives_every_recipe_rules_that_match() -> None:
    base = recipe("attanet_light_cityscapes")
    for name in ("danet_r50_cityscapes", "upernet_agent_swin_t_ade20k", "acfnet_r101_cityscapes"):
        made, notes = compare.plan(recipe(name), base)
        assert made.parameter_rules == base.parameter_rules[:1]
        assert any("no such parameter" in note for note in notes)
    assert compare.plan(recipe("attanet_r18_cityscapes"), base)[0].parameter_rules == base.parameter_rules


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["attanet_lite_camvid"],
            "unknown recipe 'attanet_lite_camvid'. Did you mean attanet_lite0_camvid, attanet_light",
        ),
        (["attanet_light_camvid", "attanet_light_camvid"], "attanet_light_camvid: named more than once"),
        (["attanet_light_camvid"], "attanet_light_camvid: where is camvid? Give its folder with --data.root DIR"),
        (["attanet_light_camvid", "--network.backbone", "df2"], "--network.backbone: networks are what is compared"),
        (["attanet_light_camvid", "--steps", "0"], "0 steps: expected 1 or more"),
        (["model.safetensors"], "model.safetensors: is a trained model; add --score-only"),
        (["attanet_light_camvid", "--score-only"], "attanet_light_camvid: --score-only takes .safetensors files"),
        (["none.safetensors", "--score-only"], "none.safetensors: no such file"),
        (["a.safetensors", "--score-only", "--steps", "3"], "--steps and --fresh are for training"),
        (["attanet_light_camvid", "--protocol", "hole"], "unknown protocol 'hole'"),
        (["attanet_light_camvid", "--output", "."], "attanet_light_camvid: where is camvid?"),
    ],
)
def test_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*words) == 2
    assert message in capsys.readouterr().err


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"one process; train the recipes one by one .*--score-only"):
        compare.compare_recipes([FIRST], FIRST, tmp_path)


@pytest.mark.usefixtures("quick")
def test_a_model_with_other_classes_is_refused(
    tmp_path: Path, streets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from segattn.api import create_model
    from segattn.weights.checkpoint import describe_model, save_model

    row = recipe("attanet_light_camvid")
    model = create_model(row)
    save_model(tmp_path / "camvid.safetensors", model, describe_model(row, model.classes))
    (like,) = as_files(tmp_path, FIRST)
    words = (tmp_path / "camvid.safetensors", "--score-only", "--like", like, "--data.root", streets)
    assert command(*words, "--output", tmp_path / "out") == 2
    assert "camvid.safetensors: its 11 classes (sky, building, pole, ...) are not the 19" in capsys.readouterr().err


def test_a_foreign_comparison_file_is_refused(tmp_path: Path) -> None:
    assert known_rows(tmp_path) == {}
    (tmp_path / "comparison.json").write_text('{"rows": [{"a": 1}]}')
    with pytest.raises(ValueError, match=r"comparison\.json: not a comparison of ours"):
        known_rows(tmp_path)


def test_a_real_measurement(tmp_path: Path, streets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one test with a real process: time and memory are measured, not zero."""
    monkeypatch.setattr(compare, "Settings", partial(Settings, repeats=1))
    base = replace(FIRST, data=replace(FIRST.data, root=str(streets)), schedule=Schedule(lr=1e-3, iterations=1))
    (row,) = compare.compare_recipes([base], base, tmp_path, device="cpu").rows
    assert row.memory > row.memory_built > 1 << 20
    assert 0 < row.seconds < 60
    assert row.macs > 1e6
    assert isinstance(row, Row)
    assert torch.is_grad_enabled()
