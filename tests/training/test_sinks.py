"""TensorBoard and Weights & Biases beside the log; W&B as a stand-in with the calls that are used of it."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

LOOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_train.py")))
make_recipe, Images, StopAfter, records = (LOOP[name] for name in ("make_recipe", "Images", "StopAfter", "records"))


class Error(Exception):
    pass


class UsageError(Error):
    pass


class CommError(Error):
    pass


class AuthenticationError(CommError):
    pass


class WandB(SimpleNamespace):
    """Notes what it is told."""

    def __init__(self, fails: Exception | None = None) -> None:
        names = {error.__name__: error for error in (UsageError, CommError, AuthenticationError)}
        super().__init__(inits=[], logged=[], ended=[], metrics=[], errors=SimpleNamespace(**names), Image=np.asarray)
        self.fails = fails

    def init(self, **settings: Any) -> WandB:
        self.inits.append(settings)
        if self.fails is not None and settings.get("mode") != "offline":
            raise self.fails
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics.append((name, step_metric))

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> WandB:
    module = WandB()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def run(folder: Path, recipe: Any = None, **options: Any) -> Any:
    return LOOP["run"](folder, make_recipe() if recipe is None else recipe, **options)[1]


def test_wandb_gets_the_numbers_of_the_log_and_the_sample_images(tmp_path: Path, wandb: WandB) -> None:
    run(tmp_path / "my_run", wandb="streets")
    (settings,) = wandb.inits
    assert (settings["project"], settings["name"], settings["resume"]) == ("streets", "my_run", "allow")
    assert settings["config"]["schedule"]["lr"] == 0.05
    assert ("*", "step") in wandb.metrics
    losses = {values["step"]: values["train/loss"] for values in wandb.logged if "train/loss" in values}
    assert losses == {record["step"]: record["loss"] for record in records(tmp_path / "my_run", "train")}
    scores = {values["step"]: values["validation/miou"] for values in wandb.logged if "validation/miou" in values}
    assert scores == {record["step"]: record["miou"] for record in records(tmp_path / "my_run", "validation")}
    shown = [values for values in wandb.logged if "samples/image0" in values]
    assert [values["step"] for values in shown] == [6, 12]
    assert shown[0].keys() == {"step", *(f"samples/image{index}" for index in range(3))}
    assert shown[0]["samples/image0"].shape[2] == 3
    assert wandb.ended == [0]


def test_a_resumed_run_is_the_same_one_at_wandb_and_a_fresh_one_another(tmp_path: Path, wandb: WandB) -> None:
    assert run(tmp_path, train_set=StopAfter(17), wandb="streets").interrupted
    run(tmp_path, wandb="streets")
    run(tmp_path, wandb="streets", resume=False)
    first, second, fresh = (settings["id"] for settings in wandb.inits)
    assert first == second != fresh
    assert wandb.ended == [0, 0, 0]


def test_a_run_that_fails_is_marked_so(tmp_path: Path, wandb: WandB) -> None:
    with pytest.raises(ValueError, match="not finite"):
        run(tmp_path, LOOP["replace"](make_recipe(), schedule=LOOP["Schedule"](lr=1e30, iterations=30)), wandb="p")
    assert wandb.ended == [1]


def test_a_server_out_of_reach_keeps_the_records_here(
    tmp_path: Path, wandb: WandB, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.fails = CommError("timed out\nat length")
    assert run(tmp_path, wandb="p").step == 12
    assert [settings.get("mode") for settings in wandb.inits] == [None, "offline"]
    assert wandb.inits[0]["id"] == wandb.inits[1]["id"]
    assert "can't be reached (timed out): the records are kept in" in capsys.readouterr().err
    assert wandb.logged


@pytest.mark.parametrize("error", [UsageError("No API key."), AuthenticationError("No API key.")])
def test_a_refusal_says_what_to_do(tmp_path: Path, wandb: WandB, error: Exception) -> None:
    wandb.fails = error
    with pytest.raises(ValueError, match=r"refuses: No API key\. Run `wandb login`, set WANDB_MODE=offline"):
        run(tmp_path, wandb="p")


@pytest.mark.parametrize(("module", "option"), [("wandb", {"wandb": "p"}), ("tensorboard", {"tensorboard": True})])
def test_what_is_not_installed_is_said_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, option: dict[str, Any]
) -> None:
    run(tmp_path, make_recipe(2))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"not installed: pip install 'segattn\[log\]'"):
        run(tmp_path, make_recipe(2), resume=False, **option)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_wandbs_own_folder_is_not_taken_for_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(p for p in sys.path if "wandb" not in p)])
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())
    with pytest.raises(ValueError, match="not installed"):
        run(tmp_path, wandb="p")


def test_tensorboard_gets_numbers_and_images(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    losses = [record["loss"] for record in records(tmp_path, "train")]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses)
    assert set(events.Tags()["images"]) == {f"samples/image{index}" for index in range(3)}
    assert [event.step for event in events.Images("samples/image2")] == [6, 12]


def test_samples_change_nothing_and_can_be_left_out(tmp_path: Path) -> None:
    run(tmp_path / "with", samples=2)
    run(tmp_path / "without", samples=0)
    LOOP["assert_same"](*(LOOP["saved"](tmp_path / part) for part in ("with", "without")))
    assert records(tmp_path / "with", "validation") == records(tmp_path / "without", "validation")
    found = sorted(str(path.relative_to(tmp_path / "with")) for path in (tmp_path / "with").rglob("*.jpg"))
    assert found == [f"samples/step_{step:06d}/image{index}.jpg" for step in (6, 12) for index in (0, 2)]
    assert not (tmp_path / "without" / "samples").exists()
    run(tmp_path / "with", make_recipe(2), resume=False, val_set=None)
    assert not (tmp_path / "with" / "samples").exists()


def test_an_explosion_stops_the_run_at_the_same_step_with_and_without_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segattn.training import divergence as explosion

    monkeypatch.setattr(explosion, "PATIENCE", 6)
    monkeypatch.setattr(explosion, "_ENOUGH", 5)
    step = LOOP["loop"]._optimizer_step

    def scaled(run: Any, batches: Any) -> Any:
        losses = step(run, batches)
        return [{k: v * (1 if run.state.progress.step < 9 else 1000) for k, v in part.items()} for part in losses]

    monkeypatch.setattr(LOOP["loop"], "_optimizer_step", scaled)
    texts = []
    for folder, reads in (("whole", ()), ("parts", (11, 9))):
        for number in reads:
            assert run(tmp_path / folder, make_recipe(40), train_set=StopAfter(number), val_set=None).interrupted
        with pytest.raises(explosion.ExplodingLossError) as info:
            run(tmp_path / folder, make_recipe(40), val_set=None)
        texts.append(str(info.value).split(" Here,")[0])
    assert texts[0] == texts[1]
    assert texts[0].startswith("step 14: ")
    assert texts[0].endswith("since step 9.")
    assert json.dumps(LOOP["saved"](tmp_path / "whole")["progress"]["high_steps"]) != "0"
