from __future__ import annotations

import random

import pytest

from segattn.evaluation.metrics import ImageScore
from segattn.reports.highlights import SHOWN, choose


def scored(scores: list[float]) -> list[ImageScore]:
    return [ImageScore(index, f"image {index}", f"{index}.png", score, score) for index, score in enumerate(scores)]


def chosen(scores: list[float]) -> tuple[list[float], ...]:
    return tuple([image.miou for image in group] for group in choose(scored(scores)))


@pytest.mark.parametrize("count", [39, 2001])
@pytest.mark.parametrize("order", ["shuffled", "rising", "falling", "from the ends"])
def test_best_middle_and_worst_are_exact_whatever_the_order(order: str, count: int) -> None:
    scores = [float(score) for score in range(count)]
    if order == "shuffled":
        random.Random(0).shuffle(scores)
    elif order == "falling":
        scores.reverse()
    elif order == "from the ends":
        scores.sort(key=lambda score: -abs(score - count // 2))
    half = float(count // 2)
    assert chosen(scores) == ([count - 1, count - 2, count - 3], [half + 1, half, half - 1], [0, 1, 2])


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (7, (2, 2, 2)), (9, (3, 3, 3))]
)
def test_no_image_is_shown_twice(count: int, sizes: tuple[int, int, int]) -> None:
    groups = choose(scored([float(score) for score in range(count)]))
    assert tuple(map(len, groups)) == sizes
    shown = [image.index for group in groups for image in group]
    assert len(set(shown)) == len(shown)


def test_equal_scores_are_images_of_their_own_and_the_later_one_is_the_better() -> None:
    best, middle, worst = choose(scored([50.0] * 100))
    assert [image.index for image in best] == [99, 98, 97]
    assert [image.index for image in worst] == [0, 1, 2]
    assert len({image.index for image in [*best, *middle, *worst]}) == 3 * SHOWN


def test_images_without_a_labelled_pixel_are_never_chosen() -> None:
    nan = float("nan")
    assert chosen([nan, 3.0, nan, 1.0, 2.0, nan]) == ([3.0], [2.0], [1.0])
    assert chosen([nan, nan]) == ([], [], [])


@pytest.mark.parametrize("world", [2, 3])
def test_the_order_in_which_processes_bring_the_scores_is_no_matter(world: int) -> None:
    images = scored([float(score % 7) for score in range(50)])
    shards = [image for rank in range(world) for image in images[rank::world]]
    assert choose(shards) == choose(images)
