from __future__ import annotations

import random

import pytest

from segattn.reports.highlights import KEPT, SHOWN, Highlights


def filled(scores: list[float]) -> Highlights[float]:
    highlights = Highlights[float]()
    for number, score in enumerate(scores):
        highlights.offer(score, number, lambda score=score: score)
    return highlights


def test_best_middle_and_worst_are_exact_while_all_are_kept() -> None:
    scores = [float(score) for score in range(KEPT - 1)]
    random.Random(0).shuffle(scores)
    best, middle, worst = filled(scores).choose()
    assert best == [38, 37, 36]
    assert middle == [20, 19, 18]
    assert worst == [0, 1, 2]


@pytest.mark.parametrize("order", ["shuffled", "rising", "falling", "from the ends"])
def test_a_long_stream_gives_the_exact_ends_and_the_middle_nearly(order: str) -> None:
    scores = [float(score) for score in range(2000)]
    if order == "shuffled":
        random.Random(0).shuffle(scores)
    elif order == "falling":
        scores.reverse()
    elif order == "from the ends":
        scores.sort(key=lambda score: -abs(score - 1000))
    best, middle, worst = filled(scores).choose()
    assert best == [1999, 1998, 1997]
    assert worst == [0, 1, 2]
    assert len(set(middle)) == SHOWN
    assert all(abs(score - 999.5) < 0.05 * 2000 for score in middle)
    assert middle == sorted(middle, reverse=True)


def test_only_a_few_items_are_ever_kept_or_made_in_vain() -> None:
    highlights = Highlights[object]()
    made = []
    for score in range(500):
        highlights.offer(0.1 * score, score, lambda: made.append(1) or object())
        assert highlights.kept <= KEPT
        assert highlights.kept == min(score + 1, KEPT)


def test_an_item_that_is_not_kept_is_not_made() -> None:
    generator, made = random.Random(0), list[int]()
    highlights = Highlights[int]()
    for number in range(2000):
        highlights.offer(generator.random(), number, lambda number=number: made.append(number) or number)
    assert len(made) < 1000
    assert {item for group in highlights.choose() for item in group} <= set(made)


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (7, (2, 2, 2)), (9, (3, 3, 3))]
)
def test_no_item_is_shown_twice(count: int, sizes: tuple[int, int, int]) -> None:
    groups = filled([float(score) for score in range(count)]).choose()
    assert tuple(map(len, groups)) == sizes
    shown = [score for group in groups for score in group]
    assert len(set(shown)) == len(shown)


def test_equal_scores_are_items_of_their_own() -> None:
    highlights = Highlights[int]()
    for number in range(100):
        highlights.offer(50.0, number, lambda number=number: number)
    best, middle, worst = highlights.choose()
    assert len({*best, *middle, *worst}) == 9


@pytest.mark.parametrize("world", [2, 3])
def test_shards_of_a_stream_add_up_to_it(world: int) -> None:
    scores = [float(score) for score in range(KEPT)] + [7.0]  # a tie: the higher number is the better
    random.Random(1).shuffle(scores)
    whole, parts = Highlights[int](), [Highlights[int]() for _ in range(world)]
    for number, score in list(enumerate(scores))[:KEPT]:
        for stream in (whole, parts[number % world]):
            stream.offer(score, number, lambda number=number: number)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.choose() == whole.choose()
