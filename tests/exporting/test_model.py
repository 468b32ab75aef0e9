"""An exported file as a model: the scores of the network itself, and bad files in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import segattn
from segattn.evaluation.inference import predict_scores
from segattn.exporting.exported import open_exported
from segattn.exporting.model import as_segmenter
from segattn.weights.checkpoint import describe_model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "a.onnx"
    model = segattn.create_model("attanet_light_camvid", weights="default")
    description = describe_model(segattn.recipe("attanet_light_camvid"), model.classes, temperature=1.5)
    segattn.export(model, path, proof=[(1, 64, 96)], description=description)
    return path


@pytest.mark.parametrize("protocol", ["whole", "multi_flip"])
def test_it_scores_as_the_network_does(file: Path, protocol: str) -> None:
    eager = segattn.create_model("attanet_light_camvid", weights="default")
    model = as_segmenter(open_exported(file)[1])
    assert (model.classes, model.temperature) == (eager.classes, 1.5)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    got, wanted = (predict_scores(each, image, segattn.protocol(protocol)) for each in (model, eager))
    torch.testing.assert_close(got, wanted, atol=2e-3, rtol=0)


def test_bad_files(file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cut off, damaged"):
        open_exported(bad)
    graph = onnx.load(str(file))
    text = graph.metadata_props[0].value
    graph.metadata_props[0].value = text.replace('"batch": null', '"batch": 2')
    onnx.save(graph, str(bad))
    with pytest.raises(ValueError, match="its metadata say images of"):
        open_exported(bad)
    graph.metadata_props[0].key = "other"
    onnx.save(graph, str(bad))
    with pytest.raises(ValueError, match="no metadata of ours"):
        open_exported(bad)
