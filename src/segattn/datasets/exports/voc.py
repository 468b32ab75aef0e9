"""Palette PNGs in VOC's layout, as CVAT imports them as "Segmentation mask 1.1".

JPEGImages/, SegmentationClass/, ImageSets/Segmentation/SPLIT.txt and labelmap.txt, which names each index's colour.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, Classes
from segattn.datasets.base import distinct_colours
from segattn.datasets.palette import palette_png
from segattn.files import write_file

_VOID = (224, 224, 192)


class PaletteWriter:
    """Writes a mask for each image, and the lists at the end."""

    def __init__(self, target: Path, split: str, classes: Classes) -> None:
        self.target, self.split = target, split
        colours = classes.palette
        self.notes: list[str] = []
        self.shapes = 0
        if len(set(colours)) < len(colours) or _VOID in colours:
            colours = distinct_colours(len(classes))
            self.notes.append("two classes have the same colour, so that all were given others")
        self._rows = dict(zip(classes.names, colours, strict=True)) | {"ignore": _VOID}
        self._palette = dict(enumerate(colours)) | {IGNORE: _VOID}
        self._listed: list[str] = []

    def image_path(self, name: str, suffix: str) -> Path:
        return self.target / "JPEGImages" / f"{name}{suffix}"

    def add(self, name: str, suffix: str, ids: NDArray[np.uint8]) -> None:
        """Write the mask of training ids (H, W). Raises OSError."""
        write_file(self.target / "SegmentationClass" / f"{name}.png", palette_png(ids, self._palette))
        self._listed.append(name)
        self.shapes += len(np.unique(ids))

    def finish(self) -> None:
        """Write labelmap.txt and the list of the split. Raises OSError."""
        rows = [f"{name}:{','.join(map(str, colour))}::" for name, colour in self._rows.items()]
        write_file(self.target / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *rows, ""]).encode())
        listed = "".join(f"{name}\n" for name in self._listed)
        write_file(
            self.target / "ImageSets/Segmentation" / f"{self.split}.txt", listed.encode(errors="surrogateescape")
        )
