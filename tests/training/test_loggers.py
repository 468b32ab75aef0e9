"""Loggers of the caller's: what they are told, what an error of theirs does, and what is refused."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import segattn

LOOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_train.py")))
make_recipe, run, StopAfter, records = (LOOP[name] for name in ("make_recipe", "run", "StopAfter", "records"))


class Notes:
    """Notes what it is told; raises at the n-th call of `log`."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.configs: list[Mapping[str, Any]] = []
        self.logged: list[tuple[int, Mapping[str, float]]] = []
        self.shown: list[tuple[int, list[str]]] = []
        self.ends: list[bool] = []
        self.fails_at = fails_at

    def start(self, config: Mapping[str, Any]) -> None:
        if self.fails_at == 0:
            raise ConnectionError("no server")
        self.configs.append(config)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.logged.append((step, values))
        if len(self.logged) == self.fails_at:
            raise ConnectionError("no server")

    def images(self, step: int, images: Any) -> None:
        self.shown.append((step, [name for name, image in images if image.ndim == 3]))

    def finish(self, *, failed: bool) -> None:
        self.ends.append(failed)


def test_it_is_told_what_the_log_says(tmp_path: Path) -> None:
    notes: segattn.Logger = Notes()
    assert isinstance(notes, Notes)
    run(tmp_path / "mine", make_recipe(), loggers=[notes])
    (config,) = notes.configs
    assert (config["run"], config["folder"], config["step"]) == ("mine", str(tmp_path / "mine"), 0)
    assert config["recipe"]["schedule"]["lr"] == 0.05
    losses = {step: values["train/loss"] for step, values in notes.logged if "train/loss" in values}
    assert losses == {record["step"]: record["loss"] for record in records(tmp_path / "mine", "train")}
    scores = [values["validation/miou"] for _, values in notes.logged if "validation/miou" in values]
    assert scores == [record["miou"] for record in records(tmp_path / "mine", "validation")]
    assert all(type(value) is float for _, values in notes.logged for value in values.values())
    assert notes.shown == [(step, [f"image{index}" for index in range(3)]) for step in (6, 12)]
    assert notes.ends == [False]


def test_a_run_that_continues_says_from_where(tmp_path: Path) -> None:
    notes = Notes()
    result = run(tmp_path, make_recipe(), loggers=[notes], train_set=StopAfter(17))[1]
    assert result.interrupted
    run(tmp_path, make_recipe(), loggers=[notes])
    assert [config["step"] for config in notes.configs] == [0, result.step]
    assert notes.ends == [False, False]


def test_a_logger_that_fails_does_not_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, whole = Notes(fails_at=2), Notes()
    result = run(tmp_path, make_recipe(), loggers=[broken, whole])[1]
    assert result.step == 12
    assert len(broken.logged) == 2
    assert broken.ends == [False]
    assert len(whole.logged) == 6
    said = capsys.readouterr().err
    assert "the logger Notes failed (no server): it is told of no more of this run, which goes on" in said
    assert said.count("failed") == 1


def test_one_that_can_not_start_ends_it_before_it_begins(tmp_path: Path) -> None:
    first = Notes()
    with pytest.raises(ConnectionError, match="no server"):
        run(tmp_path, make_recipe(), loggers=[first, Notes(fails_at=0)])
    assert first.ends == [True]
    assert first.logged == []


def test_an_error_of_the_run_is_told(tmp_path: Path) -> None:
    notes = Notes()

    class Broken(StopAfter):
        def __getitem__(self, index: int) -> Any:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        run(tmp_path, make_recipe(), loggers=[notes], train_set=Broken(9), allow_absent_classes=True)
    assert notes.ends == [True]


def test_what_is_no_logger(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the logger NoneType has no start, log, images, finish; a segattn\.Logger"):
        run(tmp_path, make_recipe(), loggers=[None])
    with pytest.raises(ValueError, match="loggers: a list was expected, got one Notes"):
        run(tmp_path, make_recipe(), loggers=Notes())
    assert list(tmp_path.iterdir()) == []
