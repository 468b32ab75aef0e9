"""Shared and dull building blocks: nothing here is anybody's idea."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from threading import Lock
from typing import Any, Generic, Literal, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.alignment import grid_stride
from segattn.contracts import AlignCorners

_ALIGN_CORNERS = get_args(AlignCorners)
Made = TypeVar("Made", bound=tuple[Tensor, ...])


class ConvNormAct(nn.Sequential):
    """Convolution without bias, norm, ReLU: the block that every decoder of this package is made of.

    Children are named `conv`, `norm`, `act`; padding keeps the size at stride 1.

    Args:
        norm: makes the norm of a channel count (`nn.BatchNorm2d` with eps 1e-5 and momentum 0.1 by default).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, dilation=dilation, bias=False
        )
        self.norm = norm(out_channels)
        self.act = nn.ReLU(inplace=True)


class DilatedDepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution of odd kernel k, dilation d and the size kept: (B, C, h, w) -> (B, C, h, w).

    On CPUs it is computed by phases: the d x d maps of every d-th pixel, each convolved without dilation, which is the
    same to float rounding. oneDNN has a fast kernel for depthwise convolutions without dilation only.
    """

    def __init__(self, channels: int, kernel_size: int, *, dilation: int) -> None:
        assert kernel_size % 2 == 1
        padding = dilation * (kernel_size // 2)
        super().__init__(channels, channels, kernel_size, padding=padding, dilation=dilation, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(x)
        d = self.dilation[0]
        images, channels, height, width = x.shape
        bottom, right = self._missing(height, width)
        y = F.pad(x, (0, right, 0, bottom)) if bottom or right else x
        rows, columns = (height + bottom) // d, (width + right) // d
        padding = self.kernel_size[0] // 2
        if x.is_contiguous(memory_format=torch.channels_last):
            y = y.permute(0, 2, 3, 1).reshape(images, rows, d, columns, d, channels).permute(0, 2, 4, 1, 3, 5)
            y = y.reshape(images * d * d, rows, columns, channels).permute(0, 3, 1, 2)
            y = F.conv2d(y, self.weight, self.bias, padding=padding, groups=channels)
            y = y.permute(0, 2, 3, 1).reshape(images, d, d, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
            y = y.reshape(images, rows * d, columns * d, channels).permute(0, 3, 1, 2)
        else:
            y = y.reshape(images, channels, rows, d, columns, d).permute(0, 3, 5, 1, 2, 4)
            y = y.reshape(images * d * d, channels, rows, columns)
            y = F.conv2d(y, self.weight, self.bias, padding=padding, groups=channels)
            y = y.reshape(images, d, d, channels, rows, columns).permute(0, 3, 4, 1, 5, 2)
            y = y.reshape(images, channels, rows * d, columns * d)
        return y[..., :height, :width]

    def _missing(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns that make both sides multiples of the dilation."""
        return -height % self.dilation[0], -width % self.dilation[1]

    def paper_operations(self, x: Tensor) -> dict[str, int]:
        """Less what padding adds."""
        height, width = x.shape[-2:]
        bottom, right = self._missing(height, width)
        added = x.shape[0] * x.shape[1] * ((height + bottom) * (width + right) - height * width)
        return {"convolution": -added * self.weight[0].numel(), "convolution_bias": -added}


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, a residual branch is dropped per image with `rate`,
    and a kept one divided by 1 - rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"drop path rate {rate}: expected 0 <= rate < 1")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * (torch.rand(shape, device=x.device, dtype=torch.float32) < keep).to(x.dtype) / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def drop_path_rates(rate: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Rates growing linearly from 0 at the first block to `rate` at the last, as one list per stage."""
    flat = torch.linspace(0, rate, sum(depths), device="cpu", dtype=torch.float32).tolist()  # whatever the defaults
    stages, start = [], 0
    for depth in depths:
        stages.append(flat[start : start + depth])
        start += depth
    return stages


def block_paths(backbone: nn.Module, stages: tuple[str, ...]) -> tuple[str, ...]:
    """The paths of all blocks of these stages, which are sequences of blocks."""
    return tuple(f"{name}.{block}" for name in stages for block, _ in backbone.get_submodule(name).named_children())


def resize(
    x: Tensor,
    size: tuple[int, int] | torch.Size,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    *,
    align_corners: AlignCorners = "edges",
    stride: int | None = None,
) -> Tensor:
    """(B, C, h, w) -> (B, C, *size); the identity, without a copy, where the size is already right.

    `align_corners` concerns bilinear resizing only, in the words of `contracts.AlignCorners`. There is no
    antialiasing, as in all five papers' code.

    Args:
        stride: of "grid"; by default found from the sizes, which is impossible in an export for every size.

    Raises:
        ValueError: `align_corners` is none of its words; or it is "grid", and no stride that is a power of two turns
            `size` into h x w.
    """
    if align_corners not in _ALIGN_CORNERS:  # a bool would pass for "edges"
        raise ValueError(
            f"align_corners: found {align_corners!r}, expected one of {', '.join(map(repr, _ALIGN_CORNERS))}"
        )
    height, width = size  # may be symbolic in export: never int()
    # An export would keep the outcome of this comparison as a condition on every later size.
    if not torch.compiler.is_exporting() and x.shape[-2] == height and x.shape[-1] == width:
        return x
    if mode == "nearest":
        return F.interpolate(x, (height, width), mode="nearest")
    if align_corners == "grid":
        return _resize_on_grid(x, height, width, stride)
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=align_corners == "corners")


def _resize_on_grid(x: Tensor, height: int, width: int, stride: int | None) -> Tensor:
    down, right = (stride or grid_stride(x.shape[-2], height)), (stride or grid_stride(x.shape[-1], width))
    rows, columns = (x.shape[-2] - 1) * down + 1, (x.shape[-1] - 1) * right + 1
    exporting = torch.compiler.is_exporting()
    if not exporting and (rows, columns) != (height, width):
        # Repeated while it is small, then cut: a view, where padding makes a second map of the image's size.
        x = F.pad(x, (0, 1, 0, 1), mode="replicate")
        rows, columns = rows + down, columns + right
    x = F.interpolate(x, (rows, columns), mode="bilinear", align_corners=True)
    if exporting:  # cutting would be a condition on the sizes
        return F.pad(x, (0, width - columns, 0, height - rows), mode="replicate")
    return x[..., :height, :width]


def adaptive_average_pool(x: Tensor, output_size: int | tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *output_size): `F.adaptive_avg_pool2d` to float rounding, at any sizes, enlarging too.

    Two products with averaging matrices that are computed from the sizes. Unlike the pooling operator this survives
    export with a dynamic height and width.
    """
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    rows = averaging_matrix(x.shape[-2], height, x)
    columns = averaging_matrix(x.shape[-1], width, x)
    return rows @ (x @ columns.mT)


def averaging_matrix(cells: int, outputs: int, like: Tensor) -> Tensor:
    """(outputs, cells): row i averages the cells from floor(i cells / outputs) up to ceil((i + 1) cells / outputs)."""
    edge = torch.arange(outputs + 1, device=like.device) * cells
    start, end = edge[:-1] // outputs, (edge[1:] + (outputs - 1)) // outputs
    cell = torch.arange(cells, device=like.device)
    inside = (cell >= start[:, None]) & (cell < end[:, None])
    return inside.to(like.dtype) / (end - start)[:, None].to(like.dtype)


def join_heads(y: Tensor) -> Tensor:
    """(B, heads, N, d) -> (B, N, heads * d)."""
    y = y.transpose(1, 2)
    if torch.compiler.is_exporting():  # taken apart by an exporter, fused attention's result lies otherwise in memory
        y = y.clone(memory_format=torch.contiguous_format)
    return y.flatten(2)


@contextmanager
def float32_by_default() -> Iterator[None]:
    """A block in which new tensors are float32, whatever `torch.set_default_dtype` says outside."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def channels_last(model: nn.Module) -> nn.Module:
    """`model` with its four-dimensional parameters and buffers laid out channels last, in place.

    `model.to(memory_format=torch.channels_last)` fails on tensors of five dimensions, such as agent biases.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return model


class SizeCache(Generic[Made]):
    """The last few results that a module made in evaluation from nothing but its weights and a map's size.

    No part of the module's state: it is neither saved nor copied with it. A result is used again only while the weights
    that it came from are the same memory, unwritten since (torch counts writes to a tensor, those through `.data` and
    those of fused optimisers excepted: `clear` it when the module's mode changes). While training, compiling or
    exporting, and where the weights want a gradient, nothing is kept or used.
    """

    def __init__(self, capacity: int = 4) -> None:
        self.capacity = capacity
        self._changing = Lock()  # several threads may run one module
        self._entries: dict[Hashable, tuple[Hashable, list[torch.UntypedStorage], Made]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[type[SizeCache[Made]], tuple[int]]:
        return SizeCache, (self.capacity,)

    def clear(self) -> None:
        with self._changing:
            self._entries.clear()

    def get(
        self, size: Hashable, make: Callable[[], Made], *, training: bool, weights: Sequence[nn.Parameter] = ()
    ) -> Made:
        """The value kept for `size`, or that of `make()`. `weights` are all parameters that `make` reads."""
        if torch.compiler.is_compiling():
            return make()
        if training or (torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)):
            self.clear()  # the weights are about to change
            return make()
        if any(type(weight) is not nn.Parameter or weight.is_inference() for weight in weights):
            return make()  # sharded, faked or uncounted
        state = tuple((w.data_ptr(), w._version, w.device, w.dtype, _autocast(w.device.type)) for w in weights)
        entry = self._entries.get(size)
        if entry is not None and entry[0] == state:
            return entry[2]
        with torch.inference_mode(False), torch.no_grad():
            made = make()
        if all(type(tensor) is Tensor for tensor in made):
            # The storages are held so that no other tensor can come to lie at their address.
            entry = (state, [weight.untyped_storage() for weight in weights], made)
            with self._changing:
                if size not in self._entries and len(self._entries) >= self.capacity:
                    self._entries.pop(next(iter(self._entries), None), None)
                self._entries[size] = entry
        return made


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A block whose products keep their operands' precision: for sums that half precision would round or overflow."""
    device = x.device.type
    return nullcontext() if _autocast(device) is None else torch.autocast(device, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or as it is where its precision is that or higher."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _autocast(device: str) -> torch.dtype | None:
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


Norm = Callable[[int], nn.Module]
"""Makes a norm of a channel count."""

group_norm: Norm = partial(nn.GroupNorm, 32)


def initialize_convolutions(module: nn.Module) -> None:
    """Kaiming normal by fan-out for ReLU, biases zero."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)


def make_classifier(channels: int, num_classes: int) -> nn.Sequential:
    """Whole channels dropped with 0.1 in training, then 1 x 1 with bias, starting at normal(0, 0.01)."""
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return nn.Sequential(nn.Dropout2d(0.1), conv)
