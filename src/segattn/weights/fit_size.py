"""Weights that were trained at another image size, fitted to the network at hand.

Swin's, Agent-Swin's, PVT's and Agent-PVT's classifiers trained at 224 x 224 fit as they are; those of other sizes need
`fit_trained_size` (`sizes_may_differ`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

_LINES = {"ah_bias": 3, "aw_bias": 4, "ha_bias": 2, "wa_bias": 3}
"""The axis of each agent bias that runs along the map's rows or columns."""


def fit_trained_size(
    source: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights of a classifier trained at another image size, for a network of ours.

    Resized where the shape differs, linearly and with corners not aligned: agent biases of rows and columns, position
    embeddings, tables of relative positions. An index of relative positions of another window is replaced by ours. All
    else passes unchanged, other misfits too: strict loading refuses those. (The released segmentation code resizes
    nothing at loading, and stops at such files.)

    Args:
        source: in our names.
        target: the network's state dict.

    Returns:
        The weights, and in words what became of each tensor that was changed.
    """
    fitted, notes = dict(source), {}
    for key, tensor in source.items():
        if key not in target or tensor.shape == target[key].shape:
            continue
        ours, leaf = target[key], key.rsplit(".", 1)[-1]
        if leaf in _LINES:
            fitted[key] = _resize_line(tensor, ours, _LINES[leaf])
        elif re.fullmatch(r"pos_embed\d", leaf):
            fitted[key] = _resize_square(tensor, ours, 1)
        elif leaf == "relative_position_bias_table":
            fitted[key] = _resize_square(tensor, ours, 0)
        elif leaf == "relative_position_index":
            fitted[key] = ours.clone()
        if fitted[key].shape != ours.shape:  # other dimensions differ too
            fitted[key] = tensor
        elif fitted[key] is not tensor:
            notes[key] = f"{'replaced' if leaf.endswith('index') else 'resized'} from {_size(tensor)} to {_size(ours)}"
    return fitted, notes


def without_class_token(found: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A PVT classifier's tensors, with the class token's position taken from the front of the last embedding.

    PVT's classifier puts its class token in front of stage 4's tokens, so its `pos_embed4` has one position more than
    the map has cells; segmentation has no class token. Other files pass unchanged.
    """
    positions = found.get("pos_embed4")
    if "cls_token" not in found or positions is None or positions.ndim != 3:
        return found
    return {**found, "pos_embed4": positions[:, 1:]}


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _resize_line(tensor: Tensor, ours: Tensor, axis: int) -> Tensor:
    lines = tensor.float().movedim(axis, -1)
    resized = F.interpolate(lines.flatten(0, -2)[None], ours.shape[axis], mode="linear", align_corners=False)
    return resized[0].view(*lines.shape[:-1], -1).movedim(-1, axis).to(tensor.dtype)


def _resize_square(tensor: Tensor, ours: Tensor, axis: int) -> Tensor:
    """`axis` runs over the cells of a square, row by row."""
    before, after = round(tensor.shape[axis] ** 0.5), round(ours.shape[axis] ** 0.5)
    if before**2 != tensor.shape[axis]:
        return tensor
    cells = tensor.float().movedim(axis, -1)
    maps = cells.reshape(1, -1, before, before)
    resized = F.interpolate(maps, (after, after), mode="bilinear", align_corners=False)
    return torch.movedim(resized.view(*cells.shape[:-1], -1), -1, axis).to(tensor.dtype)
