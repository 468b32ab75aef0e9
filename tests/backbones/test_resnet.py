from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from segattn.backbones.resnet import ResNet


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("depth", "parameters"),  # torchvision's published counts without the classifier
    [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160), (152, 58_143_808)],
)
def test_has_the_known_number_of_parameters(depth: Any, parameters: int) -> None:
    with torch.device("meta"):
        assert count(ResNet(depth)) == parameters


def test_parameters_have_torchvisions_names(parity: Any) -> None:
    released = {
        key.removeprefix("head.resnet.")
        for key in parity.description("attanet_r18")["keys"]
        if key.startswith("head.resnet.") and ".fc." not in key
    }
    with torch.device("meta"):
        assert set(ResNet(18).state_dict()) == released
        assert "layer4.2.bn3.running_var" in ResNet(50).state_dict()


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 70)])
def test_maps_have_the_declared_channels_and_strides(depth: Any, output_stride: Any, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        net = ResNet(depth, output_stride=output_stride)
        maps = net(torch.empty(2, 3, *size))
    assert tuple(m.shape[1] for m in maps) == net.channels
    assert net.strides == {8: (4, 8, 8, 8), 16: (4, 8, 16, 16), 32: (4, 8, 16, 32)}[output_stride]
    for found, stride in zip(maps, net.strides, strict=True):
        assert found.shape[2:] == tuple((n - 1) // stride + 1 for n in size)


def test_ceil_pool_rounds_up_where_sizes_are_multiples_of_four() -> None:
    with torch.device("meta"):
        net = ResNet(50, output_stride=8, deep_stem=True, ceil_pool=True)
        assert net(torch.empty(1, 3, 112, 144))[3].shape == (1, 2048, 15, 19)
        assert net(torch.empty(1, 3, 97, 129))[3].shape == (1, 2048, 13, 17)


def test_dilations_hold_block_by_block_and_the_last_for_the_rest() -> None:
    with torch.device("meta"):
        net = ResNet(50, output_stride=8, stage3_dilations=(1, 2), stage4_dilations=(4, 8, 16))
    for layer, expected in ((net.layer2, [1] * 4), (net.layer3, [1] + [2] * 5), (net.layer4, [4, 8, 16])):
        assert [block.conv2.dilation[0] for block in layer] == expected
        assert [block.conv2.padding[0] for block in layer] == expected


def test_every_bottleneck_has_its_stride_on_the_3x3() -> None:
    with torch.device("meta"):
        blocks = [ResNet(50).get_submodule(f"layer{i}.0") for i in (2, 3, 4)]
    assert [(block.conv1.stride, block.conv2.stride) for block in blocks] == [((1, 1), (2, 2))] * 3


def test_deep_stem_and_channel_attention_add_what_they_should() -> None:
    with torch.device("meta"):
        plain, deep, eca = ResNet(50), ResNet(50, deep_stem=True), ResNet(50, eca=True)
    stem = (3 * 64 + 64 * 64 + 64 * 128) * 9 - 3 * 64 * 49 + 2 * (64 + 128)
    assert count(deep) - count(plain) == stem + 64 * (64 + 256)  # and the first block reads 128 channels, not 64
    assert set(eca.state_dict()) - set(plain.state_dict()) == {
        f"layer{stage + 1}.{block}.eca.conv.weight" for stage, n in enumerate((3, 4, 6, 3)) for block in range(n)
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 20}, "depth 20: expected one of 18, 34, 50, 101, 152"),
        ({"depth": 18, "output_stride": 4}, "output stride 4"),
        ({"depth": 50, "stage4_dilations": (1, 2, 4, 8)}, r"\(1, 2, 4, 8\): expected 1 to 3"),
        ({"depth": 50, "stage3_dilations": ()}, "expected 1 to 6"),
        ({"depth": 50, "stage3_dilations": (0,)}, "positive"),
    ],
)
def test_says_what_it_cannot_build(arguments: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        ResNet(**arguments)


def test_starts_from_he_initialisation() -> None:
    net = ResNet(18)
    weight = net.layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.01)
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("arguments", [{"depth": 18}, {"depth": 50, "deep_stem": True, "eca": True}])
def test_every_parameter_gets_a_gradient(arguments: dict[str, Any]) -> None:
    net = ResNet(**arguments)
    net(torch.randn(2, 3, 65, 49))[-1].square().mean().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert dead == []


def test_a_batch_equals_its_images_one_by_one() -> None:
    net, x = ResNet(18, eca=True).eval(), torch.randn(2, 3, 65, 49)
    with torch.no_grad():
        together, alone = net(x), [net(x[i : i + 1]) for i in range(2)]
    for stage, found in enumerate(together):
        expected = torch.cat([maps[stage] for maps in alone])
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
