"""PASCAL Context (Mottaghi et al., CVPR 2014): VOC 2010's images, with 59 classes or those and background.

Layout: ``VOCdevkit/VOC2010/{JPEGImages, trainval_merged.json}``. The JSON file is the one of the PASCAL in Detail
annotations (`images` with `file_name`, `image_id` and `phase`; `annos_segmentation` with `image_id`, `category_id` and
a run-length `segmentation`). `prepare` draws its annotations in their order into ``SegmentationClassContext/*.png``,
with 0 for background and 1..59 for the classes, and writes ``ImageSets/SegmentationContext/{train,val}.txt``;
masks that others converted in the same form are read too.

DANet's code ignores background and scores 59 classes; its published 52.6 and its paper count 60. Both are here.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, Classes
from segattn.datasets.base import (
    Conversion,
    LabelMap,
    Pair,
    PairedDataset,
    Plan,
    check_split,
    distinct_colours,
    listed_pairs,
    read_list,
    require_folders,
)
from segattn.datasets.formats import decode_rle, is_whole, shortened
from segattn.datasets.headers import MAX_PIXELS
from segattn.datasets.voc import devkit
from segattn.files import read_regular

_CATEGORIES = {
    2: "aeroplane", 9: "bag", 18: "bed", 19: "bedclothes", 22: "bench", 23: "bicycle", 25: "bird", 31: "boat",
    33: "book", 34: "bottle", 44: "building", 45: "bus", 46: "cabinet", 59: "car", 65: "cat", 68: "ceiling",
    72: "chair", 80: "cloth", 85: "computer", 98: "cow", 104: "cup", 105: "curtain", 113: "dog", 115: "door",
    144: "fence", 158: "floor", 159: "flower", 162: "food", 187: "grass", 189: "ground", 207: "horse",
    220: "keyboard", 232: "light", 258: "motorbike", 259: "mountain", 260: "mouse", 284: "person", 295: "plate",
    296: "platform", 308: "potted plant", 324: "road", 326: "rock", 347: "sheep", 349: "shelves", 354: "sidewalk",
    355: "sign", 360: "sky", 366: "snow", 368: "sofa", 397: "table", 415: "track", 416: "train", 420: "tree",
    424: "truck", 427: "tv/monitor", 440: "wall", 445: "water", 454: "window", 458: "wood",
}  # fmt: skip

_IDS = {0: 0, **{category: index for index, category in enumerate(_CATEGORIES, start=1)}}
CLASSES_59 = Classes(names=tuple(_CATEGORIES.values()), palette=distinct_colours(60)[1:], file_ids=tuple(range(1, 60)))
CLASSES_60 = Classes(names=("background", *_CATEGORIES.values()), palette=distinct_colours(60))

SPLITS = {"train": 4998, "val": 5105}
"""With the number of samples in each."""

_HINT = "PASCAL Context masks hold 0 (background) and 1..59"
_LISTS = Path("ImageSets/SegmentationContext")
_MASKS = "SegmentationClassContext"
_LONGEST_NAME = 200


class PascalContext(PairedDataset):
    """A split of PASCAL Context with 59 classes, background ignored: train 4998, val 5105.

    Args:
        root: the folder that contains ``VOCdevkit/VOC2010``, or that folder itself.

    Raises:
        FileNotFoundError: folders, lists or listed files are missing, or the masks have not been converted.
        ValueError: no such split.
    """

    classes = CLASSES_59

    def __init__(self, root: str | Path, split: str) -> None:
        pairs = _pairs(Path(root), split)
        labels = {0: IGNORE, **{raw: raw - 1 for raw in range(1, 60)}}
        super().__init__(CLASSES_59, pairs, LabelMap(labels, hint=_HINT))


class PascalContext60(PairedDataset):
    """As `PascalContext`, with background as the first of 60 classes."""

    classes = CLASSES_60

    def __init__(self, root: str | Path, split: str) -> None:
        pairs = _pairs(Path(root), split)
        super().__init__(CLASSES_60, pairs, LabelMap({raw: raw for raw in range(60)}, hint=_HINT))


def _pairs(root: Path, split: str) -> list[Pair]:
    check_split(split, SPLITS, "PASCAL Context")
    fix = "`segattn data prepare pascal_context` makes the masks from trainval_merged.json"
    folder = devkit(root, "VOC2010")
    (images,) = require_folders(folder, ("JPEGImages",), "PASCAL Context (VOC 2010)")
    for needed in (folder / _MASKS, folder / _LISTS):
        if not needed.is_dir():
            raise FileNotFoundError(f"{needed}: no such folder; {fix}")
    names = read_list(folder / _LISTS / f"{split}.txt")
    return listed_pairs(names, images=(images, ".jpg"), labels=(folder / _MASKS, ".png"), fix=fix)


def plan(root: Path) -> Plan:
    """Every annotated image's mask, and the lists of both splits.

    Raises:
        FileNotFoundError: there is no ``trainval_merged.json``.
        ValueError: it has another structure.
    """
    folder = devkit(root, "VOC2010")
    source = folder / "trainval_merged.json"
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file; put the PASCAL in Detail annotations there")
    try:
        content = json.loads(read_regular(source, "annotation file"))
        images, found = _rows(content, "images"), _rows(content, "annos_segmentation")
    except RecursionError:
        raise ValueError(f"{source}: its brackets are too deep; not the PASCAL in Detail annotations") from None
    except ValueError as error:  # of JSON, or of an encoding
        what = str(error).removeprefix(f"{source}: ")[:200]
        raise ValueError(f"{source}: not the PASCAL in Detail annotations ({what}); copy it again") from None
    annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, annotation in enumerate(found):
        annotations[_image_id(source, f"annos_segmentation.{number}", annotation)].append(annotation)
    images = [image for image in images if image.get("phase") in tuple(SPLITS)]
    names = [_name(source, f"images.{number}", image) for number, image in enumerate(images)]
    numbers = [_image_id(source, f"image {name}", image) for name, image in zip(names, images, strict=True)]
    for name, count in [*Counter(names).items(), *Counter(numbers).items()]:
        if count > 1:
            raise ValueError(f"{source}: {name} is there {count} times among the images; keep one of them")
    lists = {
        folder / _LISTS / f"{split}.txt": sorted(
            name for name, image in zip(names, images, strict=True) if image["phase"] == split
        )
        for split in SPLITS
    }
    masks = [
        Conversion(folder / _MASKS / f"{name}.png", partial(_draw, source, image, annotations.get(number, [])))
        for name, number, image in zip(names, numbers, images, strict=True)
    ]
    return Plan(masks, lists)


def _rows(content: Any, key: str) -> list[dict[str, Any]]:
    if not isinstance(content, dict) or key not in content:
        raise ValueError(f"no {key!r}")
    rows = content[key]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{key}: a list of mappings was expected, got {shortened(rows)}")
    return rows


def _image_id(source: Path, where: str, row: dict[str, Any]) -> int:
    value = row.get("image_id")
    if not is_whole(value):
        raise ValueError(f"{source}: image_id of {where}: a whole number was expected, got {shortened(value)}")
    return int(value or 0)


def _name(source: Path, where: str, image: dict[str, Any]) -> str:
    name = image.get("file_name")
    stem = Path(name).stem if isinstance(name, str) else ""
    if not stem or "\0" in stem or len(stem) > _LONGEST_NAME:
        raise ValueError(f"{source}: file_name of {where}: a file's name was expected, got {shortened(name)}")
    return stem


def _size(source: Path, image: dict[str, Any]) -> tuple[int, int]:
    height: Any = image.get("height")
    width: Any = image.get("width")
    if is_whole(height) and is_whole(width) and min(height, width) > 0 and height * width <= MAX_PIXELS:
        return height, width
    raise ValueError(
        f"{source}: height and width of {image['file_name']}: whole numbers, and {MAX_PIXELS} pixels at most, were "
        f"expected, got {shortened(height)} and {shortened(width)}"
    )


def _draw(source: Path, image: dict[str, Any], annotations: list[dict[str, Any]]) -> NDArray[np.uint8]:
    name, size = image["file_name"], _size(source, image)
    ids = np.zeros(size, np.uint8)
    for annotation in annotations:
        category, number = annotation.get("category_id"), shortened(annotation.get("id"))
        if not is_whole(category) or category not in _IDS:
            raise ValueError(
                f"{source}: category {shortened(category)} in {name} is none of the 59; "
                "use the file trainval_merged.json"
            )
        try:
            inside = decode_rle(annotation.get("segmentation"))
        except ValueError as error:
            raise ValueError(f"{source}: annotation {number} of {name}: {error}") from None
        if inside.shape != size:
            raise ValueError(f"{source}: an annotation of {name} has the size {inside.shape}, the image {size}")
        ids[inside] = _IDS[category]
    return ids
