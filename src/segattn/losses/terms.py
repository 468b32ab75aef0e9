"""Loss terms as data: one frozen description a term. `losses/total.py` sums them. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segattn.contracts import ABOVE_ZERO_TO_ONE, COUNT_OR_NONE, FRACTION, NOT_NEGATIVE, Range, check


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Softmax cross-entropy of one output.

    Attributes:
        output: "main" or the name of an auxiliary map.
        divisor: of the sum over labelled pixels: the number of labelled pixels, or of all pixels (mmsegmentation).
        class_weights: one factor per class; with them the "valid" divisor is the sum of the pixels' factors.
    """

    output: str = "main"
    weight: float = 1.0
    divisor: Literal["valid", "all"] = "valid"
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check(self, weight=NOT_NEGATIVE, class_weights=NOT_NEGATIVE)
        if self.class_weights is not None and not any(self.class_weights):
            raise ValueError("class_weights: expected one of them or more above 0")


@dataclass(frozen=True, kw_only=True)
class OhemCrossEntropy:
    """AttaNet's online hard examples: the mean over pixels whose loss is above -ln(threshold), `min_kept` at least.

    `min_kept` counts over the whole batch of one process (half the crop's pixels in the paper's recipe).
    """

    output: str = "main"
    weight: float = 1.0
    threshold: float = 0.7
    min_kept: int

    def __post_init__(self) -> None:
        check(self, weight=NOT_NEGATIVE, threshold=ABOVE_ZERO_TO_ONE, min_kept=COUNT_OR_NONE)


@dataclass(frozen=True, kw_only=True)
class OhemSearchCrossEntropy:
    """ACFNet's online hard examples: the threshold on the true class's probability is searched on a 1/`factor` map."""

    output: str = "main"
    weight: float = 1.0
    threshold: float = 0.7
    min_kept: int = 100_000
    factor: int = 8

    def __post_init__(self) -> None:
        check(self, weight=NOT_NEGATIVE, threshold=FRACTION, min_kept=COUNT_OR_NONE)
        check(self, factor=Range(1, 1024, "1 to 1024"))


@dataclass(frozen=True, kw_only=True)
class Lovasz:
    """Lovasz-softmax (arXiv 1705.08790) of the sum of `outputs`, over the classes present in the batch."""

    outputs: tuple[str, ...] = ("main",)
    weight: float = 1.0

    def __post_init__(self) -> None:
        check(self, weight=NOT_NEGATIVE)
        if not self.outputs:
            raise ValueError('outputs (): expected one or more, such as "main"')


@dataclass(frozen=True, kw_only=True)
class Dice:
    """1 - soft Dice of each class present in the batch, averaged."""

    output: str = "main"
    weight: float = 1.0

    def __post_init__(self) -> None:
        check(self, weight=NOT_NEGATIVE)


@dataclass(frozen=True, kw_only=True)
class Focal:
    """Cross-entropy times (1 - p) ** gamma (arXiv 1708.02002), averaged over labelled pixels."""

    output: str = "main"
    weight: float = 1.0
    gamma: float = 2.0

    def __post_init__(self) -> None:
        check(self, weight=NOT_NEGATIVE, gamma=NOT_NEGATIVE)


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The Kullback-Leibler divergence of the output's class probabilities from a teacher's (arXiv 1503.02531).

    Logits of both are divided by `temperature` before the softmax, and the divergence is multiplied by its square, so
    that gradients keep their size. It is averaged over all pixels: those that nobody has labelled teach too. The
    teacher is `training.teacher`; its main logits are what every output is compared with.
    """

    output: str = "main"
    weight: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check(self, weight=NOT_NEGATIVE, temperature=Range(0.01, 1000, "0.01 to 1000"))


LossTerm = CrossEntropy | OhemCrossEntropy | OhemSearchCrossEntropy | Lovasz | Dice | Focal | Distillation
