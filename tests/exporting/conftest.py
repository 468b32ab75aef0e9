"""Networks small enough to export in a second, one with the parts of each family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import segattn
from segattn.backbones.light import AttaNetLight
from segattn.backbones.pvt import PVT
from segattn.backbones.swin import Swin
from segattn.backbones.van import VAN
from segattn.models.segmenter import Segmenter
from segattn.weights.checkpoint import describe_model


class TinyBackbone(nn.Module):
    """Two maps of 8 channels at 1/4 and 1/8."""

    channels = (8, 8)
    strides = (4, 8)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = torch.relu(self.first(x))
        return fine, torch.relu(self.second(fine))


@pytest.fixture
def tiny() -> Segmenter:
    return segattn.build(TinyBackbone(), "fcn", num_classes=4)


def _van() -> VAN:
    van = VAN("tiny")
    for stage in range(1, 5):
        setattr(van, f"block{stage}", van.get_submodule(f"block{stage}")[:1])
    return van


def _pvt() -> PVT:
    pvt = PVT("t", drop_path=0.0)
    for stage in range(1, 5):
        setattr(pvt, f"block{stage}", pvt.get_submodule(f"block{stage}")[:1])
    return pvt


def _swin() -> Swin:
    swin = Swin("t", attention="ABBB", drop_path=0.0)
    for stage in (0, 1, 2):
        layer = swin.layers[stage]
        layer.blocks = layer.blocks[:1]
    return swin  # the last stage has a plain and a shifted window


FAMILIES: dict[str, Callable[[], Segmenter]] = {
    "attanet": lambda: segattn.create_model("attanet_light_camvid"),
    "danet": lambda: segattn.build(AttaNetLight(), "danet", num_classes=5),
    "acfnet": lambda: segattn.build(AttaNetLight(), "acfnet", num_classes=5),
    "light_ham": lambda: segattn.build(_van(), "light_ham", num_classes=5),
    "agent_pvt": lambda: segattn.build(_pvt(), "semantic_fpn", num_classes=5),
    "agent_swin": lambda: segattn.build(_swin(), "upernet", num_classes=5),
}
"""Each family's idea, on the fewest layers that have it."""


FAST = ("danet",)
"""Whose graph is small; an exporter takes 10 to 30 seconds for each of the others, and `light_file` is AttaNet's."""


@pytest.fixture(params=[pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FAMILIES])
def family(request: pytest.FixtureRequest) -> Segmenter:
    model = FAMILIES[request.param]()
    open_gates(model)
    return model


def open_gates(model: nn.Module) -> None:
    """Let through what an untrained network's gates hide."""
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.5)


@pytest.fixture(scope="session")
def light_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AttaNet-light with the weights that ship and a temperature, as ONNX; proved as closely as every family."""
    path = tmp_path_factory.mktemp("exported") / "light.onnx"
    model = segattn.create_model("attanet_light_camvid", weights="default")
    description = describe_model(segattn.recipe("attanet_light_camvid"), model.classes, temperature=1.5)
    report = segattn.export(model, path, proof=[(1, 64, 96), (2, 65, 79), (3, 128, 64)], description=description)
    assert report.largest_difference is not None
    assert report.largest_difference < 5e-5
    return path
