"""CamVid (Brostow et al., ECCV 2008) in the 11 classes of SegNet: 367 / 101 / 233 frames of 480x360.

Two layouts are read, told apart by their folders::

    {train,val,test}/NAME.png        {train,val,test}annot/NAME.png       (the public one; void is 11)
    images/{train,val,test}/NAME.jpg labels/{train,val,test}/NAME.png     (void is 255)

The ids are the same in both: 0 sky ... 10 bicyclist. The split "trainval" is train and val together, as the final
training of published networks uses them.

A frame's name begins with the drive that it was filmed on: "0006R0_f00930" is of drive 0006R0. The published train and
val share a drive, so that val says little about streets that a network has never seen. `SPLIT_only_DRIVES` is the
frames of a split that are of some drives, `SPLIT_without_DRIVES` all the others; several drives are joined by "+".
Training on "trainval_without_0006R0" and validation on "trainval_only_0006R0" hold that drive out.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Literal

from segattn.contracts import IGNORE, Classes
from segattn.datasets.base import LabelMap, Pair, PairedDataset, check_split, describe_folder, find_files, pair_files
from segattn.files import require_folder

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
_FORMS = ("SPLIT_only_DRIVES", "SPLIT_without_DRIVES")

_LABELS = LabelMap(
    {i: i for i in range(len(CLASSES))} | {len(CLASSES): IGNORE, IGNORE: IGNORE},
    hint="CamVid's 11-class form has 0..10, and 11 or 255 for void; group masks of the 32 original classes first",
)


class CamVid(PairedDataset):
    """A split of CamVid, sorted by name (those of "trainval" one after the other).

    Raises:
        FileNotFoundError: folders or files are missing, saying what was looked for and what is there.
        ValueError: an unknown split, or a drive that has no frame in it.
    """

    classes = CLASSES

    def __init__(self, root: str | Path, split: str) -> None:
        base, keep, drives = parse_split(split)
        root = Path(root)
        require_folder(root, "CamVid was to be read from it")
        parts = ("train", "val") if base == "trainval" else (base,)
        pairs = [pair for part in parts for pair in _pairs(root, part)]
        super().__init__(CLASSES, pairs if keep is None else _of_drives(pairs, keep, drives, split), _LABELS)


def parse_split(split: str) -> tuple[str, Literal["only", "without"] | None, tuple[str, ...]]:
    """A split's name -> one of `SPLITS`, what is done with the drives (None: all are kept), and the drives.

    Raises:
        ValueError: not a split's name.
    """
    if split in _FORMS:
        raise ValueError(
            f"CamVid's split {split!r} is a pattern: put train, val, trainval or test, and names of drives"
        )
    match = re.fullmatch(r"(?P<base>[^_]*)_(?P<keep>only|without)_(?P<drives>[^_]*)", split)
    if match is None:
        check_split(split, (*SPLITS, *_FORMS), "CamVid")
        return split, None, ()
    check_split(match["base"], SPLITS, "CamVid")
    drives = tuple(match["drives"].split("+"))
    if "" in drives or len(set(drives)) < len(drives):
        raise ValueError(
            f"CamVid's split {split!r}: expected different drives after {match['keep']}_, joined by +, "
            "such as trainval_without_0006R0+0001TP"
        )
    return match["base"], "only" if match["keep"] == "only" else "without", drives


def drive_of(name: str) -> str:
    """The drive that a frame is of, from the frame's name."""
    return name.partition("_")[0]


def _of_drives(pairs: list[Pair], keep: str, drives: tuple[str, ...], split: str) -> list[Pair]:
    there = Counter(drive_of(pair.name) for pair in pairs)
    unknown = [drive for drive in drives if drive not in there]
    if unknown:
        shown = ", ".join(f"{drive} ({count})" for drive, count in list(there.items())[:20])
        raise ValueError(
            f"CamVid's split {split!r}: no frame is of drive {unknown[0]!r}; its drives (frames) are {shown}"
        )
    kept = [pair for pair in pairs if (drive_of(pair.name) in drives) == (keep == "only")]
    if not kept:
        raise ValueError(f"CamVid's split {split!r}: no frame is left without these drives; leave one of them in")
    return kept


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
