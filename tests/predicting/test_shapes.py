"""Polygons and run lengths give back the pixels that they were made of."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from segattn.contracts import Classes
from segattn.predicting.shapes import polygons, run_lengths

CLASSES = Classes.of(["a", "b", "c", "d"])


def rings() -> np.ndarray:
    """Rings in rings, pixels of their own, a line, and what is not labelled."""
    labels = np.zeros((40, 60), np.uint8)
    for value, radius in ((1, 18), (2, 14), (1, 10), (0, 5)):
        cv2.circle(labels, (25, 20), radius, value, -1)
    labels[3, 50:] = 2
    labels[10, 55] = labels[11, 56] = 1
    labels[35:] = 255
    return labels


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, (30, 41), np.uint8)


@pytest.mark.parametrize("labels", [rings(), noise(), np.zeros((1, 1), np.uint8)], ids=["rings", "noise", "pixel"])
def test_polygons_drawn_again(labels: np.ndarray) -> None:
    drawn = np.full(labels.shape, 255, np.uint8)
    for name, pieces in polygons(labels, CLASSES).items():
        for piece in pieces:
            inside = np.zeros(labels.shape, np.uint8)
            cv2.fillPoly(inside, [piece.outer, *piece.holes], 1)
            drawn[inside == 1] = CLASSES.names.index(name)
    assert np.array_equal(drawn, labels)


def test_pieces_and_holes() -> None:
    found = polygons(rings(), CLASSES)
    assert list(found) == ["a", "b", "c"]
    assert sorted(len(piece.holes) for piece in found["c"]) == [0, 1]
    assert len(found["b"]) == 3


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
@pytest.mark.parametrize("labels", [rings(), noise()], ids=["rings", "noise"])
def test_run_lengths_as_pycocotools_reads_them(labels: np.ndarray) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    found = run_lengths(labels, CLASSES)
    assert list(found) == ["a", "b", "c"]
    for name, coded in found.items():
        assert coded["size"] == list(labels.shape)
        assert np.array_equal(mask.decode(coded) == 1, labels == CLASSES.names.index(name))


def test_nothing_labelled() -> None:
    nothing = np.full((4, 5), 255, np.uint8)
    assert polygons(nothing, CLASSES) == run_lengths(nothing, CLASSES) == {}
