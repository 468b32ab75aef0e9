"""Folders of images with masks of chosen ids, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def classes(*names: str) -> str:
    """The lines of a dataset.yaml for classes of these names, as they are written in it."""
    rows = (f"  - {{name: {name}, color: [{number}, 0, 0]}}\n" for number, name in enumerate(names))
    return "classes:\n" + "".join(rows)


def put(path: Path, ids: Sequence[int] | None = None, side: int = 48) -> None:
    """Write an image, or a mask whose columns hold these ids in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if ids is None:
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    else:
        columns = np.resize(np.array(ids, np.uint16 if max(ids) > 255 else np.uint8), side)
        pixels = np.broadcast_to(columns, (side, side)).copy()
    assert cv2.imwrite(str(path), pixels)


def own_data(root: Path, text: str, *masks: Sequence[int], split: str = "train") -> Path:
    """A data set with this dataset.yaml, and an image for each mask."""
    for number, ids in enumerate(masks):
        put(root / f"images/{split}/p{number}.jpg")
        put(root / f"masks/{split}/p{number}.png", ids)
    root.mkdir(exist_ok=True)
    (root / "dataset.yaml").write_text(text, encoding="utf-8")
    return root
