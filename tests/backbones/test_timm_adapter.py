from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segattn.backbones.timm_adapter import TimmBackbone
from segattn.models.build import build

CHANNELS, STRIDES = [8, 32, 64, 96, 128], [2, 4, 8, 16, 32]


class FeatureInfo:
    def channels(self) -> list[int]:
        return CHANNELS

    def reduction(self) -> list[int]:
        return STRIDES


class FeatureNet(nn.Module):
    """As timm's models with `features_only=True`: a list of maps, channels last in some models."""

    def __init__(self, output_fmt: str) -> None:
        super().__init__()
        self.feature_info = FeatureInfo()
        self.output_fmt = output_fmt
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 2, stride=2) for i, o in zip([3, *CHANNELS[:-1]], CHANNELS, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for conv in self.convs:
            x = conv(x)
            maps.append(x.permute(0, 2, 3, 1) if self.output_fmt == "NHWC" else x)
        return maps


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A module in the place of timm, and what was asked of it."""
    calls: list[Any] = []
    timm: Any = ModuleType("timm")

    def create_model(name: str, **options: Any) -> nn.Module:
        calls.append((name, options))
        if name == "plain_vit":
            raise RuntimeError("features_only not implemented")
        return FeatureNet("NHWC" if name.startswith("swin") else "NCHW")

    timm.create_model = create_model
    timm.list_models = lambda: ["resnet10", "swin_small", "plain_vit"]
    timm.is_model = lambda name: name in timm.list_models()
    monkeypatch.setitem(sys.modules, "timm", timm)
    return calls


@pytest.mark.parametrize("name", ["resnet10", "resnet10.in1k", "swin_small"])
def test_maps_from_stride_four_on(asked: list[Any], name: str) -> None:
    backbone = TimmBackbone(name)
    assert asked == [(name, {"pretrained": False, "features_only": True, "in_chans": 3})]
    assert backbone.channels == (32, 64, 96, 128)
    assert backbone.strides == (4, 8, 16, 32)
    maps = backbone(torch.rand(2, 3, 64, 96))
    assert [map_.shape for map_ in maps] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]


def test_with_a_head(asked: list[Any]) -> None:
    assert build("timm:resnet10", "upernet", num_classes=3)(torch.rand(1, 3, 64, 96)).shape == (1, 3, 64, 96)


def test_unknown_and_unsuitable_models(asked: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"no model 'resnet11'\. Did you mean resnet10\?"):
        TimmBackbone("resnet11")
    with pytest.raises(ValueError, match="plain_vit does not give feature maps: features_only not implemented"):
        TimmBackbone("plain_vit")


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"timm:resnet50 needs timm, which does not import here .*pip install timm"):
        build("timm:resnet50", "danet", num_classes=3)
