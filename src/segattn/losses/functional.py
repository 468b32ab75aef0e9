"""The losses as functions of logits and labels.

Logits are (B, K, H, W) of any floating type, labels (B, H, W) int64 of the same size, with `IGNORE` where nothing is
labelled. All compute in float32. Where no pixel is labelled the value and the gradient are zero, never NaN. Dice and
Lovasz-softmax average over the classes present among the labels of the whole batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from segattn.contracts import IGNORE
from segattn.layers import resize


def pixel_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """-log softmax(logits)[label] of each pixel, times its class's weight; (B, H, W), zero where ignored."""
    return F.cross_entropy(logits.float(), labels, weight=class_weights, ignore_index=IGNORE, reduction="none")


def focal_pixels(cross_entropy: Tensor, gamma: float) -> Tensor:
    """Cross-entropy times (1 - p) ** gamma per pixel, p the true class's probability (arXiv 1708.02002, eq. 4)."""
    # The floor keeps the power's slope finite where p = 1, which ignored pixels have too.
    miss = (-torch.expm1(-cross_entropy)).clamp_min(1e-12)
    return miss**gamma * cross_entropy


def distillation_pixels(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(p || q) of each pixel, p and q the teacher's and our class probabilities at temperature T; (B, H, W).

    `teacher` (B, K, H, W) are logits too, and get no gradient.
    """
    ours = F.log_softmax(logits.float() / temperature, 1)
    theirs = F.log_softmax(teacher.detach().float() / temperature, 1)
    return temperature**2 * F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1)


def labelled_weight(labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """The number of labelled pixels, or the sum of their classes' weights; a float32 scalar."""
    labelled = labels != IGNORE
    if class_weights is None:
        return labelled.sum(dtype=torch.float32)
    return torch.where(labelled, class_weights[labels.where(labelled, 0)], 0.0).sum()


def safe_mean(total: Tensor, divisor: Tensor) -> Tensor:
    """total / divisor, and total itself (a zero that still has a gradient) where the divisor is zero."""
    return total / torch.where(divisor > 0, divisor, 1)


def ohem_cross_entropy(logits: Tensor, labels: Tensor, *, threshold: float, min_kept: int) -> Tensor:
    """AttaNet's online hard example mining (its released code; the paper gives no formula).

    The mean over the pixels whose loss is above -ln(threshold) where these are more than `min_kept`, else over the
    `min_kept` largest losses. Ignored pixels count as zeros: they take part in the mean where fewer than `min_kept`
    pixels are labelled. The released code stops with an index error unless `min_kept` is below the number of pixels;
    here it is lowered to one less than that number.
    """
    losses = pixel_cross_entropy(logits, labels).flatten()
    kept = min(min_kept, losses.numel() - 1)
    hard = ~(losses <= -math.log(threshold))  # not `losses > ...`: a NaN has to show in the result
    count = hard.sum()
    if count > kept:
        return torch.where(hard, losses, 0.0).sum() / count
    return losses.topk(kept, sorted=False).values.sum() / max(kept, 1)


def ohem_search_cross_entropy(
    logits: Tensor, labels: Tensor, *, threshold: float, min_kept: int, factor: int
) -> Tensor:
    """ACFNet's online hard example mining: mean cross-entropy over pixels whose true class is not yet probable enough.

    The limit is `threshold`, or the `min_kept // factor**2`-th smallest probability of the true class on a map reduced
    by `factor` if that is larger; where the map has no more labelled pixels than that, every pixel counts. The released
    code searches with NumPy and SciPy on the CPU; this stays on the device, without waiting for it.
    """
    with torch.no_grad():
        probabilities = logits.float().softmax(1)
        limit = _search_limit(probabilities, labels, threshold, min_kept // factor**2, factor)
        labelled = labels != IGNORE
        true_class = probabilities.gather(1, labels.where(labelled, 0).unsqueeze(1)).squeeze(1)
        kept = labelled & ~(true_class > limit)
    losses = pixel_cross_entropy(logits, labels)
    return safe_mean(torch.where(kept, losses, 0.0).sum(), kept.sum())


def _search_limit(probabilities: Tensor, labels: Tensor, threshold: float, kept: int, factor: int) -> Tensor:
    """The largest probability of the true class that still counts as hard; a scalar tensor."""
    height, width = labels.shape[-2:]
    rows, columns = reduced_positions(height, factor), reduced_positions(width, factor)
    small = labels[:, rows][:, :, columns]
    reduced = resize(probabilities, small.shape[-2:], align_corners="corners")
    labelled = small != IGNORE
    true_class = reduced.gather(1, small.where(labelled, 0).unsqueeze(1)).squeeze(1)
    everything = torch.ones((), device=labels.device, dtype=torch.float32)
    if kept >= true_class.numel():
        return everything
    limit = torch.full_like(everything, threshold)
    if kept > 0:
        smallest = torch.where(labelled, true_class, 2.0).flatten().kthvalue(kept).values
        limit = smallest.clamp_min(threshold)
    return torch.where(labelled.sum() <= kept, everything, limit)


def reduced_positions(size: int, factor: int) -> list[int]:
    """Labels of `size` that the reduced map reads along one side: round(size / factor) of them, corners included.

    Sample i lies at i * (size - 1) / (count - 1), rounded half up, in whole numbers so that no rounding error decides.
    """
    count = max(round(size / factor), 1)
    if count == 1:
        return [0]
    return [(2 * i * (size - 1) + count - 1) // (2 * (count - 1)) for i in range(count)]


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
