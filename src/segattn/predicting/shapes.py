"""Label maps as polygons and as COCO's run lengths, by class."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes
from segattn.datasets.formats import encode_rle


class Polygon(NamedTuple):
    """A connected piece of a class: the centres of its border's pixels, as (n, 2) int32 x and y.

    ``cv2.fillPoly(mask, [outer, *holes], 1)`` draws exactly its pixels.

    Attributes:
        outer: the outer border.
        holes: the piece's own pixels around each of its holes.
    """

    outer: NDArray[np.int32]
    holes: tuple[NDArray[np.int32], ...]


def polygons(labels: NDArray[np.uint8], classes: Classes) -> dict[str, list[Polygon]]:
    """The pieces of each class that occurs, pixels that touch by corners being of one piece.

    Args:
        labels: (H, W) training ids; ids without a class are left out.
    """
    found = {}
    for name, inside in _masks(labels, classes):
        contours, hierarchy = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        borders = [contour.reshape(-1, 2).astype(np.int32) for contour in contours]
        parents: list[int] = hierarchy[0, :, 3].tolist()
        holes: dict[int, list[NDArray[np.int32]]] = {index: [] for index, parent in enumerate(parents) if parent < 0}
        for border, parent in zip(borders, parents, strict=True):
            if parent >= 0:
                holes[parent].append(border)
        found[name] = [Polygon(borders[index], tuple(inner)) for index, inner in holes.items()]
    return found


def run_lengths(labels: NDArray[np.uint8], classes: Classes) -> dict[str, dict[str, Any]]:
    """COCO's packed run lengths of each class that occurs: "size" [H, W] and "counts", a text.

    Args:
        labels: (H, W) training ids; ids without a class are left out.
    """
    return {name: encode_rle(inside) for name, inside in _masks(labels, classes)}


def _masks(labels: NDArray[np.uint8], classes: Classes) -> list[tuple[str, NDArray[np.bool_]]]:
    occurring = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[: len(classes)]).tolist()
    return [(classes.names[index], labels == index) for index in occurring]
