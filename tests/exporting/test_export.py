"""`segattn.export`: what a file takes, gives and says, that it is proved, and what is refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch.export import Dim

import segattn
from segattn.attention.dual import PositionAttention
from segattn.exporting import onnx_file
from segattn.exporting.engines import OnnxRuntime, OpenVINO, TorchProgram
from segattn.exporting.export import open_engine
from segattn.exporting.onnx_file import read_onnx_description, to_onnx, write_onnx
from segattn.exporting.openvino_file import read_openvino_description, write_openvino
from segattn.exporting.program_file import read_program
from segattn.exporting.report import ExportReport, Interface
from segattn.models.segmenter import Segmenter

SMALL = [(1, 64, 96), (2, 65, 79)]


def description(path: Path) -> dict[str, Any]:
    if path.suffix == ".onnx":
        text = read_onnx_description(path)
    elif path.suffix == ".pt2":
        text = read_program(path)[1]
    else:
        import openvino

        text = read_openvino_description(openvino.Core().read_model(path))
    assert text is not None
    content = json.loads(text)
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_a_file_takes_any_batch_and_size_says_what_it_is_and_is_the_same_every_time(
    tiny: Segmenter, suffix: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    report = segattn.export(tiny, tmp_path / f"a{suffix}", proof=SMALL)
    assert isinstance(report, ExportReport)
    assert sorted([*report.files, other]) == sorted(tmp_path.iterdir())
    assert [proof.shape for proof in report.proofs] == SMALL
    assert report.largest_difference is not None
    assert report.largest_difference < 1e-5

    x = np.random.default_rng(0).random((3, 3, 49, 130), np.float32)
    with torch.inference_mode():
        wanted = tiny(torch.from_numpy(x)).numpy()
    got = open_engine(report.path, report.interface).run(x)
    np.testing.assert_allclose(got, wanted, atol=1e-5)

    said = description(report.path)
    assert said["classes"]["names"] == list(tiny.classes.names)
    assert said["normalization"]["mean"] == [0.485, 0.456, 0.406]
    assert said["export"]["batch"] is None
    assert said["export"]["proof"]["engine"] == report.engine
    assert [entry["equal_labels"] for entry in said["export"]["proof"]["comparisons"]] == [1.0, 1.0]

    again = segattn.export(tiny, other / f"a{suffix}", proof=SMALL)
    for one, two in zip(report.files, again.files, strict=True):
        data = one.read_bytes()
        assert data == two.read_bytes()
        assert str(tmp_path).encode() not in data
        assert not re.search(rb"site-packages|\w\.py\b", data)


def test_static_uint8_labels(tiny: Segmenter, tmp_path: Path) -> None:
    report = segattn.export(
        tiny, tmp_path / "a.onnx", input="uint8", output="labels", batch=2, height=40, width=56, opset=18
    )
    assert [proof.shape for proof in report.proofs] == [(2, 40, 56)]
    assert report.largest_difference is None
    model = onnx.load(str(report.path))
    assert [entry.version for entry in model.opset_import if not entry.domain] == [18]
    assert [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 40, 56]
    engine = open_engine(report.path, report.interface)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 56), np.uint8)
    labels = engine.run(images)
    assert labels.dtype == np.uint8
    with torch.inference_mode():
        assert np.mean(labels == tiny(torch.from_numpy(images)).argmax(1).numpy()) > 0.999
    with pytest.raises(ValueError, match=r"takes images of 2 x 3 x 40 x 56 .*, got 1 x 3 x 40 x 56; resize them"):
        engine.run(images[:1])
    with pytest.raises(ValueError, match="takes images of type uint8, got float32"):
        engine.run(images.astype(np.float32))


def test_softmax_over_one_open_side(tiny: Segmenter, tmp_path: Path) -> None:
    report = segattn.export(tiny, tmp_path / "a.pt2", output="softmax", batch=1, height=64)
    assert [proof.shape for proof in report.proofs] == [(1, 64, 256), (1, 64, 512), (1, 64, 223)]
    probabilities = open_engine(report.path, report.interface).run(np.zeros((1, 3, 64, 50), np.float32))
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_a_file_that_disagrees_is_not_left_behind(
    tiny: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "a.pt2"
    kept.write_bytes(b"what was there before")
    run = TorchProgram._run

    def wrong_at_odd_sizes(self: TorchProgram, images: NDArray[Any]) -> NDArray[Any]:
        result = run(self, images)
        return result + (result.max() - result.min()) * np.float32(2e-3 * (images.shape[3] % 2))

    monkeypatch.setattr(TorchProgram, "_run", wrong_at_odd_sizes)
    with pytest.raises(ValueError, match=r"disagrees with the model at 2 x 65 x 79: largest difference 2.0e-03"):
        segattn.export(tiny, kept, proof=SMALL)
    assert kept.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [kept]


def test_given_images_are_what_it_is_proved_on(tiny: Segmenter, tmp_path: Path) -> None:
    image = tmp_path / "photo.png"
    assert cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))
    report = segattn.export(tiny, tmp_path / "a.pt2", images=[image], proof=[(3, 64, 64)])
    assert report.images == "1 given image"
    assert "against PyTorch on 1 given image" in str(report)


def test_position_attention_leaves_as_a_loop_and_large_weights_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = PositionAttention(8, 4).eval()
    torch.nn.init.constant_(module.gamma, 0.5)
    sides = dict.fromkeys((0, 2, 3), Dim.DYNAMIC)
    program = torch.export.export(module, (torch.rand(2, 8, 5, 7),), dynamic_shapes=(sides,))
    way = Interface(input="float32", output="logits", batch=None, height=None, width=None, smallest=(1, 1))
    graph = to_onnx(program, way, 20)
    loop = next(node for node in graph.graph if node.op_type == "Loop")
    assert {"Softmax", "MatMul"} <= {node.op_type for node in loop.attributes["body"].as_graph()}
    assert not {"Scan", "Softmax", "MatMul"} & {node.op_type for node in graph.graph}

    monkeypatch.setattr(onnx_file, "LARGEST", 100)
    path = tmp_path / "a.onnx"
    assert write_onnx(graph, path, {}) == [path, tmp_path / "a.onnx.data"]
    x = np.random.default_rng(0).random((1, 8, 4, 9), np.float32)
    for engine in (OnnxRuntime(path, way), OpenVINO(path, way)):
        np.testing.assert_allclose(engine._run(x), module(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.tflite", {}, r"unknown suffix '.tflite'; expected one of .onnx \(ONNX\), .xml \(OpenVINO\), .pt2"),
        ("missing/a.onnx", {}, "missing: no such folder; make it first"),
        ("a.onnx", {"opset": 9}, "opset 9: expected 18 to 24"),
        ("a.pt2", {"opset": 20}, "opset 20: is of ONNX"),
        ("a.onnx", {"height": 0}, "height 0: expected 1 to 32768"),
        ("a.pt2", {"height": 64, "proof": [(1, 65, 64)]}, "--proof: takes images of any x 3 x 64 x any"),
    ],
)
def test_refused(tiny: Segmenter, tmp_path: Path, name: str, options: Any, message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        segattn.export(tiny, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_model_in_training_or_half_precision_is_refused(tiny: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights are float16; call model.float\(\)"):
        segattn.export(tiny.half(), tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"in training mode; call model.eval\(\)"):
        segattn.export(tiny.float().train(), tmp_path / "a.onnx")


def test_a_missing_package_is_named_with_the_extra(
    tiny: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValueError, match=r"openvino is not installed .*: pip install 'segattn\[export\]'"):
        segattn.export(tiny, tmp_path / "a.xml")


def test_a_full_disk_under_openvino_is_the_systems_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(openvino, "save_model", full)
    side = openvino.opset8.parameter([1])
    network = openvino.Model([openvino.opset8.relu(side)], [side], "relu")
    with pytest.raises(OSError, match="is the disk full"):
        write_openvino(network, tmp_path / "a.xml", {})
