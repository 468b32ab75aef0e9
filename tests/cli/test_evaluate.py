from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save

import segattn
from segattn.weights.checkpoint import read_model
from segattn.weights.inspect import inspect

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
    page = (tmp_path / "report" / "report.html").read_text()
    assert "attanet_light_camvid on camvid val" in page
    digest = hashlib.sha256(trained.read_bytes()).hexdigest()
    assert f"{trained.parent.name}/best.safetensors, sha256 {digest[:12]}" in page
    assert "<dt>device</dt><dd>cpu: " in page
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


def test_calibration_is_reported_everywhere(run: Command, fail: Command, trained: Path, camvid: Path) -> None:
    words = ("evaluate", trained, "--data.root", camvid)
    assert "ECE" not in run(*words)
    text = run(*words, "--calibration", "--output", camvid / "report")
    scores = json.loads((camvid / "report" / "scores.json").read_text())
    assert f"ECE {scores['ece']:.2f}  NLL {scores['calibration']['nll']:.4f}" in text
    page = (camvid / "report" / "report.html").read_text()
    assert "expected calibration error" in page
    assert "<h2>Confidence <small>camvid val, whole</small></h2>" in page
    assert "no probabilities" in fail(*words, "--calibration", "--protocol", "attanet_slide")


@pytest.fixture
def confident(trained: Path, tmp_path: Path) -> Path:
    """The model with larger logits, as those of a trained one are."""
    tensors, description = read_model(trained)
    for name, tensor in tensors.items():
        if name.endswith("classifier.weight"):
            tensor *= 3e5
    metadata = {"segattn": json.dumps(description), "format": "pt"}
    (tmp_path / "confident.safetensors").write_bytes(save(tensors, metadata=metadata))
    return tmp_path / "confident.safetensors"


def test_a_temperature_is_fitted_stored_and_used(run: Command, confident: Path, camvid: Path, tmp_path: Path) -> None:
    plain = segattn.load_model(confident)[1]
    rng = np.random.default_rng(0)
    for path in sorted((camvid / "images" / "val").iterdir()):  # half of its labels are right
        labels = segattn.predict(plain, path, size="native").labels
        guessed = rng.integers(0, 11, labels.shape, np.uint8)
        mask = np.where(rng.random(labels.shape) < 0.5, labels, guessed)
        assert cv2.imwrite(str(camvid / "labels" / "val" / path.name), mask)
    out = tmp_path / "new" / "calibrated.safetensors"
    text = run("evaluate", confident, "--data.root", camvid, "--calibrate", out)
    fitted = re.search(r"temperature (\S+), fitted on ([\d,]+) pixels of camvid val", text)
    assert fitted is not None
    before, after = re.search(r"ECE (\S+) before and (\S+) after", text).groups()  # type: ignore[union-attr]
    assert f"ECE {before}" in text.split("temperature")[0]  # of so small a set, the sample is the whole
    assert float(after) < float(before)

    calibrated = segattn.load_model(out)[1]
    assert plain.temperature == 1
    assert calibrated.temperature == pytest.approx(float(fitted[1]), rel=1e-3)
    tensors, description = read_model(out)
    old, described = read_model(confident)
    assert all(torch.equal(tensors[name], old[name]) for name in {**tensors, **old})
    assert description["calibration"]["data"] == "camvid val"
    assert {**described, "temperature": 1, "calibration": 1} == {**description, "temperature": 1, "calibration": 1}
    assert f"temperature {calibrated.temperature:.4g}" in str(inspect(out))

    (tmp_path / "run").mkdir()
    confident.rename(tmp_path / "run" / "last.safetensors")
    second = tmp_path / "second.safetensors"
    run(
        "evaluate",
        tmp_path / "run",
        "--data.root",
        camvid,
        "--calibrate",
        second,
        err=f"{tmp_path / 'run'}: last.safetensors, the last; none was validated\n",
    )
    assert read_model(second)[1] == description  # a run's folder is its model

    again = run("evaluate", out, "--data.root", camvid, "--calibration")
    assert f"ECE {after}" in again
    assert f"at temperature {calibrated.temperature:.3g}" in again
    image = next((camvid / "images" / "val").iterdir())
    results = [segattn.predict(model, image, size="native") for model in (plain, calibrated)]
    assert (results[0].labels == results[1].labels).all()
    powers = results[0].scores / calibrated.temperature
    powers = np.exp(powers - powers.max(0))
    np.testing.assert_allclose(results[1].confidence, 1 / powers.sum(0), atol=1e-5)


def test_where_no_temperature_can_be_fitted(fail: Command, trained: Path, camvid: Path, tmp_path: Path) -> None:
    words = ("evaluate", trained, "--data.root", camvid, "--calibrate")
    out = tmp_path / "out.safetensors"
    error = fail(*words, out, "--split", "train")
    assert "4 of its 4 images (train0.png, ...) are in train, on which the model was trained" in error
    assert "expected a name that ends in .safetensors" in fail(*words, tmp_path / "out.pth")
    assert "best.safetensors" in fail(*words, trained)
    assert "a temperature is for the network as" in fail(*words, out, "--network.align_corners", "corners")
    for protocol in ("danet_single", "multi_flip"):
        error = fail(*words, out, "--protocol", protocol)
        assert f"a temperature is of logits, which the protocol {protocol} does not give" in error
    shipped = ("evaluate", "attanet_light_camvid", *words[2:])
    assert "are in trainval, on which the model was trained" in fail(*shipped, out)
    torch.save(read_model(trained)[0], tmp_path / "plain.pth")
    error = fail("evaluate", "attanet_light_camvid", "--weights", tmp_path / "plain.pth", *words[2:], out)
    assert "make it one of ours with `segattn weights convert`" in error
    assert not out.exists()
