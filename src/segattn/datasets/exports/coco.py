"""COCO: annotations/instances_SPLIT.json and images/SPLIT/, one run-length mask for each class in an image.

Pixels of the class background have no annotation, as COCO has none for it; pixels that neither train nor score are of a
category `ignore`, which `segattn data import coco` reads as 255 again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, Classes
from segattn.datasets.formats import encode_rle
from segattn.datasets.imports.source import BACKGROUND
from segattn.files import write_file


class CocoWriter:
    """Collects annotations, and writes them all at the end."""

    def __init__(self, target: Path, split: str, classes: Classes) -> None:
        self.target, self.split, self._names = target, split, classes.names
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.shapes = 0

    def image_path(self, name: str, suffix: str) -> Path:
        return self.target / "images" / self.split / f"{name}{suffix}"

    def add(self, name: str, suffix: str, ids: NDArray[np.uint8]) -> None:
        """Note the training ids (H, W) of an image."""
        number = len(self._images) + 1
        height, width = ids.shape
        self._images.append({"id": number, "file_name": f"{name}{suffix}", "height": height, "width": width})
        for value in np.flatnonzero(np.bincount(ids.ravel(), minlength=256)).tolist():
            if value != IGNORE and self._names[value] == BACKGROUND:
                continue
            inside = ids == value
            rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            left, top = int(columns[0]), int(rows[0])
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": len(self._names) + 1 if value == IGNORE else value + 1,
                    "segmentation": encode_rle(inside),
                    "area": int(inside.sum()),
                    "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                    "iscrowd": 0,
                }
            )
        self.shapes = len(self._annotations)

    def finish(self) -> None:
        """Write the JSON file. Raises OSError."""
        names = [*self._names, "ignore"]
        used = {row["category_id"] for row in self._annotations}
        categories = [
            {"id": number, "name": name, "supercategory": ""}
            for number, name in enumerate(names, 1)
            if name != BACKGROUND and (number <= len(self._names) or number in used)
        ]
        if len(names) in used:
            self.notes.append("pixels that neither train nor score are of the category ignore")
        content = {
            "info": {"description": "written by segattn"},
            "licenses": [],
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories,
        }
        path = self.target / "annotations" / f"instances_{self.split}.json"
        write_file(path, json.dumps(content).encode(errors="backslashreplace"))
