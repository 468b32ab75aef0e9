"""The loss: the weighted sum of a recipe's terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segattn.contracts import AlignCorners, SegOutput, nearest
from segattn.layers import resize
from segattn.losses.functional import (
    distillation_pixels,
    focal_pixels,
    labelled_weight,
    lovasz_softmax,
    ohem_cross_entropy,
    ohem_search_cross_entropy,
    pixel_cross_entropy,
    safe_mean,
    soft_dice,
)
from segattn.losses.terms import (
    CrossEntropy,
    Dice,
    Distillation,
    Focal,
    LossTerm,
    Lovasz,
    OhemCrossEntropy,
    OhemSearchCrossEntropy,
)

KIND_NAMES: dict[type, str] = {
    CrossEntropy: "cross_entropy",
    OhemCrossEntropy: "ohem",
    OhemSearchCrossEntropy: "ohem_search",
    Lovasz: "lovasz",
    Dice: "dice",
    Focal: "focal",
    Distillation: "distillation",
}


class SegmentationLoss(nn.Module):
    """The sum of loss terms over the outputs of a network.

    Args:
        terms: what is summed. A term's value is named "OUTPUT.KIND", e.g. "main.cross_entropy".

    Raises:
        ValueError: if there is no term at all.
    """

    def __init__(self, terms: Sequence[LossTerm]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("a loss needs one term or more, got none")
        self.terms = tuple(terms)
        self.names = _names(self.terms)
        self._last_readers = {name: index for index, term in enumerate(self.terms) for name in outputs_of(term)}
        for index, term in enumerate(self.terms):
            weights = term.class_weights if isinstance(term, CrossEntropy) else None
            values = None if weights is None else torch.tensor(weights, dtype=torch.float32)
            self.register_buffer(f"class_weights_{index}", values, persistent=False)

    def divisors(self, labels: Tensor) -> Tensor:
        """The divisor of each term's sum over pixels, for labels (B, H, W); float32 (terms,).

        Of the labels alone, so that it can be averaged over the micro-batches and processes of one optimiser step and
        handed to `forward`: their mean is then the joint batch's loss, however unevenly ignored pixels are spread.
        Entries of terms that are no sum over pixels (both OHEM forms, Lovasz, Dice) are ones and not used.
        """
        return torch.stack([self._divisor(index, labels) for index in range(len(self.terms))])

    def forward(
        self,
        output: SegOutput,
        labels: Tensor,
        divisors: Tensor | None = None,
        *,
        align_corners: AlignCorners | None = None,
        teacher: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The weighted terms by name, and their sum as "total"; float32 scalars.

        Args:
            output: logits (B, K, h, w).
            labels: (B, H, W) int64, 0..K-1 or `IGNORE`.
            divisors: see the method of that name; of these labels alone by default, as in the papers' code.
            align_corners: how logits are brought to the labels' resolution, bilinearly and in float32, each map once:
                when the first term reads it, and it is dropped after the last. None where they have it already.
            teacher: logits (B, K, H, W) of the labels' size, which Distillation terms read.

        Raises:
            ValueError: on an output that a term names and the network lacks, on another resolution, on class weights
                that are not one per class, and on a teacher's logits that are missing or of another shape.
        """
        if divisors is None:
            divisors = self.divisors(labels)
        known = {"main": output.logits, **output.auxiliary}
        ready: dict[str, Tensor] = {}
        losses: dict[str, Tensor] = {}
        with torch.autocast(labels.device.type, enabled=False):
            for index, term in enumerate(self.terms):
                for name in outputs_of(term):
                    if name not in ready:
                        ready[name] = _grown(_of(known, name), labels, align_corners)
                value = self._term(index, term, ready, labels, divisors[index], teacher)
                losses[self.names[index]] = term.weight * value
                for name in outputs_of(term):
                    if self._last_readers[name] == index:
                        ready.pop(name, None)
            losses["total"] = torch.stack(list(losses.values())).sum()
        return losses

    def _class_weights(self, index: int) -> Tensor | None:
        weights = getattr(self, f"class_weights_{index}")
        assert weights is None or isinstance(weights, Tensor)
        return weights

    def _divisor(self, index: int, labels: Tensor) -> Tensor:
        match self.terms[index]:
            case CrossEntropy(divisor="valid") | Focal():
                return labelled_weight(labels, self._class_weights(index))
            case CrossEntropy() | Distillation():
                return torch.full((), labels.numel(), device=labels.device, dtype=torch.float32)
            case _:
                return torch.ones((), device=labels.device, dtype=torch.float32)

    def _term(
        self,
        index: int,
        term: LossTerm,
        maps: dict[str, Tensor],
        labels: Tensor,
        divisor: Tensor,
        teacher: Tensor | None,
    ) -> Tensor:
        names = outputs_of(term)
        logits = torch.stack([maps[name] for name in names]).sum(0) if len(names) > 1 else maps[names[0]]
        if logits.shape[-2:] != labels.shape[-2:]:
            raise ValueError(
                f"{self.names[index]}: logits of {tuple(logits.shape[-2:])} and labels of {tuple(labels.shape[-2:])};"
                " say how to bring the outputs to the labels' size with align_corners"
            )
        match term:
            case CrossEntropy():
                weights = self._class_weights(index)
                if weights is not None and len(weights) != logits.shape[1]:
                    raise ValueError(f"{self.names[index]}: {len(weights)} class weights for {logits.shape[1]} classes")
                return safe_mean(pixel_cross_entropy(logits, labels, weights).sum(), divisor)
            case Focal():
                return safe_mean(focal_pixels(pixel_cross_entropy(logits, labels), term.gamma).sum(), divisor)
            case OhemCrossEntropy():
                return ohem_cross_entropy(logits, labels, threshold=term.threshold, min_kept=term.min_kept)
            case OhemSearchCrossEntropy():
                return ohem_search_cross_entropy(
                    logits, labels, threshold=term.threshold, min_kept=term.min_kept, factor=term.factor
                )
            case Lovasz():
                return lovasz_softmax(logits, labels)
            case Dice():
                return soft_dice(logits, labels)
            case Distillation():
                if teacher is None or teacher.shape != logits.shape:
                    found = "none" if teacher is None else f"those of shape {tuple(teacher.shape)}"
                    raise ValueError(
                        f"{self.names[index]}: needs a teacher's logits of shape {tuple(logits.shape)}, got {found}"
                    )
                return distillation_pixels(logits, teacher, term.temperature).sum() / divisor


def outputs_of(term: LossTerm) -> tuple[str, ...]:
    """The names of the outputs that a term reads."""
    return term.outputs if isinstance(term, Lovasz) else (term.output,)


def _of(known: dict[str, Tensor], name: str) -> Tensor:
    if name not in known:
        have = ", ".join(known)
        raise ValueError(f"a loss term reads the output {name!r}; this network has {have}.{nearest(name, known)}")
    return known[name]


def _grown(logits: Tensor, labels: Tensor, align_corners: AlignCorners | None) -> Tensor:
    # Plain memory order while they are small: the softmax over classes would copy them into it when they are large.
    logits = logits.float().contiguous()
    return logits if align_corners is None else resize(logits, labels.shape[-2:], align_corners=align_corners)


def _names(terms: tuple[LossTerm, ...]) -> tuple[str, ...]:
    """ "OUTPUT.KIND" of each term, with a count where two terms share it."""
    seen: Counter[str] = Counter()
    names = []
    for term in terms:
        output = "+".join(outputs_of(term))
        name = f"{output}.{KIND_NAMES[type(term)]}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return tuple(names)
