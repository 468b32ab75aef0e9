"""Own data from a folder to a trained model: what is chosen, what continues, what goes on with more epochs."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segattn
from segattn.cli.main import main
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_yaml
from segattn.runs import _run_name
from segattn.training.state import RunFolder

Command = Callable[..., str]
OWN: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "data" / "own_data.py"))
own_data = OWN["own_data"]
NAME = "attanet_light_camvid"
TEXT = "classes: [plate, defect]\nval: 0.3\n"
QUICK = ("--training.workers", "0", "--samples", "0", "--augmentation.3.height", "33", "--augmentation.3.width", "33")


def train(*words: object) -> int:
    return main(["train", NAME, *map(str, words), *QUICK])


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk with my_data and a finished run of two epochs, which nobody changes."""
    desk = tmp_path_factory.mktemp("desk")
    own_data(desk / "my_data", TEXT, *([[0, 1]] * 12), split=".")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        assert train("--data", "my_data", "--epochs", "2") == 0
    return desk


@pytest.fixture
def desk(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(begun, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


def recipe_of(folder: Path) -> Recipe:
    return from_yaml(Recipe, folder / "recipe.yaml")


def steps(folder: Path) -> int:
    saved = RunFolder(folder, segattn.recipe(NAME)).saved()
    assert saved is not None
    return saved[1]


def test_a_run_is_named_after_its_data_and_holds_every_choice(desk: Path) -> None:
    recipe = recipe_of(desk / "runs/my_data")
    assert recipe.name == "my_data"
    assert recipe.data.root == "my_data"
    assert recipe.training.precision in ("float32", "bf16")
    assert steps(desk / "runs/my_data") == recipe.schedule.iterations
    told = " ".join(recipe.deviations)
    assert "weights attanet_light_camvid.safetensors: they ship" in told
    assert "schedule.iterations" in told
    assert "training.workers 0: given" in told
    _, model = segattn.load_model(desk / "runs/my_data")
    assert model.classes.names == ("plate", "defect")


def test_the_same_command_goes_on_by_the_same_choices(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("chosen anew")

    monkeypatch.setattr("segattn.runs.fit_recipe", never)
    monkeypatch.setattr("segattn.runs.measure_pace", never)
    before = recipe_of(desk / "runs/my_data")
    for words in (("--epochs", 2), ("--minutes", 5)):
        assert train("--data", "my_data", *words) == 0
        assert "the run there is done, by the recipe that was chosen when it began" in capsys.readouterr().out
    assert recipe_of(desk / "runs/my_data") == before


def test_another_run_is_not_taken_for_this_one(desk: Path, fail: Command) -> None:
    words = ("train", NAME, "--data", "my_data", *QUICK)
    assert "steps, and 50 epochs are" in fail(*words, "--epochs", "50")
    assert "schedule.lr: 0.00" in fail(*words, "--schedule.lr", "0.5")
    error = fail("train", "attanet_r18_camvid", "--data", "my_data", "--output", "runs/my_data", *QUICK)
    assert "holds a run of another network than attanet_r18_camvid's" in error
    own_data(desk / "others", TEXT, *([[0, 1]] * 12), split=".")
    error = fail("train", NAME, "--data", "others", "--output", "runs/my_data", *QUICK)
    assert "holds a run on other data (folder in my_data), not on others" in error


def test_data_may_move(desk: Path) -> None:
    (desk / "my_data").rename(desk / "elsewhere")
    assert train("--data", "elsewhere", "--output", "runs/my_data") == 0
    assert recipe_of(desk / "runs/my_data").data.root == "elsewhere"


def test_more_epochs_on_a_schedule_of_their_own(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = desk / "runs/my_data"
    before, done = recipe_of(folder), steps(folder)
    weights = torch.load(folder / "state.pt", weights_only=True)["model"]
    capsys.readouterr()
    assert train("--data", "my_data", "--more", "3") == 0
    said = capsys.readouterr().out
    assert "3 more epochs" in said
    assert f"steps after the {done} that are done: a warm restart from the last weights" in said
    schedule = recipe_of(folder).schedule
    assert schedule.start == done
    assert schedule.iterations == steps(folder) > done
    assert schedule.warmup is not None
    assert schedule.lr == before.schedule.lr
    rates = [
        (record["step"], record["lr"])
        for record in map(json.loads, (folder / "log.jsonl").read_text().splitlines())
        if record["kind"] == "train"
    ]
    assert [step for step, _ in rates] == list(range(1, schedule.iterations + 1))
    assert dict(rates)[done + 1] == pytest.approx(1e-5)  # where the warm-up begins
    after = torch.load(folder / "state.pt", weights_only=True)["model"]
    assert any(not torch.equal(after[name], weights[name]) for name in weights)
    assert train("--data", "my_data") == 0, "it is a finished run like any other"
    assert train("--data", "my_data", "--epochs", "2") == 0


def one_step_back(folder: Path) -> int:
    state = torch.load(folder / "state.pt", weights_only=True)
    state["progress"]["step"] -= 1
    torch.save(state, folder / "state.pt")
    return int(state["progress"]["step"])


def test_an_unfinished_run_is_given_no_more(desk: Path, fail: Command, capsys: pytest.CaptureFixture[str]) -> None:
    step = one_step_back(desk / "runs/my_data")
    error = fail("train", NAME, "--data", "my_data", "--more", "3", *QUICK)
    assert f"at step {step} of" in error
    command = "segattn train runs/my_data/recipe.yaml --output runs/my_data"
    assert error.endswith(f"`{command}`")
    assert main(command.split()[1:]) == 0
    assert steps(desk / "runs/my_data") == step + 1
    capsys.readouterr()
    error = fail("train", NAME, "--data", "my_data", "--more", "3", "--output", "runs/new", *QUICK)
    assert "no run is there to go on with; train one first" in error


def test_more_that_was_stopped_goes_on_by_the_same_command(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--data", "my_data", "--more", "2") == 0
    step = one_step_back(desk / "runs/my_data")
    capsys.readouterr()
    assert train("--data", "my_data", "--more", "2") == 0
    assert f"the 2 more epochs go on after step {step} of {step + 1}" in capsys.readouterr().out
    assert recipe_of(desk / "runs/my_data").schedule.iterations == step + 1


def test_minutes_are_kept_by_a_measured_pace(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segattn.training.pace._SECONDS", 0.1)
    assert train("--data", "my_data", "--minutes", "0.01", "--output", "runs/short") == 0
    said = capsys.readouterr().out
    assert "0.01 minutes at" in said
    assert "s a step (measured)" in said
    assert steps(desk / "runs/short") == recipe_of(desk / "runs/short").schedule.iterations < 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--epochs", "3"), "epochs: for a folder of your own (--data DIR); other trainings have schedule.iterations"),
        (("--data", "my_data", "--epochs", "3", "--minutes", "1"), "epochs 3 and minutes 1: one of the two decides"),
        (("--data", "my_data", "--epochs", "0"), "argument --epochs: '0': expected a number above 0"),
        (("--data", "my_data", "--more", "1", "--epochs", "2"), "epochs and more: more says itself"),
        (("--data", "my_data", "--more", "1", "--fresh"), "more goes on with a run, and fresh removes it"),
        (("--data", "nowhere"), "nowhere: no such folder; a folder data set was to be read from it"),
        (("--data", "my_data", "--fresh", "--data.root", "x"), "data.root: the folder of your own data decides it"),
        (("--data", "one", "--output", "runs/one"), "are the same for train and val: write `val: 0.2`"),
        (
            ("--data", "bare"),
            "bare: no dataset.yaml there, found images/, masks/; `segattn data check bare --fix`",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    desk: Path, fail: Command, words: tuple[str, ...], message: str
) -> None:
    own_data(desk / "one", "classes: [plate, defect]\nimages: images\nmasks: masks\n", [0, 1], [1], split=".")
    own_data(desk / "bare", "", [0, 1], split=".")
    (desk / "bare/dataset.yaml").unlink()
    assert message in fail("train", NAME, *words, *QUICK)
    assert not list((desk / "runs").glob("[!m]*/*"))


def test_the_python_api_is_as_short(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crop = {"augmentation.3.height": 33, "augmentation.3.width": 33}
    quick = {**crop, "training.workers": 0, "losses.0.class_weights": None}
    result = segattn.train(
        NAME, data="my_data", epochs=1, output="runs/python", overrides=quick, samples=0, device="cpu"
    )
    assert result.interrupted is None
    assert result.step == steps(desk / "runs/python") > 0
    assert "choice" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"takes an nn\.Module"):
        segattn.train(NAME, segattn.recipe(NAME))  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="a model is trained by a recipe"):
        segattn.train(torch.nn.Identity())  # type: ignore[call-overload]


def test_a_crop_that_a_callable_replaces_is_not_among_the_choices(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": image[:33, :33], "mask": mask[:33, :33]}

    quick = {"training.workers": 0, "losses.0.class_weights": None}
    words = {"epochs": 1, "output": "runs/own", "overrides": quick, "samples": 0, "device": "cpu"}
    segattn.train(NAME, data="my_data", augmentation=cut, **words)
    said = capsys.readouterr().out
    assert any(line.split()[:3] == ["augmentation", "a", "callable"] for line in said.splitlines())
    assert "augmentation.3" not in said
    assert "augmentation.3" not in (desk / "runs/own/recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("a b", "a b"), (".hidden", "hidden"), ("x" * 250, "x" * 200), ("ä\n", "ä_"), ("...", "own_data")],
)
def test_names_of_runs(tmp_path: Path, folder: str, name: str) -> None:
    assert _run_name(tmp_path / folder) == name
