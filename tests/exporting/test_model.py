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


@pytest.mark.parametrize("protocol", ["whole", "multi_flip"])
def test_it_scores_as_the_network_does(light_file: Path, protocol: str) -> None:
    eager = segattn.create_model("attanet_light_camvid", weights="default")
    model = as_segmenter(open_exported(light_file)[1])
    assert (model.classes, model.temperature) == (eager.classes, 1.5)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    got, wanted = (predict_scores(each, image, segattn.protocol(protocol)) for each in (model, eager))
    torch.testing.assert_close(got, wanted, atol=2e-3, rtol=0)


def test_bad_files(light_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(light_file.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cut off, damaged"):
        open_exported(bad)
    graph = onnx.load(str(light_file))
    text = graph.metadata_props[0].value
    graph.metadata_props[0].value = text.replace('"batch": null', '"batch": 2')
    onnx.save(graph, str(bad))
    with pytest.raises(ValueError, match="its metadata say images of"):
        open_exported(bad)
    graph.metadata_props[0].key = "other"
    onnx.save(graph, str(bad))
    with pytest.raises(ValueError, match="no metadata of ours"):
        open_exported(bad)
