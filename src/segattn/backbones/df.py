"""DF1 and DF2: residual networks whose depths were searched for accuracy against measured latency.

Li et al., "Partial Order Pruning: for Best Speed/Accuracy Trade-off in Neural Architecture Search", CVPR 2019,
arXiv 1903.03777. Parameters have the names of the PyTorch files in circulation (`df2_imagenet.pth`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from segattn.backbones.resnet import BasicBlock, Norm, conv, init_residual, stage
from segattn.layers import block_paths

if TYPE_CHECKING:
    from segattn.contracts import Features


def stem(norm: Norm, in_channels: int) -> nn.Sequential:
    """(B, in_channels, H, W) -> (B, 64, ~H/4, ~W/4)."""
    return nn.Sequential(
        conv(in_channels, 32, 3, stride=2),
        norm(32),
        nn.ReLU(inplace=True),
        conv(32, 64, 3, stride=2),
        norm(64),
        nn.ReLU(inplace=True),
    )


class DF1(nn.Module):
    """(B, in_channels, H, W) -> maps of 64, 128 and 512 channels at 1/8, 1/16 and 1/32.

    Every step of stride 2 maps n to floor((n - 1) / 2) + 1.

    Args:
        norm_eps: 1e-5 for weights trained in PyTorch, 1e-4 for weights converted from the authors' Caffe models.

    Attributes:
        channels, strides: of the three maps.
    """

    channels: tuple[int, ...] = (64, 128, 512)
    strides: tuple[int, ...] = (8, 16, 32)

    def __init__(self, norm_eps: float = 1e-5, *, in_channels: int = 3) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=norm_eps)
        self.stage1 = stem(norm, in_channels)
        self.stage2 = stage(BasicBlock, 64, 64, 3, stride=2, norm=norm)
        self.stage3 = stage(BasicBlock, 64, 128, 3, stride=2, norm=norm)
        self.stage4 = stage(BasicBlock, 128, 256, 3, stride=2, norm=norm)
        self.stage5 = stage(BasicBlock, 256, 512, 1, stride=1, norm=norm)
        self.blocks = block_paths(self, ("stage2", "stage3", "stage4", "stage5"))
        init_residual(self)

    def forward(self, x: Tensor) -> Features:
        f8 = self.stage2(self.stage1(x))
        f16 = self.stage3(f8)
        return f8, f16, self.stage5(self.stage4(f16))


class DF2(nn.Module):
    """(B, in_channels, H, W) -> maps of 128, 256 and 512 channels at 1/8, 1/16 and 1/32, as ResNet-18's stages 2 to 4.

    Every step of stride 2 maps n to floor((n - 1) / 2) + 1.

    Args:
        norm_eps: 1e-5 for weights trained in PyTorch, 1e-4 for weights converted from the authors' Caffe models.

    Attributes:
        channels, strides: of the three maps.
    """

    channels: tuple[int, ...] = (128, 256, 512)
    strides: tuple[int, ...] = (8, 16, 32)

    def __init__(self, norm_eps: float = 1e-5, *, in_channels: int = 3) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=norm_eps)
        self.stage1 = stem(norm, in_channels)
        self.stage2_1 = stage(BasicBlock, 64, 64, 2, stride=2, norm=norm)
        self.stage2_2 = stage(BasicBlock, 64, 128, 1, stride=1, norm=norm)
        self.stage3_1 = stage(BasicBlock, 128, 128, 10, stride=2, norm=norm)
        self.stage3_2 = stage(BasicBlock, 128, 256, 1, stride=1, norm=norm)
        self.stage4_1 = stage(BasicBlock, 256, 256, 4, stride=2, norm=norm)
        self.stage4_2 = stage(BasicBlock, 256, 512, 2, stride=1, norm=norm)
        self.blocks = block_paths(self, ("stage2_1", "stage2_2", "stage3_1", "stage3_2", "stage4_1", "stage4_2"))
        init_residual(self)

    def forward(self, x: Tensor) -> Features:
        f8 = self.stage2_2(self.stage2_1(self.stage1(x)))
        f16 = self.stage3_2(self.stage3_1(f8))
        return f8, f16, self.stage4_2(self.stage4_1(f16))
