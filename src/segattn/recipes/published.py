"""Published size, cost and speed of networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Counting = Literal["macs", "torchprofile", "agent_script"]
"""Ways of counting operations: see `segattn.measure.complexity.CONVENTIONS`."""


@dataclass(frozen=True, kw_only=True)
class PublishedCost:
    """Figures as they are printed, beside which `segattn list`, `segattn show` and PAPERS.md put ours.

    Attributes:
        parameters: in millions, with those that only training uses.
        macs: multiply-accumulates in units of 1e9 for one image of the recipe's `data.count_at`, called FLOPs in the
            papers' tables.
        convention: how they were counted, a name of `segattn.measure.complexity.CONVENTIONS`.
        frames_per_second: with one image at a time.
        measured: the card and the sizes that the speed is of, in words.
        differs: why ours are not the figures, in words; empty where counting gives them to the last digit.
    """

    parameters: float | None = None
    macs: float | None = None
    convention: Counting = "macs"
    frames_per_second: float | None = None
    measured: str = ""
    differs: str = ""

    def __str__(self) -> str:
        """Such as "4.2 M parameters, 6.5 G multiply-accumulates"."""
        parts = [] if self.parameters is None else [f"{self.parameters:g} M parameters"]
        parts += [] if self.macs is None else [f"{self.macs:g} G multiply-accumulates"]
        parts += [] if self.frames_per_second is None else [f"{self.frames_per_second:g} frames/s on {self.measured}"]
        return ", ".join(parts) + (f" ({self.differs})" if self.differs else "")


def agrees(published: float, counted: float) -> bool:
    """Whether a count, in the figure's unit, rounds to the figure: to its one decimal, or to a whole number."""
    return round(counted, 1) == published or (float(published).is_integer() and round(counted) == published)
