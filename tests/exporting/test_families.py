"""Every family leaves in every format, for every batch and size; slow: large graphs, and every recipe."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

import segattn
from segattn.exporting.engines import OnnxRuntime, OpenVINO, TorchProgram
from segattn.exporting.onnx_file import to_onnx, write_onnx
from segattn.exporting.openvino_file import to_openvino, write_openvino
from segattn.exporting.program_file import write_program
from segattn.exporting.proof import Images, prove
from segattn.exporting.trace import Exported, exportable, trace
from segattn.models.segmenter import Segmenter

SHAPES = [(1, 64, 96), (2, 65, 79), (3, 128, 64)]


def check_onnx(model: Segmenter, folder: Path) -> None:
    model = exportable(model)
    program, way = trace(model, input="float32", output="logits", batch=None, height=None, width=None)
    assert (way.batch, way.height, way.width) == (None, None, None)
    write_onnx(to_onnx(program, way, 20), folder / "a.onnx", None)
    run = OnnxRuntime(folder / "a.onnx", way, threads=1).run
    for proof in prove(run, Exported(model, "logits"), way, Images([]), SHAPES):
        assert proof.difference is not None
        assert proof.difference < 5e-5


def check_all_formats(model: Segmenter, folder: Path) -> None:
    model = exportable(model)
    program, way = trace(model, input="float32", output="logits", batch=None, height=None, width=None)
    assert (way.batch, way.height, way.width) == (None, None, None)
    assert max(way.smallest) <= 64
    reference, images = Exported(model, "logits"), Images([])
    graph = to_onnx(program, way, 20)
    write_onnx(graph, folder / "a.onnx", None)
    write_openvino(to_openvino(folder / "a.onnx", "logits"), folder / "a.xml", {})
    write_program(program, folder / "a.pt2", {})
    for engine in (
        OnnxRuntime(folder / "a.onnx", way, threads=1),
        OpenVINO(folder / "a.xml", way, threads=1),
        TorchProgram(folder / "a.pt2", way),
    ):
        for proof in prove(engine.run, reference, way, images, SHAPES):
            assert proof.difference is not None
            assert proof.difference < 5e-5 or proof.difference < 8 * rounding(reference, images, proof.shape), (
                engine.name
            )


def rounding(reference: Exported, images: Images, shape: tuple[int, int, int]) -> float:
    """How far float32 is from float64 in PyTorch itself, as a share of the range: up to 3e-5 through 101 layers of
    random weights, whose logits span thousands."""
    x = torch.from_numpy((images.batch(shape) / np.float32(255)).astype(np.float32))
    with torch.inference_mode():
        exact = copy.deepcopy(reference).double()(x.double())
        return float((reference(x) - exact).abs().max() / (exact.max() - exact.min()))


def test_every_family_leaves_as_onnx(family: Segmenter, tmp_path: Path) -> None:
    check_onnx(family, tmp_path)


@pytest.mark.slow
def test_every_family_leaves_in_every_format(family: Segmenter, tmp_path: Path) -> None:
    check_all_formats(family, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", segattn.list_recipes())
def test_every_recipe_is_proved_in_every_format(name: str, tmp_path: Path) -> None:
    model = segattn.create_model(name)
    for path, parameter in model.named_parameters():
        if path.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.5)  # an untrained one hides its attention
    check_all_formats(model, tmp_path)
