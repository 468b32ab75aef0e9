"""Any module that gives logits as a `Segmenter`: for scoring, training and prediction of networks that are not ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from segattn.contracts import AlignCorners, Classes, SegOutput, counted, shown
from segattn.models.segmenter import Segmenter
from segattn.normalization import Normalization

if TYPE_CHECKING:
    from segattn.contracts import Features

_KEYS = ("out", "logits")
"""The main logits in a mapping: torchvision's name, and transformers'."""

_SIZES = ((128, 128), (128, 192))


class ForeignNetwork(nn.Module):
    """(B, 3, H, W) normalised -> the logits (B, K, h, w) of a module, and after them its "aux", if it gives one.

    Takes the place of a backbone. What the module gives may be a tensor, a mapping with "out" or "logits" (torchvision,
    transformers), or an object with `logits`.

    Attributes:
        module: the module as it was given.
    """

    blocks: tuple[str, ...] = ()

    def __init__(self, module: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.module = module
        self.channels: tuple[int, ...] = (num_classes,)
        self.strides: tuple[int, ...] = (1,)

    def forward(self, x: Tensor) -> Features:
        given = self.module(x)
        found = [_main(given, self.module)]
        auxiliary = given.get("aux") if isinstance(given, Mapping) else None
        if isinstance(auxiliary, Tensor) and auxiliary.ndim == 4:
            found.append(auxiliary)
        for logits in found:
            if logits.shape[:2] != (x.shape[0], self.channels[0]):
                raise ValueError(
                    f"{_name(self.module)}: logits of shape {tuple(logits.shape)} for {counted(len(x), 'image')} and"
                    f" {self.channels[0]} classes, expected ({len(x)}, {self.channels[0]}, height, width)"
                )
        return tuple(found)


class _AsTheyAre(nn.Module):
    """The head of logits that are there already."""

    def main(self, features: Features) -> Tensor:
        return features[0]

    def forward(self, features: Features) -> SegOutput:
        return SegOutput(features[0], dict(zip(("aux",), features[1:], strict=False)))


def wrap(
    module: nn.Module,
    *,
    classes: Classes | Sequence[str] | int,
    normalization: Normalization = Normalization(),
    align_corners: AlignCorners | bool = "edges",
    sizes: Sequence[tuple[int, int]] = _SIZES,
) -> Segmenter:
    """Any module that gives logits, as a model for `evaluate`, `train`, `predict` and all else here.

    >>> model = segattn.wrap(network, classes=["road", "car"], normalization=segattn.Normalization())

    The module stays as it is, and is `model.backbone.module`. It is tried in evaluation mode on images of zeros.

    Args:
        module: takes normalised images (B, 3, H, W) and gives logits (B, K, h, w) of a constant stride, softmax not yet
            taken: a tensor, a mapping with "out" or "logits" (and "aux", which losses may read), or an object with
            `logits`.
        classes: what the logits mean: `Classes`, names, or how many there are.
        normalization: what the module's weights expect, with as many entries as it takes channels; ImageNet's mean and
            deviation by default.
        align_corners: how the module's own pipeline resizes logits to the image; "edges" is what most do.
        sizes: height and width of the images that it is tried on, which tell the stride. One size will do for a module
            that takes no other: then use a protocol with windows or a size of this kind.

    Returns:
        In evaluation mode, with the stride in `stride`.

    Raises:
        ValueError: it is no module, or what it gives is no tensor, of another number of channels than there are
            classes, or of a stride that is not the same for both sides and all sizes.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"{type(module).__name__}: an nn.Module that gives logits was expected")
    known = Classes.of(classes)
    network = ForeignNetwork(module, len(known))
    stride = _stride(network.eval(), len(normalization.mean), sizes)
    network.strides = (stride,)
    model = Segmenter(
        network,
        _AsTheyAre(),
        num_classes=len(known),
        align_corners=align_corners,
        stride=stride,
        normalization=normalization,
    )
    model.classes = known
    model.foreign = _name(module)
    parameter = next(module.parameters(), None)
    if parameter is not None:
        model.mean, model.std = model.mean.to(parameter), model.std.to(parameter)
    return model.eval()


@torch.no_grad()
def _stride(network: ForeignNetwork, channels: int, sizes: Sequence[tuple[int, int]]) -> int:
    """Input pixels per cell of the logits."""
    parameter = next(network.parameters(), torch.empty(0))
    found: list[str] = []
    strides: set[float] = set()
    for height, width in sizes:
        logits = network(torch.zeros(1, channels, height, width, device=parameter.device, dtype=parameter.dtype))[0]
        strides |= {height / logits.shape[2], width / logits.shape[3]}
        found.append(f"{height}x{width} -> {logits.shape[2]}x{logits.shape[3]}")
    if len(strides) != 1 or not min(strides).is_integer():
        raise ValueError(
            f"{_name(network.module)}: its logits have no constant stride (height x width: {', '.join(found)});"
            " give it logits of a whole stride, or those of the image's own size"
        )
    return int(strides.pop())


def _main(given: Any, module: nn.Module) -> Tensor:
    found = given
    if isinstance(given, Mapping):
        found = next((given[key] for key in _KEYS if key in given), None)
    elif not isinstance(given, Tensor):
        found = getattr(given, "logits", None)
    if isinstance(found, Tensor) and found.ndim == 4 and found.is_floating_point():
        return found
    what = f"of type {type(given).__name__}"
    if isinstance(given, Mapping):
        what += f" with {shown([str(key) for key in given])}"
    if isinstance(found, Tensor):
        what += f" with a {found.dtype} tensor of shape {tuple(found.shape)}"
    raise ValueError(
        f"{_name(module)}: its output is {what}; expected logits (B, K, h, w) of floats: a tensor, a mapping with"
        ' "out" or "logits", or an object with `logits`'
    )


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
