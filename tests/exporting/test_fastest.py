"""Engines give the model's logits, and `auto` measures once, keeps its verdict, and leaves out what disagrees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segattn.cli.main import main
from segattn.exporting import fastest
from segattn.exporting.engine_file import FILE, engine_model, network_folder
from segattn.exporting.fastest import on_engine
from segattn.models.segmenter import Segmenter
from segattn.recipes.catalog import recipe

SIZE = (64, 96)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fastest.shutil, "which", lambda name: None)  # compiling takes half a minute
    monkeypatch.setattr(fastest, "_SECONDS", 0.05)
    return tmp_path / "cache"


def logits(model: Segmenter, seed: int = 0) -> torch.Tensor:
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return model(images)


def test_engines_give_the_models_logits_from_a_file_that_is_exported_once(tiny: Segmenter) -> None:
    tiny.eval()
    said: list[str] = []
    for engine in ("openvino", "onnxruntime", "openvino"):
        running = on_engine(tiny, engine, SIZE, say=said.append)
        assert running.words == f"engine: {engine}"
        assert torch.allclose(logits(running.model), logits(tiny), atol=1e-4)
    assert said == ["exporting the network for openvino, once for these weights"]
    file = network_folder(tiny) / FILE
    written = file.read_bytes()
    file.write_bytes(written[:1000])
    assert torch.allclose(logits(on_engine(tiny, engine, SIZE, say=said.append).model), logits(tiny), atol=1e-4)
    assert "exporting again" in said[1]
    assert file.read_bytes() == written


def test_other_weights_are_another_network(tiny: Segmenter) -> None:
    before = network_folder(tiny.eval())
    with torch.no_grad():
        next(tiny.parameters()).view(-1)[0] += 1
    assert network_folder(tiny) != before


def test_the_fastest_is_chosen_and_kept(tiny: Segmenter, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, measured = tiny.eval(), []

    def block(form: Segmenter, images: torch.Tensor) -> float:
        measured.append(form)
        return 0.001 if type(form.backbone).__name__ == "_Run" else 0.0015

    monkeypatch.setattr(fastest, "_block", block)
    said: list[str] = []
    running = on_engine(model, "auto", SIZE, say=said.append)
    assert "onnxruntime, 1.0 ms for 96x64 on" in running.words
    assert "torch, folded 1.5" in running.words
    assert torch.allclose(logits(running.model), logits(model), atol=1e-4)
    assert any("measuring" in line for line in said)
    (verdict,) = cache.glob("engines/*/*.json")
    assert json.loads(verdict.read_text())["threads"] == torch.get_num_threads()
    count = len(measured)
    assert on_engine(model, "auto", SIZE).words == running.words
    assert len(measured) == count
    on_engine(model, "auto", (96, 96))
    assert len(measured) > count
    count = len(measured)
    verdict.write_text("{")
    assert on_engine(model, "auto", SIZE).words == running.words
    assert len(measured) > count


def test_forms_that_fail_or_disagree_are_left_out(tiny: Segmenter) -> None:
    model = tiny.eval()

    def broken() -> Segmenter:
        raise RuntimeError("no compiler\nmore words")

    def other() -> Segmenter:
        changed = fastest.fold_batch_norms(model)
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter.mul_(1.1)
        return changed

    verdict = fastest.measure(model, {"torch": lambda: model, "broken": broken, "other": other}, SIZE)
    assert list(verdict.milliseconds) == ["torch"]
    assert verdict.left_out["broken"] == "RuntimeError: no compiler"
    assert verdict.left_out["other"].startswith("differs by")


def test_the_compiled_form_gives_the_same(tiny: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda run: run)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: None)
    monkeypatch.setattr(fastest.shutil, "which", lambda name: "/usr/bin/c++")
    model = tiny.eval()
    form = fastest.ways_to_run(model, 1)[fastest.COMPILED]()
    assert form is not model
    assert torch.allclose(logits(form), logits(model), atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # inductor's own
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_gives_the_same_for_sizes_that_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest.shutil, "which", lambda name: "/usr/bin/c++")
    torch.manual_seed(0)
    model = recipe("attanet_light_camvid").network.build(11).eval()
    form = fastest.ways_to_run(model, 1)[fastest.COMPILED]()
    with torch.inference_mode():
        for shape in ((1, 3, 64, 96), (2, 3, 97, 80), (1, 3, 128, 64)):
            images = torch.randint(0, 256, shape, dtype=torch.uint8)
            got, wanted = form(images), model(images)
            assert (got - wanted).abs().max() <= 1e-5 * (wanted.max() - wanted.min())


def test_what_can_not_be_had_is_refused(tiny: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.eval()
    with pytest.raises(ValueError, match=r"engine tensorrt: expected one of auto, torch"):
        on_engine(model, "tensorrt", SIZE)
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(ValueError, match=r"openvino is not installed .*pip install 'segattn\[export\]'"):
        engine_model(model, "openvino", threads=1, say=print)


def test_predict_and_evaluate_through_an_engine(
    trained: Path, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = camvid / "images/val/val0.png"
    for engine in ("torch", "onnxruntime"):
        words = ["--engine", engine, "--size", "native", "--output", str(tmp_path / engine)]
        assert main(["predict", str(photo), "--model", str(trained), *words]) == 0
    assert "engine: onnxruntime" in capsys.readouterr().err
    labels = [np.asarray(Image.open(tmp_path / engine / "val0_labels.png")) for engine in ("torch", "onnxruntime")]
    assert (labels[0] == labels[1]).mean() >= 0.999
    scores = []
    for engine in ("torch", "onnxruntime"):
        assert main(["evaluate", str(trained), "--data.root", str(camvid), "--json", "--engine", engine]) == 0
        scores.append(json.loads(capsys.readouterr().out)["miou"])
    assert scores[0] == pytest.approx(scores[1], abs=0.01)
    words = ["predict", str(photo), "--model", str(trained), "--engine", "openvino", "--fold"]
    assert main(words) == 2
    assert "--fold: is of torch" in capsys.readouterr().err
