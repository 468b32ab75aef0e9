"""Losses of whole classes rather than pixels: Lovasz-softmax and soft Dice.

Both take logits (B, K, H, W) and labels (B, H, W) int64 with `IGNORE`, compute in float32 over all labelled pixels of
the batch, average over the classes present among the labels, and return a scalar: zero, with zero gradient, if none is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segattn.contracts import IGNORE


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovasz-softmax (arXiv 1705.08790, section 3.2) over the classes present in the batch, as ACFNet's code uses it.

    The released code fails on batches with no or one labelled pixel; here they give zero and the plain value.
    """
    probabilities, labels = _labelled(logits, labels)
    if labels.numel() == 0:
        return logits.float().sum() * 0.0
    losses = []
    for index in _present(labels, logits.shape[1]):
        foreground = (labels == index).float()
        errors, order = (foreground - probabilities[index]).abs().sort(descending=True)
        losses.append(errors @ lovasz_gradient(foreground[order]))
    return torch.stack(losses).mean()


def lovasz_gradient(foreground: Tensor) -> Tensor:
    """The weights that the Jaccard loss's Lovasz extension gives to errors sorted downwards.

    `foreground` (N,) is 1 where the pixel at that place belongs to the class, else 0.
    """
    total = foreground.sum()
    intersection = total - foreground.cumsum(0)
    union = total + (1 - foreground).cumsum(0)
    jaccard = 1 - intersection / union
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def soft_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - 2 sum(p g) / (sum p + sum g) of each class present, averaged: p its probabilities, g 1 at its pixels."""
    probabilities, labels = _labelled(logits, labels)
    if labels.numel() == 0:
        return logits.float().sum() * 0.0
    losses = []
    for index in _present(labels, logits.shape[1]):
        foreground = (labels == index).float()
        overlap = 2 * (probabilities[index] @ foreground)
        losses.append(1 - overlap / (probabilities[index].sum() + foreground.sum()))
    return torch.stack(losses).mean()


def _present(labels: Tensor, classes: int) -> list[int]:
    """The classes that occur among labels (N,), rising."""
    present: list[int] = torch.bincount(labels, minlength=classes).nonzero().flatten().tolist()
    return present


def _labelled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The labelled pixels alone: probabilities (K, N) and labels (N,)."""
    mask = labels != IGNORE
    return logits.float().softmax(1).transpose(0, 1)[:, mask], labels[mask]
