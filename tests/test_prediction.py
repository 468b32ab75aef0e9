from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segattn import prediction as predictor
from segattn.api import create_model
from segattn.evaluation.inference import predict_scores
from segattn.evaluation.protocol import WHOLE, protocol
from segattn.machine import pick_device
from segattn.models.segmenter import Segmenter
from segattn.prediction import find_images, predict


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(0)
    return create_model("attanet_light_camvid")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize("name", ["whole", "multi_flip"])
def test_scores_are_what_the_labels_are_the_largest_of(model: Segmenter, image: np.ndarray, name: str) -> None:
    result = predict(model, image, protocol(name))
    assert result.labels.shape == (40, 56)
    assert result.labels.dtype == np.uint8
    assert result.scores.shape == (11, 40, 56)
    assert result.scores.dtype == np.float32
    assert (result.scores == predict_scores(model, image, protocol(name)).numpy()).all()
    assert (result.scores.argmax(0) == result.labels).mean() > 0.999


def test_full_size_scores_are_made_only_when_asked_for(
    model: Segmenter, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(predictor, "predict_scores", lambda *a: calls.append(a) or predict_scores(*a))
    result = predict(model, image)
    result.shares(), result.overlay()
    assert calls == []
    assert result.scores is result.scores
    assert calls == [(model, image, WHOLE)]


def test_a_file_gives_the_same_as_its_pixels(model: Segmenter, image: np.ndarray, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.b.png"), image[..., ::-1])
    from_file, from_pixels = predict(model, tmp_path / "a.b.png"), predict(model, image)
    assert (from_file.labels == from_pixels.labels).all()
    assert (from_file.image == image).all()
    assert (from_file.name, from_pixels.name, predict(model, image, name="mine").name) == ("a.b", "image", "mine")


def test_saved_files_hold_labels_and_overlay(model: Segmenter, image: np.ndarray, tmp_path: Path) -> None:
    result = predict(model, image)
    files = result.save(tmp_path / "new")
    assert (cv2.imread(str(files.labels), cv2.IMREAD_UNCHANGED) == result.labels).all()
    assert (cv2.imread(str(files.overlay))[..., ::-1] == result.overlay()).all()
    assert result.overlay().shape[0] >= 40
    assert result.overlay().shape[1] > 56


def test_shares_add_up_the_largest_first(model: Segmenter, image: np.ndarray) -> None:
    shares = predict(model, image).shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert set(shares) <= set(model.classes.names)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")]
)
def test_other_arrays_are_refused(model: Segmenter, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8, RGB"):
        predict(model, image)  # type: ignore[arg-type]


def test_files_folders_and_patterns_each_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "d/b.png", "d/a.JPG", "d/notes.txt", "d/.hidden.png", "d/deep/e.png", "c.webp")
    monkeypatch.chdir(tmp_path)
    assert find_images(["c.webp", "d", "d/*.png", tmp_path / "c.webp"]) == [
        Path("c.webp"),
        Path("d/a.JPG"),
        Path("d/b.png"),
    ]
    assert find_images(["**/e.png"]) == [Path("d/deep/e.png")]


def test_a_name_that_looks_like_a_pattern_is_a_name_first(tmp_path: Path) -> None:
    touch(tmp_path, "[1].png", "1.png")
    assert find_images([tmp_path / "[1].png"]) == [tmp_path / "[1].png"]


def test_images_that_would_overwrite_each_other_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b/a.jpg")
    with pytest.raises(ValueError, match=r"a\.png and .*a\.jpg would both write a_labels\.png"):
        find_images([tmp_path / "a.png", tmp_path / "b"])


def test_too_long_a_name_is_refused_before_work(tmp_path: Path) -> None:
    fits, long = "é" * 118 + ".png", "é" * 119 + ".png"  # of two bytes each
    touch(tmp_path, fits)
    assert find_images([tmp_path / fits]) == [tmp_path / fits]
    touch(tmp_path, long)
    with pytest.raises(ValueError, match="too long a name to put _overlay"):
        find_images([tmp_path / long])


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="device 'tpu9': expected auto, cpu"):
        pick_device("tpu9")
    with pytest.raises(ValueError, match="device 'meta' can't be used here"):
        pick_device("meta")
