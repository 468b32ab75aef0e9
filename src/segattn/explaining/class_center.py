"""ACFNet: the classes' centres, how alike they are, and of which a pixel's feature is mixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from segattn.attention.class_center import ClassFeature, centers_and_mix, class_centers
from segattn.explaining.panels import (
    Array,
    BarsPanel,
    Hook,
    Idea,
    MatrixPanel,
    Part,
    Pixel,
    Scene,
    Target,
    as_array,
    last_of,
)
from segattn.models.segmenter import Segmenter


class ClassCenters(Idea):
    """`class_centers` (K, C'): the mean feature of each class in this image, weighted by the coarse probabilities.

    `class_similarity` (K, K): cosine of each two centres, -1..1 (0..1 here, as features are not negative).
    `class_mix` (K,): the shares of the centres in the asked pixel's class feature; sums to 1.

    Networks with the formula of the unofficial released code have no centres, and so not this idea.
    """

    name = "class_centers"

    def __init__(self, module: ClassFeature, target: Target) -> None:
        self.module, self.target = module, target
        self.reduced: Tensor
        self.centers: Tensor
        self.mix: Tensor

    @classmethod
    def find(cls, model: Segmenter, target: Target) -> ClassCenters | None:
        module = last_of(model, ClassFeature)
        return cls(module, target) if module is not None and module.aggregate is class_centers else None

    def hooks(self) -> list[Hook]:
        return [(self.module.dropout, self._read_features), (self.module, self._read_coarse)]

    def _read_features(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        self.reduced = output

    def _read_coarse(self, module: nn.Module, arguments: tuple[Tensor, Tensor], output: Tensor) -> None:
        coarse = arguments[1]
        self.centers, mix = centers_and_mix(self.reduced, coarse)
        self.mix = mix.view(coarse.shape)
        del self.reduced

    def mixes(self, pixels: Sequence[Pixel]) -> Iterator[Array]:
        """(K,) of each pixel."""
        for pixel in pixels:
            row, column = self.target.cell(self.mix.shape[-2:], pixel)
            yield as_array(self.mix[0, :, row, column])

    def part(self, scene: Scene) -> Part:
        names = scene.model.classes.names
        centers = as_array(self.centers[0])
        unit = centers / np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-12)
        similarity = unit @ unit.T
        (mix,) = self.mixes([scene.target[:2]])
        apart = similarity - 2 * np.eye(len(similarity), dtype=similarity.dtype)
        one, other = divmod(int(apart.argmax()), len(apart))
        most = int(mix.argmax())
        return Part(
            {"class_centers": centers, "class_similarity": similarity, "class_mix": mix},
            [
                BarsPanel(
                    name="class_mix",
                    title="The pixel's mix of class centres",
                    text="The pixel's class feature is a mix of the centres, by the coarse probabilities: "
                    f"{mix[most]:.0%} {names[most]}.",
                    unit="share of the mix, sums to 1",
                    values=mix,
                    labels=names,
                    others=self.mixes,
                ),
                MatrixPanel(
                    name="class_similarity",
                    title="How alike the class centres are",
                    text="Cosine of each two centres in this image. The most alike are "
                    f"{names[one]} and {names[other]} ({similarity[one, other]:.3f}). Classes that are not in the "
                    "image have centres too: the mean of what looks a little like them.",
                    unit="cosine",
                    values=similarity,
                    axes=("class", "class"),
                    labels=names,
                ),
            ],
        )
