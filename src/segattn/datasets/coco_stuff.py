"""COCO-Stuff 10k, version 1.1 (Caesar et al., CVPR 2018, arXiv 1612.03716): 80 things and 91 kinds of stuff.

Layout, as distributed: ``{images/*.jpg, annotations/*.mat, imageLists/{train,test}.txt}``, 9000 and 1000 images.
Each ``.mat`` file holds the label map `S`: 0 unlabelled, 1..182 the classes of ``cocostuff-labels.txt``. Eleven of
those (see `_NEVER_LABELLED`) occur in no image, and the 171 others are the training ids, in their order.
`prepare` writes `S` to ``annotations_png/*.png``, which is what is read here.
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

_ALL_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "street sign", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep",
    "cow", "elephant", "bear", "zebra", "giraffe", "hat", "backpack", "umbrella", "shoe", "eye glasses",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat",
    "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "plate", "wine glass", "cup", "fork",
    "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza",
    "donut", "cake", "chair", "couch", "potted plant", "bed", "mirror", "dining table", "window", "desk", "toilet",
    "door", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "blender", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
    "hair brush",
    "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard", "carpet",
    "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain", "desk-stuff",
    "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower",
    "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves",
    "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper", "pavement", "pillow",
    "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road", "rock", "roof",
    "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs", "stone",
    "straw", "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable", "wall-brick",
    "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other", "waterdrops",
    "window-blind", "window-other", "wood",
)  # fmt: skip

_NEVER_LABELLED = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91))
_FILE_IDS = tuple(raw for raw in range(1, 183) if raw not in _NEVER_LABELLED)

CLASSES = Classes(
    names=tuple(_ALL_NAMES[raw - 1] for raw in _FILE_IDS),
    palette=distinct_colours(172)[1:],
    file_ids=_FILE_IDS,
)

SPLITS = {"train": 9000, "test": 1000}
"""With the number of samples in each."""

_MASKS = "annotations_png"


class COCOStuff10k(PairedDataset):
    """A split of COCO-Stuff 10k: train 9000, test 1000. Unlabelled pixels are ignored.

    Args:
        root: the folder that contains ``images`` and ``imageLists``.

    Raises:
        FileNotFoundError: folders, lists or listed files are missing, or the masks have not been converted.
        ValueError: no such split.
    """

    classes = CLASSES

    def __init__(self, root: str | Path, split: str) -> None:
        check_split(split, SPLITS, "COCO-Stuff 10k")
        fix = "`segattn data prepare coco_stuff10k` makes the masks from annotations/*.mat"
        images, _ = require_folders(root, ("images", "imageLists"), "COCO-Stuff 10k")
        masks = Path(root) / _MASKS
        if not masks.is_dir():
            raise FileNotFoundError(f"{masks}: no such folder; {fix}")
        names = read_list(Path(root) / "imageLists" / f"{split}.txt")
        labels = {0: IGNORE, **{raw: index for index, raw in enumerate(_FILE_IDS)}}
        super().__init__(
            CLASSES,
            listed_pairs(names, images=(images, ".jpg"), labels=(masks, ".png"), fix=fix),
            LabelMap(labels, hint="version 1.1 has 0..182 without eleven ids that are never used"),
        )


def plan(root: Path) -> Plan:
    """Every listed image's ``.mat`` file to a PNG of the same ids."""
    annotations, lists = require_folders(root, ("annotations", "imageLists"), "COCO-Stuff 10k")
    names = dict.fromkeys(name for split in SPLITS for name in read_list(lists / f"{split}.txt"))
    return Plan(
        [Conversion(root / _MASKS / f"{name}.png", partial(_label_map, annotations / f"{name}.mat")) for name in names]
    )


def _label_map(path: Path) -> NDArray[Any]:
    content = read_mat(path)
    ids, names = content.get("S"), content.get("names")
    if not isinstance(ids, np.ndarray) or ids.ndim != 2:
        raise ValueError(f"{path}: has no label map S of two dimensions; copy it again from its source")
    if isinstance(names, list) and len(names) == 172:
        raise ValueError(f"{path}: is of version 1.0, with other ids (172 names); use version 1.1 (182 names)")
    return ids
