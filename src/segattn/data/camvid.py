"""CamVid (Brostow et al., ECCV 2008) in the 11 classes of SegNet: 367 / 101 / 233 frames of 480x360.

Two layouts are read, told apart by their folders::

    {train,val,test}/NAME.png        {train,val,test}annot/NAME.png       (the public one; void is 11)
    images/{train,val,test}/NAME.jpg labels/{train,val,test}/NAME.png     (void is 255)

The ids are the same in both: 0 sky ... 10 bicyclist. The split "trainval" is train and val together, as the final
training of published networks uses them.
"""

from __future__ import annotations

from pathlib import Path

from segattn.contracts import IGNORE, Classes
from segattn.data.base import LabelMap, Pair, PairedDataset, check_split, describe_folder, find_files, pair_files

CLASSES = Classes(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)
SPLITS = ("train", "val", "trainval", "test")

_LABELS = LabelMap(
    {i: i for i in range(len(CLASSES))} | {len(CLASSES): IGNORE, IGNORE: IGNORE},
    hint="CamVid's 11-class form has 0..10, and 11 or 255 for void; group masks of the 32 original classes first",
)


class CamVid(PairedDataset):
    """A split of CamVid, sorted by name (those of "trainval" one after the other).

    Raises:
        FileNotFoundError: folders or files are missing, saying what was looked for and what is there.
        ValueError: an unknown split.
    """

    classes = CLASSES

    def __init__(self, root: str | Path, split: str) -> None:
        check_split(split, SPLITS, "CamVid")
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder; CamVid was to be read from it")
        parts = ("train", "val") if split == "trainval" else (split,)
        super().__init__(CLASSES, [pair for part in parts for pair in _pairs(root, part)], _LABELS)


def _pairs(root: Path, split: str) -> list[Pair]:
    layouts = ((f"images/{split}", f"labels/{split}"), (split, f"{split}annot"))
    for image_folder, label_folder in layouts:
        if (root / image_folder).is_dir() and (root / label_folder).is_dir():
            break
    else:
        looked = " or ".join(f"{images} with {labels}" for images, labels in layouts)
        raise FileNotFoundError(
            f"{root}: CamVid needs {looked} there, found {describe_folder(root)}; "
            "give the folder that contains them as the data root"
        )
    images, labels = root / image_folder, root / label_folder
    return pair_files(find_files(images), find_files(labels, (".png",)), folders=(images, labels))
