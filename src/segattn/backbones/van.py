"""VAN, the visual attention network (arXiv 2202.09741), tiny to B6, as a backbone of four stages.

Parameter names are those of the released files. B0 to B4 are newer names of tiny to huge. The released classifiers and
the first segmentation code normalise with `norm_eps` 1e-6, the newer segmentation code with 1e-5: hence the argument.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections import OrderedDict
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.attention.large_kernel import LargeKernelAttention
from segattn.contracts import nearest
from segattn.layers import DropPath, block_paths, drop_path_rates

if TYPE_CHECKING:
    from segattn.contracts import Features

MLP_RATIOS = (8, 8, 4, 4)


class VANShape(NamedTuple):
    """Channels and number of blocks of each stage."""

    channels: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


VAN_SHAPES = {
    "tiny": VANShape((32, 64, 160, 256), (3, 3, 5, 2)),
    "small": VANShape((64, 128, 320, 512), (2, 2, 4, 2)),
    "base": VANShape((64, 128, 320, 512), (3, 3, 12, 3)),
    "large": VANShape((64, 128, 320, 512), (3, 5, 27, 3)),
    "huge": VANShape((64, 128, 320, 512), (3, 6, 40, 3)),
    "b5": VANShape((96, 192, 480, 768), (3, 3, 24, 3)),
    "b6": VANShape((96, 192, 384, 768), (6, 6, 90, 6)),
}


class PatchEmbed(nn.Module):
    """Overlapping patches: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""

    conv_norm_pairs: ClassVar = (("proj", "norm"),)

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(x))
        return out


class Mlp(nn.Module):
    """1 x 1 to `hidden` channels, depthwise 3 x 3, GELU, 1 x 1 back."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        # One level deeper than needed: the released files say dwconv.dwconv.
        self.dwconv = nn.Sequential(OrderedDict(dwconv=nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)))
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.dwconv(self.fc1(x))))
        return out

    def part(self, x: Tensor, hidden: slice) -> Tensor:
        """What some of the hidden channels add to the output: the sum over all of them and `fc2.bias` are `self(x)`.

        Hidden channels mix in `fc2` only, so they need not exist at the same time.
        """
        depthwise = self.dwconv.get_submodule("dwconv")
        assert isinstance(depthwise, nn.Conv2d)
        maps = F.conv2d(x, self.fc1.weight[hidden], _some(self.fc1.bias, hidden))
        weight, bias = depthwise.weight[hidden], _some(depthwise.bias, hidden)
        maps = F.conv2d(maps, weight, bias, padding=1, groups=len(weight))
        return F.conv2d(self.act(maps), self.fc2.weight[:, hidden])


def _some(bias: Tensor | None, channels: slice) -> Tensor:
    assert bias is not None
    return bias[channels]


class Block(nn.Module):
    """Attention and MLP, each normalised before, scaled per channel, randomly dropped and added."""

    norm_conv_pairs: ClassVar = (("norm2", "mlp.fc1"),)

    def __init__(self, channels: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = LargeKernelAttention(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = Mlp(channels, mlp_ratio * channels)
        self.drop_path = DropPath(drop_path)
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), 0.01))

    def attended(self, x: Tensor) -> Tensor:
        """The first half: the map with what attention adds."""
        out: Tensor = x + self.drop_path(self.layer_scale_1[:, None, None] * self.attn(self.norm1(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        x = self.attended(x)
        x = x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))
        return x

    def gradient(self, x: Tensor, by_output: Tensor, *, hidden: int = 64) -> Tensor:
        """What autograd gives for the input, of the block in evaluation, with less memory.

        `by_output` is the gradient by the block's output. The MLP, whose hidden maps are most of what a block keeps for
        the way back, is computed `hidden` of its channels at a time.
        """
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            attended = self.attended(x)
            normed = self.norm2(attended)
            leaf = normed.detach().requires_grad_()
        by_mlp = by_output * self.layer_scale_2[:, None, None]
        by_normed = torch.zeros_like(leaf)
        for start in range(0, self.mlp.fc1.out_channels, hidden):
            with torch.enable_grad():
                part = self.mlp.part(leaf, slice(start, start + hidden))
            by_normed += torch.autograd.grad(part, leaf, by_mlp)[0]
            del part
        return torch.autograd.grad((attended, normed), x, (by_output, by_normed))[0]


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position of (B, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class VAN(nn.Module):
    """(B, in_channels, H, W) -> four maps at 1/4, 1/8, 1/16, 1/32, sizes rounded up; any image size.

    Args:
        size: a key of `VAN_SHAPES`.
        stage_strides: (4, 2, 1, 1) keeps the last two stages at 1/8, without dilation.
        drop_path: rate of the last block; the first has 0.
        norm_eps: of the layer norm that ends each stage.
    """

    def __init__(
        self,
        size: str,
        *,
        stage_strides: tuple[int, int, int, int] = (4, 2, 2, 2),
        drop_path: float = 0.1,
        norm_eps: float = 1e-6,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if size not in VAN_SHAPES:
            raise ValueError(f"VAN size {size!r}: expected one of {', '.join(VAN_SHAPES)}.{nearest(size, VAN_SHAPES)}")
        shape = VAN_SHAPES[size]
        self.channels: tuple[int, ...] = shape.channels
        self.strides: tuple[int, ...] = tuple(itertools.accumulate(stage_strides, operator.mul))
        rates = drop_path_rates(drop_path, shape.depths)
        previous = in_channels
        for i, (channels, stride, ratio) in enumerate(zip(self.channels, stage_strides, MLP_RATIOS, strict=True)):
            stage = i + 1
            patch_embed = PatchEmbed(previous, channels, 7 if i == 0 else 3, stride)
            self.add_module(f"patch_embed{stage}", patch_embed)
            self.add_module(f"block{stage}", nn.Sequential(*(Block(channels, ratio, rate) for rate in rates[i])))
            self.add_module(f"norm{stage}", ChannelNorm(channels, eps=norm_eps))
            previous = channels
        self.blocks = block_paths(self, ("block1", "block2", "block3", "block4"))
        self.block_of = {f"norm{s + 1}": f"block{s + 1}.{depth - 1}" for s, depth in enumerate(shape.depths)}
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def chain(self) -> list[nn.Module]:
        """Modules of one tensor to one that, called one after another, give the last block's map, before its norm."""
        stages = [(f"patch_embed{s}", f"block{s}", f"norm{s}") for s in range(1, 5)]
        parts = [self.get_submodule(name) for names in stages for name in names][:-1]
        return [step for part in parts for step in (part if isinstance(part, nn.Sequential) else (part,))]

    def forward(self, x: Tensor) -> Features:
        features = []
        for stage in range(1, 5):
            for part in ("patch_embed", "block", "norm"):
                x = self.get_submodule(f"{part}{stage}")(x)
            features.append(x)
        return tuple(features)
