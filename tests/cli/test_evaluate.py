from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Command = Callable[..., str]


def test_scores_a_report_and_label_files(run: Command, trained: Path, camvid: Path, tmp_path: Path) -> None:
    words = ("--output", tmp_path / "report", "--submission", tmp_path / "labels")
    text = run("evaluate", trained, "--data.root", camvid, *words)
    lines = text.splitlines()
    assert lines[0] == "attanet_light_camvid on camvid val"
    assert lines[1].startswith("whole: ")
    assert lines[-2:] == [str(tmp_path / "report" / "scores.json"), str(tmp_path / "report" / "report.html")]
    scores = json.loads((tmp_path / "report" / "scores.json").read_text())
    assert f"mIoU {scores['miou']:.2f}" in text
    assert "attanet_light_camvid on camvid val" in (tmp_path / "report" / "report.html").read_text()
    assert sorted(file.name for file in (tmp_path / "labels").iterdir()) == ["val0.png", "val1.png", "val2.png"]
    labels = cv2.imread(str(tmp_path / "labels" / "val0.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (48, 64)
    assert labels.max() < 11


def test_the_recipe_its_weights_and_a_split_can_be_named(run: Command, trained: Path, camvid: Path) -> None:
    whole = run("evaluate", trained, "--data.root", camvid, "--split", "train")
    named = run("evaluate", "attanet_light_camvid", "--weights", trained, "--data.root", camvid, "--split", "train")
    assert whole == named
    assert "(4 images)" in whole


def test_fields_change_the_named_protocol(run: Command, trained: Path, camvid: Path) -> None:
    words = ("evaluate", trained, "--data.root", camvid, "--protocol", "slide_512")
    assert "windows of 512" in run(*words).splitlines()[1]
    changed = run(*words, "--protocol.flip", "true").splitlines()[1]
    assert "windows of 512" in changed
    assert "no flip" not in changed


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--data.root", "nowhere"], "nowhere: no such folder; CamVid was to be read from it"),
        (["--data.root", "."], "CamVid needs images/val with labels/val or val with valannot there, found camvid/"),
        ([], "where is camvid? Give its folder with --data.root DIR"),
        (["--data.root", "camvid", "--split", "vall"], "CamVid has no split 'vall'; it has train, val, trainval, test"),
        (["--data.root", "camvid", "--data.dataset", "camvit"], "unknown data set 'camvit'. Did you mean camvid?"),
        (["--data.root", "camvid", "--data.num_classes", "19"], "a model for 11 classes"),
        (["--data.root", "camvid", "--protocol", "wole"], "unknown protocol 'wole'. Did you mean whole"),
        (["--data.root", "camvid", "--output", "file"], "file: nothing can be written there (file is a file)"),
        (["--data.root", "camvid", "--submission", "file/x"], "file/x: nothing can be written there"),
        (["--data.root", "camvid", "--device", "gpu"], "device 'gpu'"),
        (["--data.root", "camvid", "--training.seed", "1"], "--training.seed: plays no part here"),
    ],
)
def test_bad_input(
    fail: Command,
    trained: Path,
    camvid: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    text: str,
) -> None:
    monkeypatch.chdir(camvid.parent)
    Path("file").write_text("")
    assert text in fail("evaluate", trained, *words)


def test_a_model_for_other_classes_than_the_data(fail: Command, trained: Path, camvid: Path) -> None:
    error = fail("evaluate", "attanet_light_cityscapes", "--weights", trained, "--data.root", camvid)
    assert "the file is for another number of classes, 11 and not 19" in error


def small(mask: np.ndarray) -> np.ndarray:
    return mask[:20]


def outside(mask: np.ndarray) -> np.ndarray:
    return np.where(mask == 3, 77, mask).astype(np.uint8)


def colours(mask: np.ndarray) -> np.ndarray:
    return np.dstack([mask] * 3)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [(small, "the mask is 64x20"), (outside, "label 77"), (colours, "a mask of one channel")],
)
def test_a_wrong_mask_is_named_and_no_report_written(
    fail: Command,
    trained: Path,
    camvid: Path,
    tmp_path: Path,
    spoil: Callable[[np.ndarray], np.ndarray],
    text: str,
) -> None:
    path = camvid / "labels" / "val" / "val1.png"
    assert cv2.imwrite(str(path), spoil(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))
    error = fail("evaluate", trained, "--data.root", camvid, "--output", tmp_path / "report")
    assert error.startswith(f"{path}: ")
    assert text in error
    assert not (tmp_path / "report").exists()
