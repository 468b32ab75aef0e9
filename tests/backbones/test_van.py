"""VAN's shapes, sizes, drop path and start values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from segattn.backbones.van import VAN, VAN_SHAPES, Block
from segattn.layers import DropPath

PARAMETERS = {
    "tiny": 3_848_800,
    "small": 13_348_800,
    "base": 26_065_472,
    "large": 44_252_608,
    "huge": 59_770_176,
    "b5": 89_198_688,
    "b6": 199_060_416,
}


@pytest.mark.parametrize("size", VAN_SHAPES)
def test_parameters(size: str) -> None:
    with torch.device("meta"):
        backbone = VAN(size)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == PARAMETERS[size]


@pytest.mark.parametrize(
    ("stage_strides", "strides", "sizes"),
    [
        ((4, 2, 2, 2), (4, 8, 16, 32), [(25, 33), (13, 17), (7, 9), (4, 5)]),
        ((4, 2, 1, 1), (4, 8, 8, 8), [(25, 33), (13, 17), (13, 17), (13, 17)]),
    ],
)
def test_maps(stage_strides: tuple[int, int, int, int], strides: tuple[int, ...], sizes: list[tuple[int, int]]) -> None:
    backbone = VAN("tiny", stage_strides=stage_strides).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 100, 132))
    assert backbone.strides == strides
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (channels, *size) for channels, size in zip(backbone.channels, sizes, strict=True)
    ]


@pytest.mark.parametrize("size", [(1, 1), (33, 31), (65, 97)])
def test_any_image_size(size: tuple[int, int]) -> None:
    with torch.no_grad():
        features = VAN("tiny").eval()(torch.randn(1, 3, *size))
    for feature, stride in zip(features, (4, 8, 16, 32), strict=True):
        assert tuple(feature.shape[-2:]) == tuple(math.ceil(side / stride) for side in size)


def test_each_map_is_normalised_over_its_channels() -> None:
    with torch.no_grad():
        for feature in VAN("tiny").eval()(torch.randn(2, 3, 64, 64)):
            torch.testing.assert_close(feature.mean(1), torch.zeros_like(feature[:, 0]), atol=1e-5, rtol=0)


def test_batch_equals_its_images_and_calls_repeat() -> None:
    backbone, x = VAN("tiny").eval(), torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        batch, again = backbone(x), backbone(x)
        single = [backbone(image[None]) for image in x]
    for i, feature in enumerate(batch):
        assert torch.equal(feature, again[i])
        torch.testing.assert_close(feature, torch.cat([features[i] for features in single]), atol=1e-5, rtol=1e-4)


def test_drop_path_grows_linearly_over_all_stages() -> None:
    rates = [module.rate for module in VAN("tiny", drop_path=0.24).modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.02 * i for i in range(13)])


def test_start_values() -> None:
    backbone = VAN("tiny")
    depthwise = backbone.get_submodule("block1.0.mlp.dwconv.dwconv")
    assert isinstance(depthwise, nn.Conv2d)
    assert depthwise.weight.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.1)
    dense = backbone.get_submodule("patch_embed4.proj")
    assert isinstance(dense, nn.Conv2d)
    assert dense.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.02)
    for key, parameter in backbone.named_parameters():
        if key.endswith("bias"):
            assert not parameter.any(), key
        elif "layer_scale" in key:
            assert torch.equal(parameter, torch.full_like(parameter, 0.01)), key
        elif "norm" in key:
            assert torch.equal(parameter, torch.ones_like(parameter)), key


def test_unknown_size() -> None:
    with pytest.raises(ValueError, match=r"'smal': expected one of tiny, small, .* Did you mean small"):
        VAN("smal")


def test_a_block_s_gradient_is_autograd_s_whatever_the_parts() -> None:
    torch.manual_seed(0)
    block = Block(8, mlp_ratio=4, drop_path=0.0).eval()
    for parameter in (block.layer_scale_1, block.layer_scale_2, block.norm1.bias, block.norm2.bias):
        nn.init.uniform_(parameter, -1, 1)
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.3)
    x, by_output = torch.randn(2, 1, 8, 9, 13)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(block(leaf), leaf, by_output)
    for hidden in (1, 5, 16, 100):  # of 32, in parts that are even or not
        torch.testing.assert_close(block.gradient(x, by_output, hidden=hidden), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        parts = sum(block.mlp.part(x, slice(i, i + 5)) for i in range(0, 32, 5))
        torch.testing.assert_close(parts + block.mlp.fc2.bias[:, None, None], block.mlp(x), rtol=1e-5, atol=1e-5)
