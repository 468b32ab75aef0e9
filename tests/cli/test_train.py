from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from segattn.api import create_model, load_model
from segattn.cli.main import main
from segattn.losses.terms import CrossEntropy, Distillation
from segattn.recipes.catalog import recipe as find_recipe
from segattn.recipes.serialize import to_yaml
from segattn.training import train as loop
from segattn.weights.checkpoint import describe_model, save_model

Command = Callable[..., str]
SHORT = (
    *("--schedule.iterations", "2", "--schedule.warmup", "null", "--training.validate_every", "2"),
    *("--training.batch_size", "2", "--training.workers", "0"),
    *("--augmentation.3.height", "48", "--augmentation.3.width", "64"),
)


def train(camvid: Path, output: Path, *words: str) -> int:
    return main(["train", "attanet_light_camvid", "--data.root", str(camvid), "--output", str(output), *SHORT, *words])


def test_a_run_that_ends_within_its_warm_up_is_refused(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "attanet_light_camvid", "--data.root", str(camvid), "--output", str(tmp_path / "run")]
    assert main([*words, "--schedule.iterations", "20"]) == 2
    assert "schedule: warmup.iterations 200: the warm-up is longer than the run of 20" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_model_of_an_earlier_version_with_such_a_warm_up_still_loads(tmp_path: Path) -> None:
    recipe = find_recipe("attanet_light_camvid")
    model = create_model(recipe)
    description = describe_model(recipe, model.classes)
    description["recipe"]["schedule"]["iterations"] = 20
    save_model(tmp_path / "old.safetensors", model, description)
    schedule = load_model(tmp_path / "old.safetensors")[0].schedule
    assert schedule.iterations == schedule.warmup.iterations == 20


def test_a_run_leaves_a_model_that_loads_and_a_log_to_draw(
    run: Command, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(camvid, tmp_path / "run") == 0
    assert "validation after step 2: mIoU" in capsys.readouterr().err
    recipe, model = load_model(tmp_path / "run" / "best.safetensors")
    assert recipe.schedule.iterations == 2
    assert model.classes.names[0] == "sky"
    assert run("report", tmp_path / "run").split() == [
        str(tmp_path / "run" / name) for name in ("curves.png", "training.html")
    ]
    assert (tmp_path / "run" / "curves.svg").exists()
    assert (tmp_path / "run" / "samples" / "step_000002" / "val0.jpg").exists()
    assert 'data-name="val0"' in (tmp_path / "run" / "training.html").read_text()


def test_a_finished_run_is_not_repeated_and_a_changed_recipe_refused(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(camvid, tmp_path / "run") == 0
    capsys.readouterr()
    assert train(camvid, tmp_path / "run") == 0
    assert "continuing" in capsys.readouterr().err
    assert train(camvid, tmp_path / "run", "--schedule.lr", "0.5") == 2
    assert "holds a run of a different recipe (schedule.lr: " in capsys.readouterr().err
    assert train(camvid, tmp_path / "run", "--schedule.lr", "0.5", "--fresh") == 0


def test_auto_batch_says_what_fits_and_trains_with_it(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(camvid, tmp_path / "run", "--auto-batch", "--training.accumulation", "2") == 0
    said = capsys.readouterr().out
    assert "auto-batch: 2 crops of 64x48 at a time fit into" in said
    assert "training.batch_size 2 = 2 images x 1 parts x 1 processes, training.accumulation 1" in said
    assert load_model(tmp_path / "run" / "last.safetensors")[0].training.accumulation == 1
    assert train(camvid, tmp_path / "run", "--auto-batch", "--training.accumulation", "2") == 0
    assert "goes on with training.accumulation 1" in capsys.readouterr().out


def test_a_signal_saves_and_leaves_with_exit_code_3(
    camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop._optimizer_step

    def interrupted(run: loop.Run, batches: list[loop.Batch]) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(run, batches)

    monkeypatch.setattr(loop, "_optimizer_step", interrupted)
    with pytest.raises(SystemExit) as exit_:
        train(camvid, tmp_path / "run", "--schedule.iterations", "50")
    assert exit_.value.code == 3
    assert (tmp_path / "run" / "state.pt").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nothing"], "unknown recipe 'nothing'"),
        (["attanet_light_camvid"], "where is camvid? Give its folder with --data.root DIR"),
        (
            ["attanet_light_camvid", "--data.root", "camvid", "--device", "gpu"],
            "device 'gpu': expected auto, cpu, cuda",
        ),
        (["attanet_light_camvid", "--data.root", "nowhere"], "nowhere: no such folder"),
        (["attanet_light_camvid", "--data.root", "camvid", "--data.train_split", "trian"], "Did you mean train"),
        (["attanet_light_camvid", "--data.root", "camvid", "--data.num_classes", "12"], "set --data.num_classes 11"),
        (["attanet_light_camvid", "--data.root", "camvid", "--weights", "x.pth"], "x.pth: no such weights file"),
        (["attanet_light_camvid", "--data.root", "camvid", "--pretrained", "auto"], "names no pretrained weights"),
        (["attanet_light_camvid", "--data.root", "camvid", "--output", "file"], "file: nothing can be written there"),
        (["attanet_light_camvid", "--data.root", "camvid", "--weights", "a", "--pretrained", "b"], "not allowed with"),
        (["attanet_light_camvid_long", "--data.root", "camvid"], "the weights of attanet_light_camvid: give them"),
    ],
)
def test_bad_input_leaves_no_run(
    fail: Command, camvid: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    monkeypatch.chdir(camvid.parent)
    Path("file").write_text("")
    assert text in fail("train", *words)
    assert not Path("runs").exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_broken_image_is_named_in_one_line(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    path = camvid / "images" / "train" / "train2.png"
    path.write_bytes(path.read_bytes()[:300])
    assert train(camvid, tmp_path / "run", "--training.workers", workers) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"segattn: error: {path}: the file is cut short")


@pytest.fixture
def distilled(camvid: Path, tmp_path: Path) -> Callable[..., int]:
    """Trains the CamVid recipe with a teacher, for two steps, into tmp_path/run."""
    row = find_recipe("attanet_light_camvid")
    losses = (CrossEntropy(), Distillation(temperature=2.0))
    training = replace(row.training, teacher="attanet_lite0_camvid", frozen=("^head.aux",))
    (tmp_path / "taught.yaml").write_text(to_yaml(replace(row, losses=losses, training=training)))

    def command(*words: str, output: str = "run") -> int:
        into = ("--data.root", str(camvid), "--output", str(tmp_path / output))
        return main(["train", str(tmp_path / "taught.yaml"), *into, *SHORT, *words])

    return command


def test_a_recipe_with_shipped_weights_or_a_file_teaches(distilled: Callable[..., int], tmp_path: Path) -> None:
    assert distilled("--auto-batch") == 0
    assert '"loss/main.distillation"' in (tmp_path / "run" / "log.jsonl").read_text()
    first = tmp_path / "run" / "last.safetensors"
    assert load_model(first)[0].training.teacher == "attanet_lite0_camvid"
    assert distilled("--training.teacher", str(first), output="next") == 0


def test_a_folder_of_images_without_labels(
    distilled: Callable[..., int], camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "frames"
    (folder / "more").mkdir(parents=True)
    frames = sorted((camvid / "images" / "val").iterdir()) or sorted((camvid / "val").iterdir())
    shutil.copy(frames[0], folder / "one.png")
    shutil.copy(frames[0], folder / "more" / "one.png")
    share = ("--data.unlabelled_share", "0.5")
    assert distilled("--data.unlabelled", str(folder), *share) == 0
    assert distilled("--data.unlabelled", str(folder), "--data.unlabelled_share", "0.25") == 2
    assert "data.unlabelled_share: 0.5 there, 0.25 here" in capsys.readouterr().err
    for words, said in (
        (("--data.unlabelled", str(folder)), "data.unlabelled_share 0 takes none"),
        (share, "data.unlabelled_share 0.5: there are no images for it; set data.unlabelled to a folder"),
        ((*share, "--data.unlabelled", "nowhere"), "data.unlabelled: nowhere: no such folder"),
        ((*share, "--data.unlabelled", str(tmp_path / "empty")), "empty: no images found, but nothing"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert distilled(*words, output="other") == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--training.teacher", "no/such.safetensors"), "training.teacher: no/such.safetensors: no such file, nor a"),
        (("--training.teacher", "attanet_lite0_camvd"), "Did you mean attanet_lite0_camvid"),
        (("--training.teacher", "danet_r50_cityscapes"), "training.teacher: no weights ship with the package for"),
        (("--training.teacher", "null"), "losses.1: a Distillation term learns from a teacher"),
        (("--losses.1", "{kind: Dice}"), "attanet_lite0_camvid: no loss term learns from it"),
    ],
)
def test_a_teacher_that_is_missing_or_idle_is_one_line(
    words: tuple[str, ...],
    said: str,
    distilled: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert distilled(*words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "run").glob("*"))


def test_a_file_that_is_no_model_teaches_nothing(
    distilled: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "teacher.safetensors"
    file.write_bytes(b"no model")
    assert distilled("--training.teacher", str(file)) == 2
    assert capsys.readouterr().err.startswith(f"segattn: error: training.teacher: {file}: ")
