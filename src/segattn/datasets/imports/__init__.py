"""The tools whose exports can be imported, each with its reader."""

from __future__ import annotations

from collections.abc import Callable

from segattn.datasets.imports import coco, cvat, label_studio, labelme, rgb, voc, yolo
from segattn.datasets.imports.source import Files, Found, Options

READERS: dict[str, Callable[[Files, Options], Found]] = {
    "coco": coco.read,
    "labelme": labelme.read,
    "cvat": cvat.read,
    "yolo": yolo.read,
    "label-studio": label_studio.read,
    "rgb": rgb.read,
    "voc": voc.read,
}
