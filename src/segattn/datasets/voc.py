"""PASCAL VOC 2012, 21 classes, and its augmented training set.

The latter is the Semantic Boundaries Dataset (Hariharan et al., ICCV 2011).

Layout, as distributed: ``VOCdevkit/VOC2012/{JPEGImages, SegmentationClass, ImageSets/Segmentation}``.
Masks are palette PNGs: 0 background, 1..20 classes, 255 borders and objects left out, which are ignored.

The split `train_aug` is VOC's train and all images of the boundaries set outside VOC's val: 1464 + 9118 = 10582.
Masks of the former are VOC's own, those of the latter ``SegmentationClassAug/*.png``, which `prepare` makes from
``benchmark_RELEASE/dataset/cls/*.mat``; converted copies that circulate have the same names and are read too.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, Classes
from segattn.datasets.base import (
    Conversion,
    LabelMap,
    PairedDataset,
    Plan,
    check_split,
    distinct_colours,
    listed_pairs,
    read_list,
    require_folders,
)
from segattn.datasets.formats import read_mat

CLASSES = Classes(
    names=(
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv/monitor",
    ),
    palette=distinct_colours(21),
)  # fmt: skip

SPLITS = {"train": 1464, "val": 1449, "trainval": 2913, "train_aug": 10582}
"""With the number of samples in each."""

_LISTS = Path("ImageSets/Segmentation")
_MASKS, _MORE_MASKS = "SegmentationClass", "SegmentationClassAug"
_BOUNDARIES = Path("benchmark_RELEASE/dataset")


class VOC2012(PairedDataset):
    """A split of PASCAL VOC 2012: train 1464, val 1449, trainval 2913, train_aug 10582 (see the module).

    Args:
        root: the folder that contains ``VOCdevkit/VOC2012``, or that folder itself.

    Raises:
        FileNotFoundError: folders, lists or listed files are missing.
        ValueError: no such split.
    """

    classes = CLASSES

    def __init__(self, root: str | Path, split: str) -> None:
        check_split(split, SPLITS, "PASCAL VOC 2012")
        folder = devkit(root, "VOC2012")
        require_folders(folder, ("JPEGImages", _MASKS, str(_LISTS)), "PASCAL VOC 2012")
        images = (folder / "JPEGImages", ".jpg")
        names = read_list(folder / _LISTS / ("train.txt" if split == "train_aug" else f"{split}.txt"))
        pairs = listed_pairs(names, images=images, labels=(folder / _MASKS, ".png"), fix="complete the copy")
        if split == "train_aug":
            fix = "`segattn data prepare voc2012` makes it from the Semantic Boundaries Dataset (benchmark_RELEASE)"
            if not (folder / _MORE_MASKS).is_dir():
                raise FileNotFoundError(f"{folder / _MORE_MASKS}: no such folder; {fix}")
            more = _augmenting_names(folder, fix)
            pairs += listed_pairs(more, images=images, labels=(folder / _MORE_MASKS, ".png"), fix=fix)
        labels = {**{raw: raw for raw in range(len(CLASSES))}, 255: IGNORE}
        super().__init__(CLASSES, pairs, LabelMap(labels, hint="VOC masks hold 0..20 and 255"))


def devkit(root: str | Path, year: str) -> Path:
    """The folder of a year's development kit, whether `root` is it, its parent or the folder above ``VOCdevkit``."""
    root = Path(root)
    return next((path for path in (root / "VOCdevkit" / year, root / year) if path.is_dir()), root)


def plan(root: Path) -> Plan:
    """The boundaries set's masks as PNGs beside VOC's own, and the list ``trainaug.txt`` of the 10582 names.

    `benchmark_RELEASE` is looked for in `root` and in the development kit's folder.
    """
    folder = devkit(root, "VOC2012")
    require_folders(folder, (str(_LISTS),), "PASCAL VOC 2012")
    places = [base / _BOUNDARIES for base in (root, folder)]
    source = next((place for place in places if place.is_dir()), None)
    if source is None:
        raise FileNotFoundError(
            f"{places[0]}: no such folder; unpack the Semantic Boundaries Dataset (benchmark.tgz) in {root}"
        )
    val = set(read_list(folder / _LISTS / "val.txt"))
    train = read_list(folder / _LISTS / "train.txt")
    listed = [name for part in ("train", "val") for name in read_list(source / f"{part}.txt")]
    more = sorted(set(listed) - val - set(train))
    return Plan(
        [
            Conversion(folder / _MORE_MASKS / f"{name}.png", partial(_boundaries, source / "cls" / f"{name}.mat"))
            for name in more
        ],
        {folder / _LISTS / "trainaug.txt": sorted({*train, *more})},
    )


def _augmenting_names(folder: Path, fix: str) -> list[str]:
    listed = folder / _LISTS / "trainaug.txt"
    if not listed.is_file():
        raise FileNotFoundError(f"{listed}: no such list; {fix}")
    without = {*read_list(folder / _LISTS / "train.txt"), *read_list(folder / _LISTS / "val.txt")}
    return [name for name in read_list(listed) if name not in without]


def _boundaries(path: Path) -> NDArray[Any]:
    content = read_mat(path).get("GTcls")
    ids = content.get("Segmentation") if isinstance(content, dict) else None
    if not isinstance(ids, np.ndarray) or ids.ndim != 2:
        raise ValueError(f"{path}: has no GTcls.Segmentation of two dimensions; copy it again from its source")
    return ids
