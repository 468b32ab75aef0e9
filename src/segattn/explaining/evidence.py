"""Every network: class scores, the margin between the two best, and evidence for a pixel's class by gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.contracts import Head
from segattn.explaining.panels import (
    Array,
    BarsPanel,
    Hook,
    Idea,
    MapPanel,
    Part,
    Pixel,
    Scene,
    Target,
    as_array,
)
from segattn.models.segmenter import Segmenter

BLANKED = 0.1
"""Share of the cells that the check blanks."""


class Margin(Idea):
    """`class_scores` (K,): softmax of the logits at the asked pixel, resized as `predict` resizes them; sums to 1.

    `margin` (h, w), at the resolution of the logits: the softmax of the best class less that of the second, 0..1.
    """

    name = "margin"

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> Margin | None:
        return cls() if model.num_classes > 1 else None

    def hooks(self) -> list[Hook]:
        return []

    def part(self, scene: Scene) -> Part:
        names = scene.model.classes.names
        best = scene.logits.softmax(1).topk(2, dim=1).values[0]
        margin = as_array(best[0] - best[1])

        def scores(pixels: Sequence[Pixel]) -> list[Array]:
            return list(scene.scores(pixels))

        (own,) = scores([scene.target[:2]])
        first, second = (int(i) for i in np.argsort(-own, kind="stable")[:2])
        return Part(
            {"class_scores": own, "margin": margin},
            [
                BarsPanel(
                    name="class_scores",
                    title="Class scores of the pixel",
                    text=f"{names[first]} before {names[second]}, by {own[first] - own[second]:.3f}.",
                    unit="softmax, sums to 1",
                    values=own,
                    labels=names,
                    others=scores,
                ),
                MapPanel(
                    name="margin",
                    title="Margin between the two best classes",
                    text=f"The best class's softmax less the second's: small where the network wavers. "
                    f"{(margin < 0.2).mean():.0%} of the map has less than 0.2.",
                    unit="difference of softmax, 0 to 1",
                    values=margin,
                ),
            ],
        )


class Evidence(Idea):
    """`class_evidence` (h, w), of the resolution of A, the backbone's last map that the head reads: Grad-CAM.

    ReLU(sum_k a_k A_k), where a_k is the mean over the map of the gradient of the logit of the asked pixel's class at
    its cell by A_k (Vinogradova et al., 2020, arXiv 2002.11434, their set of one pixel); in the logit's unit.

    `evidence_check` (3,): that logit as it is, without the tenth of the cells of A that have the most evidence, and
    without as many drawn at random (always the same ones), where "without" puts the map's mean into a cell. The pixel's
    own cell is left alone in both. Evidence that means something lowers the logit by more than the random cells do.

    What costs is the head: once forward and back, and twice more for the check; of one with a `tail`, its end at a few
    cells only.
    """

    name = "evidence"

    def __init__(self, model: Segmenter, target: Target) -> None:
        self.model, self.target = model, target
        self.features: tuple[Tensor, ...] = ()

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> Evidence:
        return cls(model, target)

    def hooks(self) -> list[Hook]:
        assert isinstance(self.model.backbone, nn.Module)
        return [(self.model.backbone, self._read)]

    def _read(self, module: nn.Module, arguments: Any, output: tuple[Tensor, ...]) -> None:
        self.features = tuple(feature.detach().requires_grad_() for feature in output)

    def part(self, scene: Scene) -> Part:
        cell = self.target.cell(scene.logits.shape[-2:])

        def logit(features: tuple[Tensor, ...]) -> Tensor:
            return _logits_at(self.model.head, features, cell)[scene.chosen]

        with torch.enable_grad():
            own = logit(self.features)
        place, gradient = _last_gradient(own, self.features)
        before, last, after = self.features[:place], self.features[place].detach(), self.features[place + 1 :]
        size = last.shape[-2:]
        weights = gradient.mean((2, 3))[0]
        del own, gradient
        evidence = F.relu(torch.einsum("k,khw->hw", weights, last[0]))

        allowed = torch.ones(size, dtype=torch.bool, device=last.device)
        allowed[self.target.cell(size)] = False
        count = min(math.ceil(BLANKED * evidence.numel()), int(allowed.sum()))
        ranked = evidence.masked_fill(~allowed, -1).flatten().topk(count).indices
        drawn = np.random.default_rng(0).permutation(np.flatnonzero(allowed.cpu().numpy()))[:count]
        mean = last.mean((2, 3), keepdim=True)
        values = [scene.logits[0, scene.chosen][cell].item()]
        for cells in (ranked, torch.from_numpy(drawn).to(last.device)):
            blank = torch.zeros(evidence.numel(), dtype=torch.bool, device=last.device)
            blank[cells] = True
            values.append(float(logit((*before, torch.where(blank.view(size), mean, last), *after))))
        self.features = ()
        name = scene.model.classes.names[scene.chosen]
        as_is, without, at_random = values
        read = " that the head reads" if after else ""
        verdict = "" if without < at_random else " So here they matter no more than others."
        panel = MapPanel(
            name="class_evidence",
            title=f"Evidence for {name}",
            text=f"Which cells of the backbone's last map{read} speak for {name} at the pixel. Check: its logit is "
            f"{as_is:.2f}; {without:.2f} without the {count} strongest cells, {at_random:.2f} without as many "
            f"at random.{verdict}",
            unit="part of the logit",
            values=as_array(evidence),
            of_pixel=True,
        )
        return Part({"class_evidence": panel.values, "evidence_check": np.array(values, np.float32)}, [panel])


def _last_gradient(logit: Tensor, features: tuple[Tensor, ...]) -> tuple[int, Tensor]:
    """Of the last map that the logit depends on: its place and the gradient by it."""
    for place in reversed(range(len(features))):
        (gradient,) = torch.autograd.grad(logit, features[place], allow_unused=True)
        if gradient is not None:
            return place, gradient
    raise AssertionError("the head reads none of the backbone's maps")


def _logits_at(head: Head, features: tuple[Tensor, ...], cell: Pixel) -> Tensor:
    """(K,) main logits of one cell; what the head computes cell by cell at its end, only around that one."""
    tail = getattr(head, "tail", None)
    if tail is None:
        return head.main(features)[0, :, cell[0], cell[1]]
    path, reach = tail
    rows, columns = (slice(max(at - reach, 0), at + reach + 1) for at in cell)
    assert isinstance(head, nn.Module)
    handle = head.get_submodule(path).register_forward_pre_hook(lambda _, maps: maps[0][..., rows, columns])
    try:
        logits = head.main(features)
    finally:
        handle.remove()
    return logits[0, :, cell[0] - rows.start, cell[1] - columns.start]
