"""The first convolution of weights for RGB images, made ready for images of another number of channels.

Each channel beyond red, green and blue gets the mean of their kernels, and all are multiplied by 3 / C. An image whose
channels are alike then gives what it gave as grey RGB, and activations keep their size. With C = 1 that is the sum of
the three kernels. Where there are fewer than three channels, which can't be red, green and blue, all get the mean.

timm (github.com/huggingface/pytorch-image-models, Apache-2.0) scales in the same way in `timm.models.adapt_input_conv`,
and repeats red, green and blue over the channels instead of taking their mean: a near-infrared band then begins as
another red one, and grey images change unless C is a multiple of 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from segattn.models.segmenter import Segmenter
from segattn.weights.match import Match

RGB = 3


def input_convolution(model: nn.Module) -> str | None:
    """The name of the weight of the convolution that sees the image: a backbone's first; None where there is none."""
    if not isinstance(model, Segmenter) or not isinstance(model.backbone, nn.Module):
        return None
    for name, module in model.backbone.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == model.in_channels:
            return f"backbone.{name}.weight"
    return None


def inflated(kernel: Tensor, channels: int) -> Tensor:
    """A kernel (out, 3, h, w) for images of other `channels`: (out, channels, h, w)."""
    mean = kernel.float().mean(1, keepdim=True)
    if channels < RGB:
        wide = mean.repeat(1, channels, 1, 1)
    else:
        wide = torch.cat([kernel.float(), mean.repeat(1, channels - RGB, 1, 1)], 1)
    return (wide * (RGB / channels)).to(kernel.dtype)


def fit_channels(
    model: nn.Module, result: Match, found: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file with the first convolution for as many channels as the model's images have.

    Returns:
        The tensors, and what was done, in words: nothing where the file is not for RGB or the model is.
    """
    ours = input_convolution(model)
    theirs = None if ours is None else result.pairs.get(ours)
    if ours is None or theirs is None:
        return dict(found), []
    kernel, wanted = found[theirs], target[ours].shape
    fits = kernel.ndim == 4 and kernel.shape[1] == RGB and kernel.is_floating_point()
    if not fits or wanted[1] == RGB or (kernel.shape[0], *kernel.shape[2:]) != (wanted[0], *wanted[2:]):
        return dict(found), []
    note = f"first convolution inflated from 3 to {wanted[1]} channels"
    return {**found, theirs: inflated(kernel, wanted[1])}, [note]


def other_channels(model: nn.Module, result: Match, misfits: Sequence[str], found: Mapping[str, Tensor]) -> str | None:
    """In words, that a file is for images of another number of channels; None where that is not why it misfits."""
    ours = input_convolution(model)
    if not isinstance(model, Segmenter) or ours is None or list(misfits) != [ours]:
        return None
    kernel = found[result.pairs[ours]]
    if kernel.ndim != 4 or kernel.shape[1] == model.in_channels:
        return None
    return (
        f"the file is for images of {kernel.shape[1]} channels and the network for {model.in_channels} "
        "(network.in_channels): only weights for 3 channels can be made ready for others"
    )
