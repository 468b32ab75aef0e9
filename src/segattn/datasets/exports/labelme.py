"""Labelme: SPLIT/NAME.json beside its image, polygons that are drawn one over the other.

Labelme's polygons have no holes. So each connected piece of a class becomes the polygon of its outer border, and
larger ones come first: what lies in a hole is a piece of its own (of background, where it is that) and is drawn over
it. The polygons are drawn again as Labelme draws them and compared with the labels. Where pieces that touch by
corners cross each other, pixels differ: these are drawn over in further polygons, and what is still wrong then in
shapes of kind mask.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segattn.contracts import IGNORE, Classes
from segattn.datasets.imports.rasterize import Patch, pil_polygon
from segattn.datasets.imports.source import BACKGROUND
from segattn.files import write_file

_MOST_PIECES = 20_000
_MENDINGS = 4


class _Piece(NamedTuple):
    """A connected piece: what it encloses in pixels, its id, its outer border (n, 2), and its own pixels."""

    area: int
    value: int
    border: NDArray[np.float64]
    filled: Patch
    own: Patch


class LabelmeWriter:
    """Writes a JSON file for each image, and labels.txt at the end."""

    def __init__(self, target: Path, split: str, classes: Classes) -> None:
        self.target, self.split = target, split
        spelled = ("_background_" if name == BACKGROUND else name for name in classes.names)
        self._names = dict(enumerate(spelled)) | {IGNORE: "__ignore__"}
        self.notes: list[str] = []
        self.shapes = self._masks = 0

    def image_path(self, name: str, suffix: str) -> Path:
        return self.target / self.split / f"{name}{suffix}"

    def add(self, name: str, suffix: str, ids: NDArray[np.uint8]) -> None:
        """Write the shapes of an image's training ids (H, W). Raises ValueError for too many pieces; OSError."""
        shapes, masks = self._shapes_of(ids)
        self.shapes += len(shapes)
        self._masks += masks
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": Path(f"{name}{suffix}").name,
            "imageData": None,
            "imageHeight": ids.shape[0],
            "imageWidth": ids.shape[1],
        }
        path = self.target / self.split / f"{name}.json"
        write_file(path, json.dumps(content, indent=1).encode(errors="backslashreplace"))

    def finish(self) -> None:
        """Write labels.txt, as `labelme --labels` takes it. Raises OSError."""
        others = [name for value, name in self._names.items() if value != IGNORE and name != "_background_"]
        write_file(
            self.target / "labels.txt", "".join(f"{n}\n" for n in ["__ignore__", "_background_", *others]).encode()
        )
        if self._masks:
            self.notes.append(f"{self._masks} pieces became masks, as a polygon would not be exact")
        self.notes.append("polygons have no holes: what lies in one is drawn over it, so keep the order of the shapes")

    def _shapes_of(self, ids: NDArray[np.uint8]) -> tuple[list[dict[str, Any]], int]:
        """The shapes of an image, and how many of them are masks."""
        drawn = np.full(ids.shape, self._blank(), np.uint8)
        shapes: list[dict[str, Any]] = []
        for round_ in range(1 + _MENDINGS):
            wrong = drawn != ids
            if not wrong.any():
                return shapes, 0
            where, connectivity = (wrong, 4) if round_ else (np.ones_like(wrong), 8)
            for piece in _pieces(ids, where, connectivity, _MOST_PIECES - len(shapes)):
                top, left, own = piece.own
                if (drawn[top : top + own.shape[0], left : left + own.shape[1]][own] == piece.value).all():
                    continue
                top, left, inside = piece.filled
                drawn[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = piece.value
                shapes.append(_shape(self._names[piece.value], piece.border.tolist(), "polygon"))
        polygons = len(shapes)
        for piece in _pieces(ids, drawn != ids, 4, _MOST_PIECES - polygons):
            top, left, own = piece.own
            corners = [[left, top], [left + own.shape[1] - 1, top + own.shape[0] - 1]]
            shapes.append(_shape(self._names[piece.value], corners, "mask") | {"mask": _png(own)})
        return shapes, len(shapes) - polygons

    def _blank(self) -> int:
        """The id of what no shape covers; one that no pixel has where there is no background."""
        return next((value for value, name in self._names.items() if name == "_background_"), 254)


def _pieces(ids: NDArray[np.uint8], where: NDArray[np.bool_], connectivity: int, most: int) -> list[_Piece]:
    """The connected pieces of each id's pixels that are in `where`, those first that enclose most."""
    pieces: list[_Piece] = []
    for value in np.flatnonzero(np.bincount(ids[where], minlength=256)).tolist():
        part = (where & (ids == value)).astype(np.uint8)
        count, numbers, boxes, _ = cv2.connectedComponentsWithStats(part, connectivity=connectivity)
        if len(pieces) + count - 1 > most:
            raise ValueError(
                f"more than {_MOST_PIECES} pieces: too many polygons to correct; export as coco or palette"
            )
        for number in range(1, count):
            left, top, width, height = boxes[number, :4].tolist()
            own = numbers[top : top + height, left : left + width] == number
            borders, _ = cv2.findContours(
                own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
            )
            border = borders[0].reshape(-1, 2).astype(np.float64)
            border = np.concatenate([border, *[border[-1:]] * max(0, 3 - len(border))])  # Labelme wants three points
            filled = pil_polygon(border, ids.shape)
            pieces.append(_Piece(int(filled.inside.sum()), value, border, filled, Patch(top, left, own)))
    return sorted(pieces, key=lambda piece: -piece.area)


def _shape(label: str, points: list[Any], kind: str) -> dict[str, Any]:
    return {
        "label": label, "points": points, "group_id": None, "description": "", "shape_type": kind, "flags": {},
        "mask": None,
    }  # fmt: skip


def _png(inside: NDArray[np.bool_]) -> str:
    file = io.BytesIO()
    Image.fromarray(inside.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
