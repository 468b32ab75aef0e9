"""INT8 files: what they say of themselves, what they are compared on, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch

import segattn
from segattn.contracts import Sample
from segattn.evaluation.protocol import Protocol
from segattn.exporting import int8
from segattn.exporting.export import open_engine
from segattn.exporting.int8 import Scoring
from segattn.exporting.onnx_file import read_onnx_description
from segattn.exporting.openvino_file import read_openvino_description
from segattn.exporting.quantize import CALIBRATING, HELD_OUT, read_input, split_images
from segattn.exporting.report import Interface
from segattn.models.segmenter import Segmenter
from segattn.synthetic.write import draw_street

SMALL = [(1, 64, 96), (2, 65, 79)]


@pytest.fixture
def streets(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "streets"
    folder.mkdir()
    files = [folder / f"{index}.png" for index in range(6)]
    for index, file in enumerate(files):
        assert cv2.imwrite(str(file), draw_street(np.random.default_rng(index), (64, 96))[0][..., ::-1])
    return files


class Labelled:
    """Streets with the labels that a model gives to them, the last class left out."""

    def __init__(self, model: Segmenter, files: list[Path]) -> None:
        self.classes = model.classes
        self._model, self._files = model, files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        image = cv2.imread(str(self._files[index]))[..., ::-1].copy()
        with torch.inference_mode():
            labels = self._model(torch.from_numpy(image).permute(2, 0, 1)[None]).argmax(1)[0]
        return Sample(image, labels.numpy().astype(np.uint8), str(index), self._files[index])


def stored(path: Path) -> Any:
    if path.suffix == ".onnx":
        text = read_onnx_description(path)
    else:
        import openvino

        text = read_openvino_description(openvino.Core().read_model(path))
    assert text is not None
    return json.loads(text)["export"]


@pytest.fixture
def sure(tiny: Segmenter) -> Segmenter:
    """Classes far enough apart that rounding changes few labels."""
    with torch.no_grad():
        for parameter in tiny.head.parameters():  # type: ignore[attr-defined]
            if parameter.ndim == 4:
                parameter.mul_(3)
    return tiny


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_an_int8_file_is_one_and_says_what_it_lost(
    sure: Segmenter, streets: list[Path], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    data = Labelled(sure, streets[:2])
    report = segattn.export(
        sure, path, proof=SMALL, int8=streets, scoring=Scoring("streets", data, Protocol()), input="uint8"
    )
    assert report.int8 is not None
    assert (report.int8.calibrated_on, report.int8.held_out) == (5, 1)
    assert 0.95 <= report.int8.equal_labels < 1
    assert report.int8.miou_float32 == 100
    assert report.int8.miou is not None
    assert 50 < report.int8.miou < 100
    assert report.int8.shape == (1, 64, 96)
    assert ", INT8\n" in str(report)
    assert "mIoU on streets: " in str(report)
    assert sorted(tmp_path.iterdir()) == sorted([*report.files, tmp_path / "streets"])

    said = stored(path)
    assert said["int8"]["miou"] == report.int8.miou
    assert said["int8"]["method"].startswith("NNCF 3")
    assert [entry["shape"] for entry in said["proof"]["comparisons"]] == [list(shape) for shape in SMALL]
    if suffix == ".onnx":
        graph = onnx.load(str(path)).graph
        assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
        assert any(weight.data_type == onnx.TensorProto.INT8 for weight in graph.initializer)
    else:
        text = path.read_text()
        assert 'type="FakeQuantize"' in text
        assert 'element_type="i8"' in text

    engine = open_engine(path, report.interface)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 49, 130), np.uint8)
    assert engine.run(images).shape == (3, 4, 49, 130)


def test_a_file_that_changes_labels_is_not_left_behind(
    sure: Segmenter, streets: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "FEWEST_EQUAL_INT8", 1.0)
    with pytest.raises(ValueError, match=r"1 image that it was not calibrated on .* 100 % is the least\. Nothing was"):
        segattn.export(sure, tmp_path / "a.xml", proof=SMALL, int8=streets)
    assert list(tmp_path.iterdir()) == [tmp_path / "streets"]


def test_images_are_split_and_read_as_prediction_reads_them(streets: list[Path]) -> None:
    names = [f"{index:04}" for index in range(1000)]
    calibrating, held_out = split_images(names)
    assert (len(calibrating), len(held_out)) == (CALIBRATING, HELD_OUT)
    assert calibrating[0].name == "0000"
    assert calibrating[-1].name < "0800" <= held_out[0].name
    assert split_images(["a", "b"]) == ((Path("a"),), (Path("b"),))

    way = Interface(input="float32", output="logits", batch=2, height=None, width=48, smallest=(9, 9))
    images = read_input(streets[0], way, None)
    assert (images.shape, images.dtype) == ((2, 3, 64, 48), np.float32)
    np.testing.assert_array_equal(images[0], images[1])
    assert 0.2 < images.mean() < 0.8
    free = Interface(input="uint8", output="logits", batch=None, height=None, width=None, smallest=(9, 9))
    assert read_input(streets[0], free, (360, 480)).shape == (1, 3, 320, 480)  # as trained at, not 64 x 96


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.pt2", {}, "INT8 is for .onnx and .xml files"),
        ("a.onnx", {"int8": ["one.png"]}, "--int8: 1 image; give two or more"),
        ("a.onnx", {"output": "labels", "scoring": True}, "an INT8 file of labels can't be scored"),
        ("a.onnx", {"int8": (), "scoring": True}, "data to score on are for an INT8 file"),
    ],
)
def test_refused(
    tiny: Segmenter, streets: list[Path], tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    if options.pop("scoring", False):
        options["scoring"] = Scoring("streets", Labelled(tiny, streets), Protocol())
    with pytest.raises(ValueError, match=message):
        segattn.export(tiny, tmp_path / name, **{"int8": streets, **options})
    assert list(tmp_path.iterdir()) == [tmp_path / "streets"]


def test_a_missing_nncf_is_named_with_its_extra(
    tiny: Segmenter, streets: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ValueError, match=r"nncf is not installed .*: pip install 'segattn\[quantize\]'"):
        segattn.export(tiny, tmp_path / "a.xml", int8=streets)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_every_family(family: Segmenter, streets: list[Path], suffix: str, tmp_path: Path, monkeypatch: Any) -> None:
    # random weights: classes are near to each other, so that labels say little
    monkeypatch.setattr("segattn.exporting.report.FEWEST_EQUAL_INT8", 0.0)
    monkeypatch.setattr(int8, "FEWEST_EQUAL_INT8", 0.0)
    report = segattn.export(family, tmp_path / f"a{suffix}", proof=SMALL, int8=streets)
    assert report.int8 is not None
    assert report.int8.equal_labels > 0.5
    assert report.largest_difference is not None
    assert report.largest_difference < 0.5
