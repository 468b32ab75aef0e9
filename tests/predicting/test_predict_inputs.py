"""Whatever people have of an image gives the same labels; several in batches; results where people look at them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import segattn
from segattn.evaluation.protocol import protocol
from segattn.predicting.predict import predict
from segattn.predicting.prediction import Prediction

RGB = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
GREY = np.repeat(RGB[..., :1], 3, axis=2)


@pytest.fixture(scope="module")
def model() -> segattn.Segmenter:
    torch.manual_seed(0)
    return segattn.create_model("attanet_light_camvid")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    "form",
    [
        str,
        Path.read_bytes,
        Image.open,
        lambda file: np.dstack([RGB, RGB[..., 0]]),
        lambda file: RGB.astype(np.uint16) * 257,
        lambda file: RGB / 255,
        lambda file: torch.from_numpy(RGB).permute(2, 0, 1),
        lambda file: segattn.Sample(RGB, None, "photo", file),
        lambda file: f"file://{file}",
        lambda file: BytesIO(file.read_bytes()),
    ],
    ids=["path", "bytes", "pillow", "RGBA", "16 bits", "float", "tensor", "sample", "file://", "open file"],
)
def test_every_form_gives_the_labels_of_the_file(model: segattn.Segmenter, file: Path, form: Any) -> None:
    expected = predict(model, file)
    found = predict(model, form(file))
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.image, RGB)


def test_an_open_file_has_its_name_and_stays_open(model: segattn.Segmenter, file: Path) -> None:
    with file.open("rb") as opened:
        assert predict(model, opened).name == "photo"
        assert [result.name for result in predict(model, [file, BytesIO(file.read_bytes())])] == [
            "photo",
            "image000001",
        ]
        with pytest.raises(ValueError, match=r"photo: an open file without a byte after its position; file\.seek\(0\)"):
            predict(model, opened)


def test_grey_is_three_equal_channels(model: segattn.Segmenter) -> None:
    assert np.array_equal(predict(model, RGB[..., 0]).labels, predict(model, GREY).labels)


@pytest.mark.parametrize(
    ("name", "size", "batch_size"),
    [("whole", "trained", 1), ("whole", "trained", 2), ("whole", "native", 16), ("multi_flip", "native", 2)],
)
def test_several_in_batches(model: segattn.Segmenter, name: str, size: str, batch_size: int) -> None:
    """Of two sizes; in their order, and equal to one at a time but where classes tie."""
    images = [RGB, RGB[::-1], RGB[:30], RGB[:, ::-1], GREY]
    looks = {"size": size, "confidence": True}
    results = predict(model, (image for image in images), protocol(name), batch_size=batch_size, **looks)
    assert isinstance(results, Iterator)
    for number, (image, result) in enumerate(zip(images, results, strict=True)):
        alone = predict(model, image, protocol(name), **looks)
        assert result.name == f"image{number:06d}"
        assert np.array_equal(result.image, image)
        assert (result.labels != alone.labels).mean() < 1e-3
        assert np.abs(result.confidence - alone.confidence).max() < 1e-4


def test_neighbours_go_through_the_network_together(model: segattn.Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, logits = [], model.logits
    monkeypatch.setattr(model, "logits", lambda x: sizes.append(len(x)) or logits(x))
    list(predict(model, [RGB] * 5, batch_size=2))
    list(predict(model, np.stack([RGB] * 3), batch_size=8))
    list(predict(model, torch.zeros(2, 3, 40, 56), batch_size=8))
    assert sizes == [2, 2, 1, 3, 2]


def test_an_image_is_read_when_its_result_is_asked_for(model: segattn.Segmenter, tmp_path: Path) -> None:
    results = predict(model, [RGB, tmp_path / "nowhere.png"])
    next(results)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        next(results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": 7}, r"image: of type int; expected a path, a PIL\.Image, the bytes of an image file, an array"),
        ({"image": RGB.transpose(2, 0, 1)}, r"shape \(3, 40, 56\).* are its channels first"),
        ({"image": torch.from_numpy(RGB)}, r"shape \(40, 56, 3\).* are its channels last\? image\.permute\(2, 0, 1\)"),
        ({"image": {"image": RGB}}, "image: of type dict; expected a path"),
        ({"image": StringIO("text")}, "opened as text; open it with 'rb'"),
        ({"image": "https://host/photo.jpg"}, "https://host/photo.jpg: is an address, and nothing is downloaded here"),
        ({"image": "."}, r"\.: is a folder; give its images, as in sorted"),
        ({"image": [RGB], "name": "mine"}, "name mine: is for one image"),
        ({"image": [RGB], "batch_size": 0}, "batch_size 0: expected 1 or more"),
        ({"image": [RGB], "batch_size": "2"}, "batch_size '2': expected 1 or more"),
        ({"image": RGB, "device": "gpu"}, "device 'gpu': expected auto, cpu, cuda"),
        ({"image": RGB, "model": torch.nn.Conv2d(3, 2, 1)}, r"Conv2d is not a model .* segattn\.wrap"),
    ],
)
def test_what_does_not_do(model: segattn.Segmenter, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict(**{"model": model, **arguments})


def test_device_moves_the_model() -> None:
    model = segattn.wrap(torch.nn.Conv2d(3, 2, 1), classes=2)
    assert predict(model, RGB, device="cpu").labels.shape == (40, 56)


def test_probabilities(model: segattn.Segmenter) -> None:
    result = predict(model, RGB, size="native")
    assert result.probabilities.shape == (11, 40, 56)
    assert np.allclose(result.probabilities.sum(0), 1, atol=1e-5)
    assert np.allclose(result.probabilities, torch.from_numpy(result.scores).softmax(0), atol=1e-5)
    assert np.allclose(result.probabilities.max(0), result.confidence, atol=1e-5)
    model.temperature = 2.0
    try:
        warm = predict(model, RGB, size="native").probabilities
    finally:
        model.temperature = 1.0
    assert np.allclose(warm, torch.from_numpy(result.scores / 2).softmax(0), atol=1e-5)


@pytest.fixture
def result(model: segattn.Segmenter) -> Prediction:
    labels = np.zeros((1000, 2000), np.uint8)
    labels[:250], labels[250:500, :400] = 3, 7
    return Prediction("photo", np.zeros((1000, 2000, 3), np.uint8), labels, (1000, 2000), model, protocol("whole"))


def test_a_result_in_a_line_and_in_a_notebook(result: Prediction) -> None:
    names = result.classes.names
    assert repr(result) == (
        f"Prediction(name='photo', 2000x1000 pixels: {names[0]} 70%, {names[3]} 25%, {names[7]} 5%)"
    )
    image = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[0] == 640
    assert image.shape[1] > 1280


def test_a_result_as_a_data_frame(result: Prediction) -> None:
    pytest.importorskip("pandas")
    frame = result.to_frame()
    assert list(frame.index) == [result.classes.names[index] for index in (0, 3, 7)]
    assert frame["pixels"].tolist() == [1_400_000, 500_000, 100_000]
    assert frame["share"].sum() == pytest.approx(1)


def test_a_result_as_polygons_and_run_lengths(result: Prediction) -> None:
    names = [result.classes.names[index] for index in (0, 3, 7)]
    assert list(result.polygons()) == list(result.run_lengths()) == names
    assert result.polygons()[names[1]][0].outer.max(0).tolist() == [1999, 249]
    assert result.run_lengths()[names[2]]["size"] == [1000, 2000]


def test_without_pandas(result: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        result.to_frame()
