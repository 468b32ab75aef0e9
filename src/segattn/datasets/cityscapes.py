"""Cityscapes (Cordts et al., CVPR 2016, arXiv 1604.01685): 2975 / 500 / 1525 street scenes of 2048x1024, 19 classes.

Layout, as in the official archives `leftImg8bit_trainvaltest.zip` and `gtFine_trainvaltest.zip`::

    leftImg8bit/{train,val,test}/CITY/NAME_leftImg8bit.png
    gtFine/{train,val,test}/CITY/NAME_gtFine_labelIds.png        (or _gtFine_labelTrainIds.png)
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from segattn.contracts import IGNORE, Classes, nearest
from segattn.datasets.base import LabelMap, Pair, PairedDataset, check_split, find_files, pair_files, require_folders
from segattn.datasets.images import files_below

CLASSES = Classes(
    names=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    palette=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
    file_ids=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
)

SPLITS = ("train", "val", "test")
Labels = Literal["labelIds", "labelTrainIds"]
_FILE_IDS = CLASSES.file_ids or ()

_MAPS: dict[str, LabelMap] = {
    "labelIds": LabelMap(
        dict.fromkeys(range(34), IGNORE) | {raw: train for train, raw in enumerate(_FILE_IDS)},
        hint="label ids are 0..33; if the file holds training ids (0..18, 255), name it ..._gtFine_labelTrainIds.png",
    ),
    "labelTrainIds": LabelMap(
        {train: train for train in range(len(CLASSES))} | {IGNORE: IGNORE},
        hint="training ids are 0..18 and 255; if the file holds label ids (0..33), name it ..._gtFine_labelIds.png",
    ),
}


class Cityscapes(PairedDataset):
    """A split of Cityscapes. Samples are named like "aachen_000000_000019" and sorted by city and name.

    Args:
        root: the folder that holds leftImg8bit/ and gtFine/.
        split: train, val or test. The masks of test say 255 everywhere; where gtFine/test is not there, they are None.
        labels: which label files to read: raw ids, mapped here, or files converted to training ids. By default the raw
            ones unless there are only converted ones. A file whose ids are of the other kind stops with an error where
            it holds an id that only the other kind has (255 in one, 19..33 in the other: in practice at once).

    Raises:
        FileNotFoundError: folders or files are missing, naming them.
        ValueError: an unknown split or kind of labels.
    """

    classes = CLASSES

    def __init__(self, root: str | Path, split: str, *, labels: Labels | None = None) -> None:
        check_split(split, SPLITS, "Cityscapes")
        if labels is not None and labels not in _MAPS:
            raise ValueError(f"labels {labels!r}: expected {' or '.join(_MAPS)}.{nearest(labels, _MAPS)}")
        truthless = split == "test" and not (Path(root) / "gtFine" / "test").is_dir()
        needed = [f"leftImg8bit/{split}"] + ([] if truthless else [f"gtFine/{split}"])
        folders = require_folders(root, needed, "Cityscapes")
        images = find_files(folders[0], ("_leftImg8bit.png",))
        if truthless:
            kind: str = "labelIds"
            pairs = [Pair(name, path, None) for name, path in images.items()]
        else:
            kind = labels or _kind_found(folders[1])
            truth = find_files(folders[1], _suffixes(kind))
            pairs = pair_files(images, truth, folders=(folders[0], folders[1]))
        super().__init__(CLASSES, [pair._replace(name=Path(pair.name).name) for pair in pairs], _MAPS[kind])


def _suffixes(kind: str) -> tuple[str, ...]:
    return (f"_gtFine_{kind}.png",) if kind == "labelIds" else ("_gtFine_labelTrainIds.png", "_gtFine_trainIds.png")


def _kind_found(folder: Path) -> str:
    for kind in _MAPS:
        if any(path.name.endswith(_suffixes(kind)) for path in files_below(folder)):
            return kind
    raise FileNotFoundError(f"{folder}: no files named ..._gtFine_labelIds.png or ..._gtFine_labelTrainIds.png there")
