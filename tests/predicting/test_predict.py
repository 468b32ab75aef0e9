from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from segattn.api import create_model
from segattn.evaluation import inference
from segattn.evaluation.geometry import size_near
from segattn.evaluation.inference import predict_scores
from segattn.evaluation.protocol import WHOLE, ExpOfSummedLogits, ExpOfSummedProbabilities, Protocol, protocol
from segattn.layers import resize
from segattn.machine import pick_device
from segattn.models.segmenter import Segmenter
from segattn.predicting.image_files import find_images
from segattn.predicting.predict import predict


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
    result = predict(model, image, protocol(name), size="native")
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
    monkeypatch.setattr(inference, "predict_scores", lambda *a, **k: calls.append(a) or predict_scores(*a, **k))
    result = predict(model, image, size="native")
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
    assert (np.asarray(Image.open(files.labels)) == result.labels).all()
    assert (cv2.imread(str(files.overlay))[..., ::-1] == result.overlay()).all()
    assert result.overlay().shape[0] >= 40
    assert result.overlay().shape[1] > 56


def test_shares_add_up_the_largest_first(model: Segmenter, image: np.ndarray) -> None:
    shares = predict(model, image).shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert set(shares) <= set(model.classes.names)


def test_an_image_is_brought_to_the_size_of_training_and_its_scores_back(model: Segmenter) -> None:
    image = np.random.default_rng(1).integers(0, 256, (900, 1200, 3), np.uint8)
    assert model.trained_at == (360, 480)
    result = predict(model, image)
    assert result.read_at == (360, 480)
    assert result.labels.shape == (900, 1200)
    assert result.image is image
    small = cv2.resize(image, (480, 360), interpolation=cv2.INTER_AREA)
    scores = resize(predict_scores(model, small)[None], (900, 1200), align_corners="edges")[0].numpy()
    np.testing.assert_allclose(result.scores, scores, atol=1e-5)
    assert (result.labels == scores.argmax(0)).mean() > 0.9999
    of_views = predict(model, image, protocol("enlarged_flip"))
    assert of_views.read_at == (360, 480)
    assert (of_views.labels == of_views.scores.argmax(0)).mean() > 0.999


@pytest.mark.parametrize(
    ("shape", "trained_at", "read_at"),
    [
        ((360, 480), (360, 480), (360, 480)),
        ((720, 960), (360, 480), (720, 960)),  # twice as large is near enough
        ((723, 964), (360, 480), (360, 480)),
        ((3000, 4000), (360, 480), (360, 480)),
        ((4000, 3000), (360, 480), (480, 360)),
        ((4000, 3000), (480, 360), (480, 360)),
        ((324, 432), (360, 480), (324, 432)),
        ((300, 400), (360, 480), (360, 480)),
        ((1, 1), (360, 480), (480, 480)),
        ((1, 5000), (360, 480), (1, 480)),
        ((3000, 4000), None, (3000, 4000)),
    ],
)
def test_sizes_near_that_of_training(
    shape: tuple[int, int], trained_at: tuple[int, int] | None, read_at: tuple[int, int]
) -> None:
    assert size_near(*shape, trained_at) == read_at


@pytest.mark.parametrize("name", ["whole", "multi_flip", "slide_512"])
def test_confidence_is_the_largest_probability(model: Segmenter, image: np.ndarray, name: str) -> None:
    result = predict(model, image, protocol(name), size="native")
    at_once = predict(model, image, protocol(name), size="native", confidence=True)
    assert result.confidence.shape == (40, 56)
    assert result.confidence.dtype == np.float32
    assert (result.confidence == at_once.confidence).all()
    probabilities = result.scores if name == "multi_flip" else softmax(result.scores)
    np.testing.assert_allclose(result.confidence, probabilities.max(0), atol=1e-5)
    assert 1 / 11 < result.confidence.min() < result.confidence.max() <= 1


def test_confidence_at_another_reading_size_and_as_a_file(model: Segmenter, image: np.ndarray, tmp_path: Path) -> None:
    result = predict(model, image, confidence=True)
    assert result.read_at == (343, 480)
    np.testing.assert_allclose(result.confidence, softmax(result.scores).max(0), atol=1e-5)
    files = result.save(tmp_path, confidence=True)
    assert files.confidence == tmp_path / "image_confidence.png"
    written = cv2.imread(str(files.confidence), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint8
    np.testing.assert_allclose(written / 255, result.confidence, atol=0.5 / 255 + 1e-6)
    assert result.save(tmp_path / "plain").confidence is None
    assert len(list((tmp_path / "plain").iterdir())) == 2


def test_confidence_of_sums_of_exponentials_is_refused(model: Segmenter, image: np.ndarray, tmp_path: Path) -> None:
    result = predict(model, image, Protocol(combine=ExpOfSummedLogits()))
    with pytest.raises(ValueError, match="no probabilities, so there is no confidence; take one that averages"):
        result.save(tmp_path, confidence=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no confidence"):
        predict(model, image, Protocol(combine=ExpOfSummedProbabilities()), confidence=True)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max(0))
    return powers / powers.sum(0)


def test_the_reading_size_can_be_given(model: Segmenter, image: np.ndarray) -> None:
    assert predict(model, image).read_at == (343, 480)
    assert predict(model, image, size="native").read_at == (40, 56)
    assert predict(model, image, size=112).read_at == (80, 112)
    fixed = predict(model, image, protocol("mmseg_whole"))  # it has a size of its own, from the image as it is
    assert fixed.read_at == (40, 56)
    with pytest.raises(ValueError, match="size 0: expected 1 to 32768 pixels"):
        predict(model, image, size=0)
    with pytest.raises(ValueError, match="size big: expected trained, native, or"):
        predict(model, image, size="big")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="protocol mmseg_whole brings images to a size of its own"):
        predict(model, image, protocol("mmseg_whole"), size=200)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 5), np.uint8), np.full((4, 4, 3), 9.0), np.zeros((4, 4), int), np.zeros((0, 4, 3), "u1")]
)
def test_other_arrays_are_refused(model: Segmenter, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^image: .*expected "):
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
    fits, long = "é" * 117 + ".png", "é" * 118 + ".png"  # of two bytes each
    touch(tmp_path, fits)
    assert find_images([tmp_path / fits]) == [tmp_path / fits]
    touch(tmp_path, long)
    with pytest.raises(ValueError, match="too long a name to put _confidence"):
        find_images([tmp_path / long])


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="device 'tpu9': expected auto, cpu"):
        pick_device("tpu9")
    with pytest.raises(ValueError, match="device 'meta' can't be used here"):
        pick_device("meta")
