"""ResNet in every form that the papers here need: dilated, multi-grid, deep-stemmed, with channel attention.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385. Bottlenecks carry their stride
on the 3x3 convolution, as torchvision's do, and parameters have torchvision's names (`conv1`, `layer1.0.conv1`...).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from segattn.attention.eca import EfficientChannelAttention
from segattn.contracts import nearest
from segattn.layers import block_paths

if TYPE_CHECKING:
    from segattn.contracts import Features

Norm = Callable[[int], nn.Module]
Depth = Literal[18, 34, 50, 101, 152]

BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Residual blocks per stage; 18 and 34 are made of `BasicBlock`, the deeper ones of `Bottleneck`."""

STAGE_STRIDES: dict[int, tuple[int, int, int, int]] = {8: (1, 2, 1, 1), 16: (1, 2, 2, 1), 32: (1, 2, 2, 2)}
"""Stride of each stage's first block, by output stride."""


def conv(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size at stride 1."""
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)


def projection(in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Sequential | None:
    """The 1x1 shortcut of a block that changes width or size; None where the identity will do."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(conv(in_channels, out_channels, 1, stride=stride), norm(out_channels))


def init_residual(network: nn.Module) -> None:
    """He et al.'s initialisation without pretraining: 2-d convolutions normal, deviation sqrt(2 / (k * k * out))."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (B, in, H, W) -> (B, planes, ~H/stride, ~W/stride)."""

    conv_norm_pairs: ClassVar = (("conv1", "bn1"), ("conv2", "bn2"))

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        eca: bool = False,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, planes, 3, stride=stride, dilation=dilation)
        self.bn1 = norm(planes)
        self.conv2 = conv(planes, planes, 3, dilation=dilation)
        self.bn2 = norm(planes)
        self.eca = EfficientChannelAttention() if eca else None
        self.downsample = projection(in_channels, planes, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.eca is not None:
            y = self.eca(y)
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y.add_(shortcut), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 and a shortcut: (B, in, H, W) -> (B, 4 planes, ~H/stride, ~W/stride)."""

    conv_norm_pairs: ClassVar = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        eca: bool = False,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = conv(in_channels, planes, 1)
        self.bn1 = norm(planes)
        self.conv2 = conv(planes, planes, 3, stride=stride, dilation=dilation)
        self.bn2 = norm(planes)
        self.conv3 = conv(planes, out_channels, 1)
        self.bn3 = norm(out_channels)
        self.eca = EfficientChannelAttention() if eca else None
        self.downsample = projection(in_channels, out_channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        if self.eca is not None:
            y = self.eca(y)
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y.add_(shortcut), inplace=True)


def stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    planes: int,
    blocks: int,
    *,
    stride: int,
    dilations: tuple[int, ...] = (1,),
    eca: bool = False,
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """Residual blocks in a row, the first with the stride; the last of `dilations` holds for the remaining blocks.

    Raises:
        ValueError: for an empty list of dilations, more of them than blocks, or values below 1.
    """
    if not 1 <= len(dilations) <= blocks or min(dilations) < 1:
        raise ValueError(f"dilations {dilations}: expected 1 to {blocks} positive numbers, one a block")
    layers = nn.Sequential()
    for dilation in dilations + dilations[-1:] * (blocks - len(dilations)):
        layers.append(block(in_channels, planes, stride=stride, dilation=dilation, eca=eca, norm=norm))
        in_channels, stride = planes * block.expansion, 1
    return layers


RESNET_DEPTHS: dict[str, Depth] = {
    "resnet18": 18,
    "resnet34": 34,
    "resnet50": 50,
    "resnet101": 101,
    "resnet152": 152,
}


def resnet_depth(name: str) -> Depth:
    """The depth in a ResNet's name.

    Raises:
        ValueError: no such ResNet.
    """
    if name not in RESNET_DEPTHS:
        known = ", ".join(RESNET_DEPTHS)
        raise ValueError(f"unknown backbone {name!r}: expected one of {known}.{nearest(name, RESNET_DEPTHS)}")
    return RESNET_DEPTHS[name]


class ResNet(nn.Module):
    """(B, in_channels, H, W) -> the maps of `layer1`..`layer4`, without a classifier.

    Every step of stride 2 maps n to floor((n - 1) / 2) + 1, except the pool with `ceil_pool`.

    Args:
        depth: 18, 34, 50, 101 or 152.
        output_stride: input pixels per cell of the last map: 8, 16 or 32. Stages that lose their stride
            for it keep their receptive field only with dilations, which are given beside it.
        stage3_dilations, stage4_dilations: of the 3x3 convolutions, block by block; the last value holds for the
            remaining blocks. DANet: (1, 2), then (4, 8, 16) with multi-grid or (2, 4) without. ACFNet: (2,) and (4,).
        deep_stem: three 3x3 convolutions (`conv1`..`conv3`) instead of one of 7x7; the last doubles the channels.
        stem_channels: of the stem's first convolution: 64, or 32 in mmsegmentation's deep stem.
        ceil_pool: the stem's pool rounds sizes up (ACFNet: 56 becomes 29, not 28).
        eca: efficient channel attention before every shortcut addition (ACFNet's ECA-Net-101).

    Attributes:
        channels, strides: of the four maps.

    Raises:
        ValueError: for a depth, output stride or list of dilations that does not exist.
    """

    conv_norm_pairs: ClassVar = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(
        self,
        depth: Depth,
        *,
        output_stride: Literal[8, 16, 32] = 32,
        stage3_dilations: tuple[int, ...] = (1,),
        stage4_dilations: tuple[int, ...] = (1,),
        deep_stem: bool = False,
        stem_channels: int = 64,
        ceil_pool: bool = False,
        eca: bool = False,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"ResNet depth {depth}: expected one of {', '.join(map(str, BLOCKS))}")
        if output_stride not in STAGE_STRIDES:
            raise ValueError(
                f"ResNet output stride {output_stride}: expected one of {', '.join(map(str, STAGE_STRIDES))}"
            )
        self.deep_stem = deep_stem
        width = 2 * stem_channels if deep_stem else stem_channels
        self.conv1 = conv(in_channels, stem_channels, 3 if deep_stem else 7, stride=2)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        if deep_stem:
            self.conv2 = conv(stem_channels, stem_channels, 3)
            self.bn2 = nn.BatchNorm2d(stem_channels)
            self.conv3 = conv(stem_channels, width, 3)
            self.bn3 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=ceil_pool)

        block = BasicBlock if depth < 50 else Bottleneck
        blocks, strides = BLOCKS[depth], STAGE_STRIDES[output_stride]
        widths = [planes * block.expansion for planes in (64, 128, 256, 512)]
        self.layer1 = stage(block, width, 64, blocks[0], stride=strides[0], eca=eca)
        self.layer2 = stage(block, widths[0], 128, blocks[1], stride=strides[1], eca=eca)
        self.layer3 = stage(block, widths[1], 256, blocks[2], stride=strides[2], dilations=stage3_dilations, eca=eca)
        self.layer4 = stage(block, widths[2], 512, blocks[3], stride=strides[3], dilations=stage4_dilations, eca=eca)

        self.channels: tuple[int, ...] = tuple(widths)
        self.strides: tuple[int, ...] = tuple(min(4 * 2**i, output_stride) for i in range(4))
        self.blocks = block_paths(self, ("layer1", "layer2", "layer3", "layer4"))
        init_residual(self)

    def stem(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, 64 or 128, ~H/4, ~W/4); a deep stem of 32, 32 and 64 channels gives 64."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.deep_stem:
            x = F.relu(self.bn2(self.conv2(x)), inplace=True)
            x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        pooled: Tensor = self.maxpool(x)
        return pooled

    def forward(self, x: Tensor) -> Features:
        x1 = self.layer1(self.stem(x))
        x2 = self.layer2(x1)
        x3 = self.layer3(x2)
        return x1, x2, x3, self.layer4(x3)
