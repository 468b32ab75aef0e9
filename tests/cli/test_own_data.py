"""Own data from the command line: what would train on wrong labels stops, and one command mends it."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from segattn.api import load_model
from segattn.cli.main import main

Command = Callable[..., str]
OWN: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "data" / "own_data.py"))
classes, own_data, put = OWN["classes"], OWN["own_data"], OWN["put"]
CRACK = classes("background", "crack")
TRAIN = (
    *("train", "attanet_light_camvid", "--data.dataset", "folder", "--data.num_classes", "2"),
    *(word for index in range(3) for word in (f"--losses.{index}.class_weights", "null")),
    *("--schedule.iterations", "2", "--schedule.warmup", "null", "--training.validate_every", "2"),
    *("--training.batch_size", "2", "--training.workers", "0", "--samples", "0"),
    *("--augmentation.3.height", "48", "--augmentation.3.width", "48"),
)


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """Masks of 0 and 255."""
    root = own_data(tmp_path / "data", CRACK, [0, 255], [0, 0, 255], [0])
    return own_data(root, CRACK, [0, 255], split="val")


def check(root: Path, *words: str) -> int:
    try:
        return main(["data", "check", "folder", "--root", str(root), *words])
    except SystemExit as leaving:
        return int(leaving.code or 0)


@pytest.mark.parametrize(
    "words",
    [
        ("train", "attanet_light_camvid", "--data", "FILE"),
        ("evaluate", "attanet_light_camvid", "--data", "FILE"),
        ("evaluate", "attanet_light_camvid", "--data.root", "FILE"),
        ("data", "export", "coco", "FILE", "out"),
        ("data", "import", "coco", "FILE", "out"),
        ("data", "prepare", "voc2012", "--root", "FILE"),
        ("report", "FILE"),
    ],
    ids=" ".join,
)
def test_a_file_in_place_of_a_folder_is_called_that(
    binary: Path, words: tuple[str, ...], fail: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(binary / "dataset.yaml")
    assert fail(*(file if word == "FILE" else word for word in words)).startswith(f"{file}: is a file; give the folder")


def test_a_model_is_scored_on_a_folder_in_one_word(
    tmp_path: Path, run: Command, fail: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    root = own_data(tmp_path / "data", CRACK, [0, 1], [1, 0])
    own_data(root, CRACK, [0, 1], split="val")
    output = tmp_path / "run"
    assert main([*TRAIN, "--data.root", str(root), "--output", str(output)]) == 0
    capsys.readouterr()
    model = str(output / "last.safetensors")
    run(*("evaluate", model, "--data", root, "--output", tmp_path / "report"))
    other = own_data(tmp_path / "other", classes("plate"), [0], split="val")
    said = fail("evaluate", model, "--data", other)
    assert said.startswith(f"{model}: its 2 classes (background, crack) are not the 1 of the data set (plate)")


def test_masks_of_another_kind_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = own_data(tmp_path / "data", CRACK, [0, 1])
    (root / "masks/train/p0.png").rename(root / "masks/train/p0.tif")
    assert check(root) == 2
    said = capsys.readouterr().out
    assert "not one label file of the expected suffix there, but p0.tif; masks are PNG (JPEG changes ids)" in said
    (root / "dataset.yaml").write_text(CRACK + "mask_suffix: .tif\n")
    (root / "masks/train/p0.tif").unlink()
    put(root / "masks/train/p0.tif", [0, 1])
    assert check(root) == 0


def test_one_thing_is_not_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = own_data(tmp_path / "data", CRACK, [0, 255])
    assert check(root) == 2
    said = capsys.readouterr().out
    assert said.startswith("1 sample\n")
    assert "\n1 problem:\n" in said
    assert "in 1 mask," in said


def test_masks_of_0_and_255_are_found_mended_and_trained(
    binary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(binary) == 2
    said = capsys.readouterr().out
    assert "nothing wrong found" not in said
    assert "not one pixel of crack in 3 masks" in said
    assert "write into dataset.yaml: `labels: {0: background, 255: crack}`" in said
    assert (binary / "dataset.yaml").read_text() == CRACK

    assert check(binary, "--fix") == 0
    said = capsys.readouterr().out
    assert f"{binary / 'dataset.yaml'}: wrote `labels: {{0: background, 255: crack}}`" in said
    assert "nothing wrong found" in said
    assert (binary / "dataset.yaml").read_text() == CRACK + "labels: {0: background, 255: crack}\n"
    assert check(binary, "--fix") == 0
    assert "wrote" not in capsys.readouterr().out

    assert main([*TRAIN, "--data.root", str(binary), "--output", str(tmp_path / "run")]) == 0
    data = load_model(tmp_path / "run" / "last.safetensors")[0].data
    assert data.trained_at == (48, 48)  # of these images, whatever size the recipe was made for


@pytest.mark.parametrize("words", [(), ("--auto-batch",)])
def test_training_stops_before_a_class_is_lost(
    fail: Command, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("segattn.training.auto_batch._Trial", None)  # it must not come to that
    error = fail(*TRAIN, "--data.root", binary, "--output", tmp_path / "run", *words)
    assert "255 (" in error
    assert "`labels: {0: background, 255: crack}`" in error
    assert error.endswith("give --allow-absent-classes (in Python allow_absent_classes=True)")
    assert not (tmp_path / "run/state.pt").exists()


@pytest.mark.parametrize("words", [(), ("--auto-batch",)])
def test_training_without_a_class_on_request(binary: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    words = ("--data.root", str(binary), "--output", str(tmp_path / "run"), "--allow-absent-classes", *words)
    assert main([*TRAIN, *words]) == 0


def test_a_run_that_goes_on_is_not_asked_again(binary: Path, tmp_path: Path) -> None:
    words = [*TRAIN, "--data.root", str(binary), "--output", str(tmp_path / "run")]
    assert main([*words, "--allow-absent-classes"]) == 0
    assert main(words) == 0
    assert main([*words, "--fresh"]) == 2


def test_what_may_be_something_else_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = classes("a", "b", "c")
    root = own_data(tmp_path / "data", text, [0, 1, 255])
    assert check(root, "--fix") == 2
    assert "which id is which class is yours to say" in capsys.readouterr().out
    assert (root / "dataset.yaml").read_text() == text


def test_a_layout_that_can_not_be_mended_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CRACK + "labels:\n  ? 0\n  : background\n"
    root = own_data(tmp_path / "data", text, [0, 255])
    assert check(root, "--fix") == 2
    captured = capsys.readouterr()
    assert "can't be changed safely; write into it `labels: {0: background, 255: crack}`" in captured.out + captured.err
    assert (root / "dataset.yaml").read_text() == text


def test_a_submission_never_replaces_the_truth(fail: Command, camvid: Path, trained: Path, tmp_path: Path) -> None:
    folder = camvid / "labels/val"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    error = fail("evaluate", trained, "--data.root", camvid, "--submission", folder)
    assert error.endswith("val0.png: would be written and is a source itself; give another output folder")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (classes("no", "yes"), "classes.0.name: false; YAML reads yes, no, on and off as true and false: quote it"),
        (classes("a", "ignore"), "means in labels that an id neither trains nor scores"),
        (CRACK + "labels: {0: background, -1: crack}\n", "labels: -1 is negative"),
        (CRACK + "labels: {0: background, 1: crack, 1: background}\n", "key 1 twice"),
        (CRACK + "image_suffix: [1]\n", "image_suffix: [1]; ends of file names were expected"),
        ("classes: !!bool abc", "tags are not read"),
        ("classes: " + "[" * 5000 + "]" * 5000, "more than 32 lists and mappings inside each other"),
        (
            "\n".join(["a: &a0 [x]", *(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]" for n in range(1, 9))]),
            "more than 50000 values",
        ),
    ],
)
@pytest.mark.parametrize("command", ["check", "stats", "show"])
def test_wrong_descriptions_are_one_line(fail: Command, tmp_path: Path, command: str, text: str, message: str) -> None:
    root = own_data(tmp_path / "data", text, [0, 1])
    error = fail("data", command, "folder", "--root", root)
    assert error.startswith(f"{root / 'dataset.yaml'}: ")
    assert message in error
    assert len(error) < 1000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("name: ../../ESCAPED", "name"),
        ("name: /tmp/x", "name"),
        ("name: ''", "name"),
        ("name: no", "YAML reads yes, no, on and off as true and false"),
        ("name: a\nname: b", "key 'name' twice"),
        ("name: !!str a", "tags are not read"),
        ("name: 1:1", "to the base 60"),
        ("name: &a [*a]", "contain themselves"),
    ],
)
def test_wrong_recipes_are_one_line(
    run: Command, fail: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = [row for row in run("show", "attanet_light_camvid").splitlines() if not row.startswith("name:")]
    Path("mine.yaml").write_text("\n".join([line, *recipe]))
    for words in (("show", "mine.yaml"), ("train", "mine.yaml", "--data.root", "x")):
        error = fail(*words)
        assert error.startswith("mine.yaml: ")
        assert message in error
    assert [file.name for file in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("name", ["mine.yaml", "run/state.pt", "data/dataset.yaml"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(fail: Command, binary: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    recipe = path if name == "mine.yaml" else "attanet_light_camvid"
    words = ("--data.root", binary, "--output", tmp_path / "run", "--allow-absent-classes")
    assert fail("train", recipe, *TRAIN[2:], *words).startswith(f"{path}: is a pipe (FIFO), not a regular file")


def test_linked_sub_folders_are_trained_and_labelled(
    binary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = own_data(tmp_path / "more", CRACK, [0, 255], [255])
    for kind in ("images", "masks"):
        (binary / kind / "train/more").symlink_to(more / kind / "train")
        (binary / kind / "train/loop").symlink_to(binary / kind / "train")
    assert check(binary, "--fix") == 0
    assert capsys.readouterr().out.splitlines()[1] == "5 samples"


def test_masks_in_colour_and_of_other_sizes_are_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = own_data(tmp_path / "data", CRACK, [0, 1], [0, 1])
    cv2.imwrite(str(root / "masks/train/p0.png"), np.zeros((48, 48, 3), np.uint8))
    cv2.imwrite(str(root / "masks/train/p1.png"), np.eye(40, dtype=np.uint8))
    assert check(root) == 2
    said = capsys.readouterr().out
    assert "p0.png" in said
    assert "p1.png: is 40x40, p1.jpg is 48x48" in said


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("show --output", "images/train/train0.png"),
        ("show --output", "labels/val/val0.png"),
        ("show --output", "linked.png"),
        ("stats --output", "labels/train/train0.png"),
        ("stats --output", "lists/train.txt"),
        ("check --output", "labels/val/val0.png"),
        ("check --split val --output", "labels/val/val0.png"),
    ],
)
def test_an_output_is_no_file_of_the_data_set(fail: Command, camvid: Path, words: str, file: str) -> None:
    (camvid / "lists").mkdir()
    (camvid / "lists" / "train.txt").write_text("train0\n")
    (camvid / "linked.png").symlink_to("labels/train/train0.png")
    before = (camvid / file).read_bytes()
    action, *options = words.split()
    error = fail("data", action, "camvid", "--root", camvid, *options, camvid / file)
    assert error == f"{camvid / file}: would be written and is a source itself; give another output folder"
    assert (camvid / file).read_bytes() == before


def test_a_report_replaces_no_mask_of_a_data_set_that_lacks_files(fail: Command, camvid: Path) -> None:
    (camvid / "images/train/train0.png").unlink()
    mask = camvid / "labels/train/train0.png"
    assert "is a source itself" in fail("data", "check", "camvid", "--root", camvid, "--output", mask)


def test_an_output_beside_the_images_is_replaced(run: Command, camvid: Path) -> None:
    for words in (("show", "--output", camvid / "sheet.png"), ("stats", "--output", camvid / "reports" / "stats.json")):
        for _ in range(2):
            run("data", words[0], "camvid", "--root", camvid, *words[1:])


def test_the_description_that_is_missing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fail: Command
) -> None:
    root = own_data(tmp_path / "data", "", [0, 255], [0, 255], split=".")
    (root / "dataset.yaml").unlink()
    assert main(["data", "show", "folder", "--root", str(root)]) == 2
    assert f"`segattn data check {root} --fix` writes one" in capsys.readouterr().err
    assert main(["data", "check", str(root), "--fix"]) == 0
    said = capsys.readouterr().out
    assert "val: 0.2" in said
    assert "nothing wrong found" in said
    assert (root / "dataset.yaml").read_text() in said
