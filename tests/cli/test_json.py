"""`--json`: one document on the standard output, and nothing else there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from segattn.cli.main import build_parser, main
from segattn.evaluation.metrics import Scores
from segattn.measure import benchmark, compare
from segattn.recipes.catalog import RECIPES
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict
from segattn.weights import inspect as identify

Command = Callable[..., str]


def document(text: str) -> Any:
    """The one JSON document that a text is."""
    assert text.isascii()
    assert text.endswith("\n")
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_recipe(run: Command) -> None:
    shown = document(run("show", "danet_r50_cityscapes", "--json", "--schedule.lr", "0.5"))
    assert shown["schedule"]["lr"] == 0.5
    assert from_dict(Recipe, {**shown, "schedule": {**shown["schedule"], "lr": 0.01}}) is not None
    text = run("show", "danet_r50_cityscapes", "--schedule.lr", "0.5")
    assert yaml.safe_load(text) == shown


def test_what_a_check_finds(camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (camvid / "images/train/train0.png").write_bytes(b"no image")
    with pytest.raises(SystemExit) as left:
        main(["data", "check", "camvid", "--root", str(camvid), "--json"])
    assert left.value.code == 2
    found = document(capsys.readouterr().out)
    assert found["samples"] == 4
    assert any("train0.png" in problem["path"] for problem in found["problems"])


def test_class_frequencies(run: Command, camvid: Path, tmp_path: Path) -> None:
    words = ("data", "stats", "camvid", "--root", camvid)
    found = document(run(*words, "--json", "--output", tmp_path / "stats.json"))
    assert len(found["classes"]) == 11
    assert json.loads((tmp_path / "stats.json").read_text()) == found


def test_a_file_of_weights(run: Command, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify, "RECIPES", {name: RECIPES[name] for name in ("attanet_light_camvid",)})
    found = document(run("weights", "inspect", trained, "--json"))
    assert found["file"] == str(trained)
    assert found["fits"][0]["recipe"] == "attanet_light_camvid"
    assert found["fits"][0]["whole"] is True
    assert found["description"]["classes"].startswith("11: ")
    assert found["foreign"] == []


def test_scores(run: Command, trained: Path, camvid: Path, tmp_path: Path) -> None:
    words = ("evaluate", trained, "--data.root", camvid, "--output", tmp_path / "report")
    found = document(run(*words, "--json"))
    assert (found["recipe"], found["dataset"], found["split"]) == ("attanet_light_camvid", "camvid", "val")
    assert found["model"] == str(trained)
    assert found["files"] == [str(tmp_path / "report" / name) for name in ("scores.json", "report.html")]
    written = Scores.from_json((tmp_path / "report" / "scores.json").read_text())
    assert Scores.from_json(json.dumps(found)).miou == written.miou == found["miou"]


def test_measurements(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure", benchmark.measure_here)
    monkeypatch.setitem(benchmark._PRODUCT_SIDE, "cpu", 64)
    words = ("benchmark", "attanet_light_cityscapes", "--size", "32x64", "--threads", "1", "--repeats", "1")
    found = document(run(*words, "--json"))
    assert [row["recipe"] for row in found["measurements"]] == ["attanet_light_cityscapes"]
    assert found["settings"]["repeats"] == 1


def test_a_comparison(
    run: Command, trained: Path, camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = SimpleNamespace(seconds=0.0123, clock="wall", memory=3 << 20, memory_built=2 << 20)
    monkeypatch.setattr(compare, "measure", lambda *_: figures)
    words = ("compare", trained, "--score-only", "--data.root", camvid, "--output", tmp_path, "--device", "cpu")
    found = document(run(*words, "--json"))
    assert [row["miou"] is not None for row in found["rows"]] == [True]
    assert found["files"] == [str(tmp_path / name) for name in ("comparison.json", "comparison.md", "comparison.html")]


def leaves(parser: Any) -> list[Any]:
    groups = [action for action in parser._actions if isinstance(getattr(action, "choices", None), dict)]
    return [leaf for group in groups for choice in group.choices.values() for leaf in leaves(choice)] or [parser]


def test_every_command_that_prints_a_table_has_it() -> None:
    have = {leaf.prog for leaf in leaves(build_parser()) if "--json" in leaf._option_string_actions}
    commands = ("list", "show", "evaluate", "benchmark", "compare", "data check", "data stats", "weights inspect")
    assert have >= {f"segattn {command}" for command in commands}
