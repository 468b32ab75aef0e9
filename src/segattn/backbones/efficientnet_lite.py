"""EfficientNet-Lite0 to Lite4: inverted residuals with ReLU6 and without squeeze-and-excitation.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv 1905.11946, in
the Lite variant of its authors' code. Batch norms have that code's eps of 1e-3 and momentum of 0.01.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.backbones.resnet import init_residual
from segattn.layers import block_paths

if TYPE_CHECKING:
    from segattn.contracts import Features

Size = Literal[0, 1, 2, 3, 4]
Padding = Literal["same", "centred"]

SCALING: dict[int, tuple[float, float]] = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2), 3: (1.2, 1.4), 4: (1.4, 1.8)}
"""Of widths and of depths, by size."""

FINEST = 4
"""Maps of smaller strides are left out, as in the other backbones."""


class _Stage(NamedTuple):
    blocks: int
    kernel_size: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
"""Of Lite0. Scaling leaves the stem's 32 channels and the blocks of the first and the last stage as they are."""


def scaled_stages(size: int) -> tuple[_Stage, ...]:
    """The stages of a size: channels to the nearest multiple of 8 at most a tenth lower, blocks rounded up.

    Raises:
        ValueError: a size that does not exist.
    """
    if size not in SCALING:
        raise ValueError(f"EfficientNet-Lite size {size}: expected one of {', '.join(map(str, SCALING))}")
    width, depth = SCALING[size]
    stages = []
    for stage in STAGES:
        fixed = stage in (STAGES[0], STAGES[-1])
        blocks = stage.blocks if fixed else ceil(stage.blocks * depth)
        stages.append(stage._replace(blocks=blocks, channels=_multiple_of_8(stage.channels * width)))
    return tuple(stages)


def _multiple_of_8(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class SamePad(nn.Module):
    """TensorFlow's "same" padding with zeros: as many results as ceil(side / stride), the odd zero below and right.

    It centres a stride-2 kernel on odd sides; on even ones the kernel lies half a step further down and right.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = self._sides(x.shape[-2]), self._sides(x.shape[-1])
        return F.pad(x, (left, right, top, bottom))

    def _sides(self, side: int) -> tuple[int, int]:
        # The kernel is no smaller than the stride, so that there is always 0 or more to add.
        total = (side + self.stride - 1) // self.stride * self.stride - self.stride + self.kernel_size - side
        return total // 2, total - total // 2

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class ConvNorm(nn.Sequential):
    """Convolution without bias, norm, and ReLU6 unless `act` is false: children `pad`, `conv`, `norm`, `act`.

    `pad` is there only for padding "same" with a stride; all else is centred by the convolution itself.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: Padding = "same",
        act: bool = True,
    ) -> None:
        super().__init__()
        pads = padding == "same" and stride > 1
        if pads:
            self.pad = SamePad(kernel_size, stride)
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=0 if pads else kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01)
        if act:
            self.act = nn.ReLU6(inplace=True)


class InvertedResidual(nn.Module):
    """(B, in, H, W) -> (B, out, ~H/stride, ~W/stride): 1x1 to `expansion` times the channels, depthwise, 1x1 back.

    The input is added where it has the result's shape.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        expansion: int,
        stride: int = 1,
        padding: Padding = "same",
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = ConvNorm(in_channels, inner) if expansion > 1 else None
        self.depthwise = ConvNorm(inner, inner, kernel_size, stride=stride, groups=inner, padding=padding)
        self.project = ConvNorm(inner, out_channels, act=False)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self._filter(x if self.expand is None else self.expand(x)))
        return x + y if self.has_shortcut else y

    def _filter(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled():
            # In bf16 the backward pass of a depthwise convolution takes two to five times as long there.
            with torch.autocast("cpu", enabled=False):
                return self.depthwise(x.float())  # type: ignore[no-any-return]
        return self.depthwise(x)  # type: ignore[no-any-return]


class EfficientNetLite(nn.Module):
    """(B, in_channels, H, W) -> the last map of each stride from 4 on.

    The classifier and the 1x1 layer before it are left out.

    Every step of stride 2 maps n to ceil(n / 2). The ImageNet weights take RGB as (value - 127) / 128 of 0..255.

    Args:
        size: 0 to 4.
        output_stride: input pixels per cell of the last map: 8, 16 or 32. Stages lose their stride for it without being
            dilated, as a dilated depthwise convolution takes twice the time.
        padding: of the layers with a stride. "same" is TensorFlow's (see `SamePad`), with which the ImageNet weights
            were trained; where a cell lies then depends on whether sides are odd or even. "centred" is the same on odd
            sides, and always puts cell i of a map on pixel i * stride: what `AlignCorners` "grid" expects.

    Attributes:
        channels, strides: of the maps. Lite0: 24, 40, 112 and 320 channels at 1/4, 1/8, 1/16 and 1/32; with output
            stride 16: 24, 40 and 320 at 1/4, 1/8 and 1/16.

    Raises:
        ValueError: for a size, output stride or padding that does not exist.
    """

    def __init__(
        self,
        size: Size,
        *,
        output_stride: Literal[8, 16, 32] = 32,
        padding: Padding = "same",
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f"EfficientNet-Lite output stride {output_stride}: expected one of 8, 16, 32")
        if padding not in ("same", "centred"):
            raise ValueError(f"EfficientNet-Lite padding {padding!r}: expected 'same' or 'centred'")
        self.stem = ConvNorm(in_channels, 32, 3, stride=2, padding=padding)
        self.layers = nn.ModuleList()
        channels, reached = 32, 2
        last: dict[int, tuple[int, int]] = {}  # stride -> channels and index of its last block
        for stage in scaled_stages(size):
            stride = stage.stride if reached * stage.stride <= output_stride else 1
            reached *= stride
            for index in range(stage.blocks):
                self.layers.append(
                    InvertedResidual(
                        channels,
                        stage.channels,
                        stage.kernel_size,
                        expansion=stage.expansion,
                        stride=stride if index == 0 else 1,
                        padding=padding,
                    )
                )
                channels = stage.channels
            last[reached] = channels, len(self.layers) - 1
        kept = {stride: entry for stride, entry in last.items() if stride >= FINEST}
        self.strides: tuple[int, ...] = tuple(kept)
        self.channels: tuple[int, ...] = tuple(channels for channels, _ in kept.values())
        self.blocks = block_paths(self, ("layers",))
        self._ends = {index for _, index in kept.values()}
        init_residual(self)

    def forward(self, x: Tensor) -> Features:
        x = self.stem(x)
        maps = []
        for index, block in enumerate(self.layers):
            x = block(x)
            if index in self._ends:
                maps.append(x)
        return tuple(maps)
