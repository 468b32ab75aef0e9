"""Hamburger: its bases as maps, how much each explains, and what is not explained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segattn.attention.hamburger import MatrixFactorization
from segattn.explaining.panels import (
    Array,
    Hook,
    Idea,
    MapPanel,
    MapsPanel,
    Panel,
    Part,
    ProfilePanel,
    Scene,
    Target,
    as_array,
    last_of,
    percent,
)
from segattn.models.segmenter import Segmenter

SHOWN = 8
"""Bases that are drawn, those with the most energy."""


class Ham(Idea):
    """The factorisation X ~ W C^T of the features X (D, h w) into R bases, none of them negative.

    `ham_bases` (R, h, w): the coefficients C, where on the map each basis is used.
    `ham_spectra` (R, D): the bases W themselves, one row each.
    `ham_energy` (R,): the share of X's energy that each explains, <X, w_r c_r^T> / |X|^2; not negative, and the shares
    add up to <X, W C^T> / |X|^2, at the best factors the whole share that is explained.
    `ham_error` (): |X - W C^T| / |X|, of the whole map. `ham_error_map` (h, w): the same at each position.

    Where bases are drawn anew in evaluation, as in the released code, this is of a draw of its own.
    """

    name = "ham"

    def __init__(self, module: MatrixFactorization) -> None:
        self.module = module
        self.arrays: dict[str, Array] = {}

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> Ham | None:
        module = last_of(model, MatrixFactorization)
        return module and cls(module)

    def hooks(self) -> list[Hook]:
        return [(self.module, self._read)]

    def _read(self, module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        x = arguments[0]
        with torch.random.fork_rng(enabled=self.module.random_in_eval):  # drawing here changes no later draw
            X, W, C = (factor[0] for factor in self.module.factors(*arguments))
        whole = X.square().sum()
        rest = X - W @ C.mT
        h, w = x.shape[-2:]
        self.arrays = {
            "ham_bases": as_array(C.mT.view(-1, h, w)),
            "ham_spectra": as_array(W.mT),
            "ham_energy": as_array(((X.mT @ W) * C).sum(0) / whole),
            "ham_error": as_array((rest.square().sum() / whole).sqrt()),
            "ham_error_map": as_array((rest.square().sum(0) / X.square().sum(0).clamp(min=1e-12)).sqrt().view(h, w)),
        }

    def part(self, scene: Scene) -> Part:
        energy, error = self.arrays["ham_energy"], float(self.arrays["ham_error"])
        order = np.argsort(-energy, kind="stable")
        shown = order[:SHOWN]
        half = int((energy[order].cumsum() < 0.5 * energy.sum()).sum()) + 1
        panels: list[Panel] = [
            MapsPanel(
                name="ham_bases",
                title="Bases that explain the most",
                text=f"Where on the map each basis is used; {len(shown)} of {len(energy)}, each on its own scale.",
                unit="coefficient",
                values=self.arrays["ham_bases"][shown],
                labels=tuple(f"basis {i}: {percent(energy[i])} of the energy" for i in shown),
            ),
            ProfilePanel(
                name="ham_energy",
                title="Energy that each basis explains",
                text=f"Together {percent(float(energy.sum()))}; {half} of {len(energy)} bases explain half of that.",
                unit="share of the features' energy",
                values=energy[order],
                axis="bases, sorted by their energy",
            ),
            MapPanel(
                name="ham_error_map",
                title="What the bases do not explain",
                text="The length of what is left at each position, over that of the feature. "
                f"Of the whole map: {error:.3f}.",
                unit="relative error",
                values=self.arrays["ham_error_map"],
            ),
        ]
        return Part(self.arrays, panels)
