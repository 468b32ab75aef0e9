from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from segattn.cli.main import main
from segattn.machine import machine, provenance
from segattn.measure import benchmark
from segattn.measure.benchmark import Settings, Watch, measure, measure_here, watched_modules
from segattn.measure.complexity import complexity
from segattn.models.acfnet import ACFNet
from segattn.models.agent import AgentSwinUperNet
from segattn.models.attanet import AttaNet
from segattn.models.networks import Network
from segattn.models.segmenter import Segmenter
from segattn.recipes.catalog import recipe

ONE_THREAD = Settings(threads=1, repeats=2)


def seconds_of_parts(model: Segmenter, size: tuple[int, int] = (32, 64)) -> dict[str, float]:
    with torch.inference_mode():
        return Watch(model, time.perf_counter, lambda a, b: b - a).seconds(torch.zeros(1, 3, *size, dtype=torch.uint8))


def test_the_figures_of_a_fresh_process() -> None:
    row = recipe("attanet_light_cityscapes")
    m = measure(row, (32, 64), ONE_THREAD)
    assert (m.recipe, m.size, m.threads, m.clock) == (row.name, (32, 64), 1, "processor")
    assert len(m.times) == 2
    assert min(m.times) <= m.seconds <= max(m.times)
    assert m.macs == complexity(row.network.build(row.data.num_classes), (32, 64)).macs
    assert m.gflops == pytest.approx(2 * m.macs / m.seconds / 1e9)
    assert m.of_product == pytest.approx(m.gflops / m.product_gflops)
    assert 50e6 < m.memory_built <= m.memory < 2e9
    assert sum(m.parts.values()) == pytest.approx(1)
    assert all(share > 0 for share in m.parts.values())


@pytest.fixture
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark._PRODUCT_SIDE, "cpu", 64)


@pytest.mark.usefixtures("small_products")
def test_settings_reach_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Segmenter] = []
    forward = Segmenter.forward

    def watched(self: Segmenter, images: torch.Tensor) -> torch.Tensor:
        seen.append(self)
        return forward(self, images)

    monkeypatch.setattr(Segmenter, "forward", watched)
    m = measure_here(recipe("attanet_light_cityscapes"), (32, 64), Settings(repeats=1, fold=True, channels_last=True))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in seen[0].modules())
    assert seen[0].backbone.s2_2.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert m.macs == measure_here(recipe("attanet_light_cityscapes"), (32, 64), Settings(repeats=1)).macs


@pytest.mark.usefixtures("small_products")
def test_bf16_is_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    types: list[torch.dtype] = []
    logits = Segmenter.logits

    def watched(self: Segmenter, x: torch.Tensor) -> torch.Tensor:
        out = logits(self, x)
        types.append(out.dtype)
        return out

    monkeypatch.setattr(Segmenter, "logits", watched)
    measure_here(recipe("attanet_light_cityscapes"), (32, 64), Settings(repeats=1, precision="bf16"))
    assert set(types) == {torch.bfloat16}
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        types.clear()
        monkeypatch.setattr("segattn.machine.native_bf16", lambda device, native=native: native)
        measure_here(recipe("attanet_light_cityscapes"), (32, 64), Settings(repeats=1, precision="auto"))
        assert set(types) == {expected}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (AttaNet(backbone="resnet18"), {"backbone layer4", "attention StripAttention", "attention AttentionFusion"}),
        (ACFNet(backbone="ecanet101"), {"attention EfficientChannelAttention", "attention ClassFeature"}),
        (AgentSwinUperNet(size="t"), {"backbone layers.0.blocks", "attention SwinAgentAttention"}),
    ],
)
def test_parts(network: Network, expected: set[str]) -> None:
    parts = seconds_of_parts(network.build(5).eval())
    assert expected | {"normalisation", "backbone, the rest", "head, the rest", "resizing"} <= set(parts)
    assert all(seconds >= 0 for seconds in parts.values())


def test_time_goes_to_the_innermost_part() -> None:
    model = AttaNet(backbone="light").build(5).eval()
    plain = seconds_of_parts(model)
    model.head.strip.query.register_forward_hook(lambda *_: time.sleep(0.2))
    slow = seconds_of_parts(model)
    assert slow["attention StripAttention"] > plain["attention StripAttention"] + 0.19
    assert sum(slow.values()) < 2 * slow["attention StripAttention"]


def test_watching_leaves_no_hooks() -> None:
    model = AttaNet(backbone="light").build(5).eval()
    seconds_of_parts(model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert len({id(module) for _, module in watched_modules(model)}) == len(watched_modules(model))


def test_peak_memory_grows_with_what_is_held() -> None:
    """In a fresh process, whose peak is small."""
    code = (
        "from segattn.machine import peak_memory\nbefore = peak_memory()\n"
        "held = b'1' * (before + (64 << 20))\nprint(peak_memory() - before >= 60 << 20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_provenance() -> None:
    about = provenance()
    assert about["machine"] == machine()
    assert machine()["torch"] == torch.__version__
    assert len(str(about["date"])) == 10


@pytest.mark.usefixtures("small_products")
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure", benchmark.measure_here)
    file = tmp_path / "figures.json"
    words = ["benchmark", "attanet_light_cityscapes", "--size", "32x64", "--threads", "1", "--repeats", "1"]
    assert main([*words, "--output", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "attanet_light_cityscapes" in printed
    assert "attention StripAttention" in printed
    content = json.loads(file.read_text())
    assert {"command", "date", "machine", "settings", "measurements"} == set(content)
    (row,) = content["measurements"]
    assert row["seconds"] == row["times"][0]
    assert f"{row['gflops']:.1f}" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "32"], "expected HEIGHTxWIDTH"),
        (["--size", "0x32"], "expected HEIGHTxWIDTH"),
        (["--repeats", "0"], "expected a whole number from 1"),
        (["--device", "mps"], "benchmarks run on cpu and cuda"),
        (["--precision", "fp16"], "invalid choice"),
    ],
)
def test_bad_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "attanet_light_cityscapes", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_failed_measurement_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert main(["benchmark", "attanet_light_cityscapes", "--size", "32x64"]) == 2
    assert "attanet_light_cityscapes at 32x64 failed (exit code 1)" in capsys.readouterr().err
