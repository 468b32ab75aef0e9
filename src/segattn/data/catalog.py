"""Data sets by name: the one list that recipes and the command line look names up in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segattn.contracts import Classes, nearest
from segattn.data.ade20k import ADE20K
from segattn.data.base import PairedDataset
from segattn.data.camvid import CamVid
from segattn.data.cityscapes import Cityscapes
from segattn.data.coco_stuff import COCOStuff10k
from segattn.data.folder import FolderDataset
from segattn.data.pascal_context import PascalContext, PascalContext60
from segattn.data.voc import VOC2012

DATASETS: dict[str, Callable[[str | Path, str], PairedDataset]] = {
    "ade20k": ADE20K,
    "camvid": CamVid,
    "cityscapes": Cityscapes,
    "coco_stuff10k": COCOStuff10k,
    "folder": FolderDataset,
    "pascal_context": PascalContext,
    "pascal_context60": PascalContext60,
    "voc2012": VOC2012,
}

CLASSES: dict[str, Classes] = {
    "ade20k": ADE20K.classes,
    "camvid": CamVid.classes,
    "cityscapes": Cityscapes.classes,
    "coco_stuff10k": COCOStuff10k.classes,
    "pascal_context": PascalContext.classes,
    "pascal_context60": PascalContext60.classes,
    "voc2012": VOC2012.classes,
}
"""The classes of the data sets that always have the same; a folder's are its own."""


def open_dataset(name: str, root: str | Path, split: str) -> PairedDataset:
    """A split of the data set `name` that is kept in `root`.

    Raises:
        ValueError: an unknown name or split, offering the nearest; a wrong description of a folder data set.
        FileNotFoundError: the folder is not there or has another layout, saying what was looked for and what is there.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}.{nearest(name, DATASETS)} Known: {', '.join(DATASETS)}")
    return DATASETS[name](root, split)
