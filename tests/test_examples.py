"""The examples run."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import segattn
from segattn.cli.main import build_parser, split_overrides
from segattn.weights.checkpoint import save_model

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested() -> None:
    tests = Path(__file__).read_text()
    assert [file.stem for file in EXAMPLES.glob("*.py") if f'load("{file.stem}")' not in tests] == []


@pytest.fixture
def own_data(tmp_path: Path) -> ModuleType:
    example = load("own_data")
    example.make_images(tmp_path / "data", train=4, val=1)
    return example


def test_own_data_from_a_segmentation_checkpoint(
    own_data: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = segattn.create_model("attanet_light_camvid")
    save_model(tmp_path / "camvid.safetensors", start, {})
    model = own_data.fine_tune(
        tmp_path / "data", tmp_path / "run", "attanet_light_camvid", 2, weights=tmp_path / "camvid.safetensors"
    )
    assert "11 classes in the file, 3 in the network" in capsys.readouterr().out
    assert model.classes.names == ("background", "disc", "square")
    # two small steps away from where it started
    ours, theirs = model.state_dict()["backbone.s2_1.conv.weight"], start.state_dict()["backbone.s2_1.conv.weight"]
    assert 0 < (ours - theirs).abs().max() < 0.01
    result = segattn.predict(model, tmp_path / "data/images/val/0.png")
    assert result.labels.shape == (96, 128)
    assert set(result.shares()) <= set(model.classes.names)


def test_own_data_from_an_imagenet_backbone(own_data: ModuleType, tmp_path: Path) -> None:
    start = segattn.create_model("attanet_r18_camvid").state_dict()
    state = {key.removeprefix("backbone."): value for key, value in start.items() if key.startswith("backbone.")}
    state |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "resnet18.pth")
    model = own_data.fine_tune(
        tmp_path / "data", tmp_path / "run", "attanet_r18_camvid", 1, backbone=str(tmp_path / "resnet18.pth")
    )
    difference = model.state_dict()["backbone.conv1.weight"] - start["backbone.conv1.weight"]
    assert 0 < difference.abs().max() < 0.01
    assert model.num_classes == 3


def test_own_data_as_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the weights that ship."""
    monkeypatch.setattr(sys, "argv", ["own_data.py", "--output", str(tmp_path), "--steps", "1"])
    load("own_data").main()
    *_, labels, overlay = capsys.readouterr().out.split()
    assert Path(labels).is_file()
    assert Path(overlay).is_file()


def test_class_centers_on_any_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    load("class_centers_on_any_backbone").main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["resnet50_os8", "attanet_light"]
    for line in lines:
        assert "logits (2, 5, 65, 97)" in line
        before, after = (float(part.split()[-1]) for part in line.rsplit(", ", 2)[-2:])
        assert after < before


def test_compare_attention(capsys: pytest.CaptureFixture[str]) -> None:
    example = load("compare_attention")
    costs = example.compare("resnet18", (64, 96))
    backbones = {dict(cost.parts)["backbone"] for cost in costs.values()}
    assert len(backbones) == 1
    assert len({cost.macs for cost in costs.values()}) == len(costs) == 4
    example.main("resnet18", "64", "96")
    assert "position and channel attention" in capsys.readouterr().out


def test_the_demo_gives_commands_that_parse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`make demo` runs it."""
    example, commands = load("demo"), []

    def parse(words: list[str]) -> int:
        arguments, _ = split_overrides(words)
        commands.append(build_parser().parse_args(arguments).command)
        return 0

    monkeypatch.setattr(example, "main", parse)
    example.demo(tmp_path / "demo")
    assert commands == ["data", "predict", "train", "evaluate", "predict", "report"]


class Client(ModuleType):
    """Notes every call of a tracker's library."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            return SimpleNamespace(info=SimpleNamespace(run_id="4f"))

        return call

    def named(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


def test_own_loggers_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ = segattn.train  # accelerate, which it imports, looks for the real one
    client = Client("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", client)
    example = load("own_loggers")
    run = example.train_and_log(example.MLflowLogger("discs"), tmp_path, 2)
    assert client.named("set_experiment") == [(("discs",), {})]
    assert client.named("start_run") == [((), {"run_name": "run"})]
    (recipe, name), _ = client.named("log_dict")[0]
    assert (recipe["schedule"]["iterations"], name) == (2, "recipe.json")
    metrics = client.named("log_metrics")
    assert [kwargs["step"] for _, kwargs in metrics] == sorted(kwargs["step"] for _, kwargs in metrics)
    assert any("train/loss" in args[0] for args, _ in metrics)
    assert any("validation/iou/disc" in args[0] for args, _ in metrics)
    assert {kwargs["key"] for _, kwargs in client.named("log_image")} == {"0", "1"}
    assert client.named("end_run") == [(("FINISHED",), {})]
    example.MLflowLogger("discs").start({"folder": str(run), "run": "run", "step": 2, "recipe": {}})
    assert client.named("start_run")[-1] == ((), {"run_id": "4f"})


def test_own_loggers_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ = segattn.train  # accelerate, which it imports, looks for the real one
    client = Client("trackio")
    monkeypatch.setitem(sys.modules, "trackio", client)
    example = load("own_loggers")
    example.train_and_log(example.TrackioLogger("discs"), tmp_path, 2)
    ((_, settings),) = client.named("init")
    assert (settings["project"], settings["name"], settings["resume"]) == ("discs", "run", "allow")
    logged = client.named("log")
    assert any("train/loss" in args[0] for args, _ in logged)
    assert any("samples/0" in args[0] for args, _ in logged)
    assert all(kwargs["step"] <= 2 for _, kwargs in logged)
    assert client.named("finish") == [((), {})]


def test_a_worker_of_the_example_for_ray(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "x.png"), image)
    example = load("predict_with_ray")
    row = example.Labeller()({"path": "x.png", "bytes": (tmp_path / "x.png").read_bytes()})
    assert row["path"] == "x.png"
    assert Image.open(io.BytesIO(row["labels"])).size == (56, 40)


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 2, 5])
def test_predict_with_ray(tmp_path: Path, cores: int) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        assert cv2.imwrite(str(tmp_path / f"in/{name}.png"), np.zeros((40, 56, 3), np.uint8))
    words = [sys.executable, str(EXAMPLES / "predict_with_ray.py"), str(tmp_path / "in"), str(tmp_path / "out")]
    ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_OVERRIDE_RESOURCES": f'{{"CPU": {cores}}}'}
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **ray}, timeout=180)
    assert done.returncode == 0, done.stderr
    labels = pq.read_table(tmp_path / "out").to_pydict()
    assert sorted(Path(path).name for path in labels["path"]) == ["a.png", "b.png"]
    assert Image.open(io.BytesIO(labels["labels"][0])).size == (56, 40)
