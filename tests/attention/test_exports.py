"""`segattn.attention`: the ideas by name, with the papers' sizes, behind backbones that are not ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segattn import attention

CHANNELS_LAST = {"SwinAgentAttention", "SpatialReductionAttention", "WindowAttention"}


def residual(x: Tensor, inside: nn.Module) -> Tensor:
    return torch.relu(x + inside(x))


class BasicBlock(nn.Module):
    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.downsample = nn.Conv2d(before, channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn1(self.conv1(x)) + self.downsample(x))


class TorchvisionLike(nn.Module):
    """torchvision's ResNet by its names, as `IntermediateLayerGetter` leaves it: a dict of maps, the last one "out"."""

    channels = (256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.layer1, self.layer2 = BasicBlock(64, 128, 2), BasicBlock(128, 128, 2)
        self.layer3, self.layer4 = BasicBlock(128, 256, 2), BasicBlock(256, 512, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        aux = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return {"aux": aux, "out": self.layer4(aux)}

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self(x)
        return maps["aux"], maps["out"]


class HuggingFace(nn.Module):
    """The encoder of transformers' SegFormer, from a configuration: its hidden states are the maps."""

    channels = (160, 256)

    def __init__(self) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers")
        config = transformers.SegformerConfig(depths=[1, 1, 1, 1], hidden_sizes=[32, 64, 160, 256])
        self.encoder = transformers.SegformerModel(config)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        _, _, fine, coarse = self.encoder(x, output_hidden_states=True).hidden_states
        return fine, coarse


@pytest.fixture(scope="module", params=[TorchvisionLike, HuggingFace])
def backbone(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return request.param()


Block = Callable[[nn.Module, Tensor, Tensor], Tensor]


def plain(module: nn.Module, fine: Tensor, coarse: Tensor) -> Tensor:
    return module(coarse)


def channels_last(module: nn.Module, fine: Tensor, coarse: Tensor) -> Tensor:
    return module(coarse.movedim(1, -1)).movedim(-1, 1)


def class_feature(module: nn.Module, fine: Tensor, coarse: Tensor) -> Tensor:
    return module(coarse, coarse[:, :19])


BLOCKS: dict[str, tuple[Callable[[tuple[int, int]], tuple[int, ...]], Block]] = {
    "SwinAgentAttention": (lambda c: (c[1],), channels_last),
    "ClassFeature": (lambda c: (c[1],), class_feature),
    "ChannelAttention": (lambda c: (), plain),
    "PositionAttention": (lambda c: (c[1],), plain),
    "EfficientChannelAttention": (lambda c: (), plain),
    "Hamburger": (lambda c: (c[1],), plain),
    "LargeKernelAttention": (lambda c: (c[1],), plain),
    "SpatialReductionAttention": (lambda c: (c[1],), channels_last),
    "AttentionFusion": (lambda c: c, lambda module, fine, coarse: module(fine, coarse)),
    "StripAttention": (lambda c: (c[1],), plain),
    "WindowAttention": (lambda c: (c[1],), channels_last),
}
"""What is made of a backbone's channels, and how it is called with its two coarsest maps."""

OTHER_CHANNELS = {"ClassFeature": 512, "AttentionFusion": 128}


@pytest.mark.parametrize("name", attention.__all__)
def test_every_idea_behind_every_backbone(name: str, backbone: nn.Module) -> None:
    arguments, call = BLOCKS[name]
    module = getattr(attention, name)(*arguments(backbone.channels))
    images = torch.randn(2, 3, 64, 96)
    fine, coarse = backbone.maps(images)
    out = call(module, fine, coarse)
    size = (1, 1) if name == "AttentionFusion" else coarse.shape[-2:]
    assert out.shape == (2, OTHER_CHANNELS.get(name, backbone.channels[1]), *size)
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    first = next(backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().max() > 0
    backbone.zero_grad()


def test_the_ideas_are_the_files() -> None:
    files = {path.stem for path in Path(attention.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(attention._HOMES.values()) == files
    assert len(files) == 9
    assert dir(attention) == sorted(attention.__all__)


def test_the_papers_sizes_are_the_defaults() -> None:
    position = attention.PositionAttention(512)
    assert position.query.out_channels == 64
    assert attention.ClassFeature(512).project.out_channels == 512
    assert attention.Hamburger(512).ham.fixed.shape == (1, 512, 64)
    assert attention.StripAttention(128).query.conv.out_channels == 64
    assert attention.WindowAttention(96).heads == attention.SwinAgentAttention(96).heads == 3
    assert attention.SpatialReductionAttention(320).heads == 5
    assert attention.WindowAttention(96).window == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: attention.PositionAttention(7), "7 channels and 0 key channels"),
        (lambda: attention.WindowAttention(100), "100 channels do not divide into 3 heads"),
        (lambda: attention.SpatialReductionAttention(100, 3), "do not divide into 3 heads"),
    ],
)
def test_sizes_that_do_not_fit(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'StripAtention'"):
        _ = attention.StripAtention


def test_importing_the_names_loads_no_torch() -> None:
    code = "import sys, segattn.attention; dir(segattn.attention); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
