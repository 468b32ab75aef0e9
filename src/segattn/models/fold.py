"""A network made ready for inference alone: batch norms folded into convolutions, maps in the faster layout.

In evaluation a batch norm is a multiplication and an addition per channel, both linear, so that a convolution before it
can do the work: ``norm(W * x + b) = (s W) * x + (s (b - mean) + shift)`` with ``s = weight / sqrt(var + eps)``. A 1x1
convolution after it can too. The result is the same up to float rounding, not bit for bit.

Which of them belong together is read from the order of an `nn.Sequential`, as `ConvNormAct`, and from what a module
declares: `conv_norm_pairs` are names of its children whose first hands its result to the second and to nothing else,
`norm_conv_pairs` the same for a norm before a 1x1 convolution.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segattn.layers import channels_last
from segattn.models.segmenter import Segmenter

_WIDE = 1024
"""Input channels from which a 3x3 convolution is slower with channels innermost: on 512 both layouts are equally fast,
on 2048 the plain one is by a third (docs/performance.md)."""


def optimize_for_inference(model: Segmenter) -> Segmenter:
    """A copy of the model that gives the same logits, to about 1e-6 of their size, in less time on the CPU.

    Batch norms are folded (`fold_batch_norms`), and maps have their channels innermost, except in heads with a wide
    3x3 convolution. It predicts, scores and exports as the model does, but its parameters are not those of the model
    any more, so that no checkpoint fits it. The model is left untouched.

    Raises:
        ValueError: the model, or a batch norm in it, is in training mode, where norms depend on the batch.
    """
    folded = fold_batch_norms(model)
    backbone, head = folded.backbone, folded.head
    assert isinstance(backbone, nn.Module)
    assert isinstance(head, nn.Module)
    channels_last(backbone)
    if _is_wide(head):
        backbone.register_forward_hook(_to_plain_layout)
    else:
        channels_last(head)
    return folded


def _is_wide(head: nn.Module) -> bool:
    convolutions = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    return any(max(conv.kernel_size) > 1 and conv.in_channels >= _WIDE for conv in convolutions)


def _to_plain_layout(backbone: nn.Module, inputs: object, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(_plain(map_) for map_ in maps)


def _plain(map_: Tensor) -> Tensor:
    if map_.is_contiguous() or torch.compiler.is_compiling():  # an export would keep the number of images
        return map_.contiguous()
    out = map_.new_empty(map_.shape)
    for there, here in zip(out, map_, strict=True):
        there.flatten(1).copy_(here.flatten(1))  # as matrices: five times as fast as copying a map
    return out


def fold_batch_norms(model: Segmenter) -> Segmenter:
    """A copy of the model without the batch norms that a convolution can do the work of.

    Batch norms in other libraries' backbones stay, and so do those whose result is used twice (VAN's before its
    attention).

    Raises:
        ValueError: the model, or a batch norm in it, is in training mode.
    """
    for name, module in model.named_modules():
        if module.training and (module is model or isinstance(module, nn.BatchNorm2d)):
            where = name or "the model"
            raise ValueError(f"{where} is in training mode: norms can be folded in evaluation only; call model.eval()")
    folded = copy.deepcopy(model)
    with torch.no_grad():
        for module in folded.modules():
            for conv, norm in _conv_then_norm(module):
                _fold(module, conv, norm)
            for norm, conv in _declared(module, "norm_conv_pairs"):
                before = module.get_submodule(norm)
                if type(before) is nn.BatchNorm2d:
                    _fold_forward(before, module.get_submodule(conv))
                    setattr(module, norm, nn.Identity())
    return folded.eval().requires_grad_(False)


def _declared(module: nn.Module, what: str) -> tuple[tuple[str, str], ...]:
    """Paths of children that the module's own class declares; a class derived from it may use them in another way."""
    pairs: tuple[tuple[str, str], ...] = vars(type(module)).get(what, ())
    return pairs


def _conv_then_norm(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of the module's children that are a convolution and the norm of its result."""
    pairs = _declared(module, "conv_norm_pairs")
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        pairs = tuple(pairwise(name for name, _ in module.named_children()))
    children = dict(module.named_children())
    for conv, norm in pairs:
        if type(children.get(conv)) is nn.Conv2d and type(children.get(norm)) is nn.BatchNorm2d:
            yield conv, norm


def _fold(module: nn.Module, conv: str, norm: str) -> None:
    first, second = module.get_submodule(conv), module.get_submodule(norm)
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.BatchNorm2d)
    dtype = first.weight.dtype
    setattr(module, conv, fuse_conv_bn_eval(first.double(), second.double()).to(dtype))  # rounded once
    setattr(module, norm, nn.Identity())


def _fold_forward(norm: nn.BatchNorm2d, conv: nn.Module) -> None:
    """Let a 1x1 convolution without padding do the work of the norm before it."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.kernel_size == (1, 1)
    assert conv.padding == (0, 0)
    scale, shift = _scale_and_shift(norm)
    weight = conv.weight.double()
    bias = weight[:, :, 0, 0] @ shift
    if conv.bias is not None:
        bias += conv.bias
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype))
    conv.weight.copy_(weight * scale[:, None, None])


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    norm = norm.double()
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
