"""The best, middle and worst images of an evaluation."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from segattn.evaluation.metrics import ImageScore

T = TypeVar("T")


SHOWN = 3
"""Items at most of each group."""


KEPT = 40
"""Items at most that are kept at any time."""


class Groups(NamedTuple, Generic[T]):
    """Chosen items, no item twice: best first, middle from high to low, worst first."""

    best: list[T]
    middle: list[T]
    worst: list[T]


class Highlights(Generic[T]):
    """Picks items of a stream by score.

    All scores are kept, and `KEPT` items. The best and the worst are exact. The middle is exact up to `KEPT` items;
    beyond that it is what lies nearest to the median among items that are kept spread over all ranks, ten times as
    densely around the median, since that moves while the stream goes on.
    """

    def __init__(self) -> None:
        self._ranking: list[tuple[float, int]] = []
        self._kept: list[tuple[float, int]] = []
        self._items: dict[int, T] = {}

    @property
    def kept(self) -> int:
        """Items that are kept now."""
        return len(self._items)

    def offer(self, score: float, number: int, make: Callable[[], T]) -> None:
        """One more item, which is made only if it is kept. Of equal scores the higher number counts as the better."""
        entry = (score, number)
        insort(self._ranking, entry)
        insort(self._kept, entry)
        if len(self._kept) > KEPT:
            dropped = self._least_useful()
            self._kept.remove(dropped)
            if dropped == entry:
                return
            del self._items[dropped[1]]
        self._items[number] = make()

    def __add__(self, other: Highlights[T]) -> Highlights[T]:
        """Of both streams, whose numbers differ. The best and the worst are exact again, and all up to `KEPT` items."""
        both = Highlights[T]()
        both._ranking = sorted(self._ranking + other._ranking)
        both._kept = sorted(self._kept + other._kept)
        both._items = {**self._items, **other._items}
        return both

    def choose(self) -> Groups[T]:
        """At most `SHOWN` items of each group; fewer, and the same number of each, where there are few."""
        count = len(self._ranking)
        size = min(SHOWN, max(1, count // 3))
        best = self._kept[::-1][:size]
        worst = [entry for entry in self._kept[:size] if entry not in best]
        between = [entry for entry in self._kept if entry not in best and entry not in worst]
        between.sort(key=lambda entry: abs(self._rank(entry) - (count - 1) / 2))
        middle = sorted(between[:size], reverse=True)
        return Groups(*([self._items[number] for _, number in group] for group in (best, middle, worst)))

    def _least_useful(self) -> tuple[float, int]:
        """The entry whose absence leaves the least gap, gaps near the median weighing more; never an extreme one."""
        ranks = [self._rank(entry) for entry in self._kept]
        median = (len(self._ranking) - 1) / 2

        def cost(place: int) -> float:
            distance = abs(ranks[place] - median) / len(self._ranking)  # 0 to 1/2
            return (ranks[place + 1] - ranks[place - 1]) / (0.05 + distance)

        return self._kept[min(range(SHOWN, len(self._kept) - SHOWN), key=cost)]

    def _rank(self, entry: tuple[float, int]) -> int:
        return bisect_left(self._ranking, entry)


@dataclass(frozen=True)
class ImageResult:
    """One image as it is shown.

    Attributes:
        pictures: JPEG files by what they show: "picture", "prediction", "truth", "mistakes".
        size: (width, height) of each.
        classes: ids and IoU in percent of the classes in its labels or prediction, the largest first.
    """

    score: ImageScore
    pictures: dict[str, bytes]
    size: tuple[int, int]
    classes: tuple[tuple[int, float], ...]
