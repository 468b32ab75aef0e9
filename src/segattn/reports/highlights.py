"""The best, middle and worst images of an evaluation: which they are, and how they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np

from segattn.contracts import Classes, Sample
from segattn.evaluation.metrics import ImageScore
from segattn.pictures import Image, as_rgb, mistakes, overlay, resize_image, resize_labels
from segattn.reports.page import data_uri

T = TypeVar("T")

SHOWN = 3
"""Images at most of each group."""

WIDTH = 480
"""Of the images, at most; pixels."""

_QUALITY = 85


class Groups(NamedTuple, Generic[T]):
    """Chosen images, none twice: best first, middle from high to low, worst first."""

    best: list[T]
    middle: list[T]
    worst: list[T]


class Shown(NamedTuple):
    """One image as a page shows it.

    Attributes:
        size: (width, height) of each view.
        views: sources of JPEG images by what they show: "image", "prediction", "truth", "mistakes".
        ious: ids and IoU in percent of the classes in its labels or prediction, the largest first.
    """

    score: ImageScore
    size: tuple[int, int]
    views: dict[str, str]
    ious: tuple[tuple[int, float], ...]


def choose(images: Iterable[ImageScore]) -> Groups[ImageScore]:
    """At most `SHOWN` images of each group by their own mIoU, the middle ones nearest to the median rank.

    Images without a labelled pixel are left out. Where there are few, each group has fewer, and the same number. Of
    equal scores the higher index counts as the better.
    """
    labelled = (image for image in images if not math.isnan(image.miou))
    ranking = sorted(labelled, key=lambda image: (image.miou, image.index))
    count = len(ranking)
    size = min(SHOWN, max(1, count // 3))
    nearest = sorted(range(size, count - size), key=lambda rank: abs(rank - (count - 1) / 2))[:size]
    return Groups(
        best=ranking[::-1][:size],
        middle=[ranking[rank] for rank in sorted(nearest, reverse=True)],
        worst=ranking[: min(size, count - size)] if count else [],
    )


def drawn_size(width: int, height: int) -> tuple[int, int]:
    """The (width, height) at which an image of that size is drawn: twice the size at which it is shown, if it has that.

    So thin things survive, and the last step smooths edges.
    """
    shown = _shown_size(width, height)
    return shown if width < 2 * WIDTH else (2 * shown[0], 2 * shown[1])


def show(
    score: ImageScore, sample: Sample, labels: Image, classes: Classes, ious: tuple[tuple[int, float], ...]
) -> Shown:
    """Draw an image.

    Args:
        sample: with its mask.
        labels: predicted training ids, (H, W) of the `drawn_size`.
        ious: as `Shown.ious`.
    """
    assert sample.mask is not None
    size = labels.shape[1], labels.shape[0]
    image, mask = resize_image(as_rgb(sample.image), size), resize_labels(sample.mask, size)
    views = {
        "image": image,
        "prediction": overlay(image, labels, classes),
        "truth": overlay(image, mask, classes),
        "mistakes": mistakes(image, labels, mask),
    }
    shown = _shown_size(sample.image.shape[1], sample.image.shape[0])
    return Shown(score, shown, {name: _jpeg(view, shown) for name, view in views.items()}, ious)


def _shown_size(width: int, height: int) -> tuple[int, int]:
    return min(width, WIDTH), max(1, round(height * min(1.0, WIDTH / width)))


def _jpeg(image: Image, size: tuple[int, int]) -> str:
    if image.shape[1::-1] != size:
        image = resize_image(image, size)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return data_uri(np.asarray(data).tobytes(), "jpeg")
