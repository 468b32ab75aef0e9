"""Anyone's own pictures and masks, described by a `dataset.yaml` beside them.

::

    classes:                        # in the order of the training ids
      - {name: road, color: [128, 64, 128]}
      - {name: car, color: [0, 0, 142]}
    labels: {0: ignore, 1: road, 2: car, 3: car}   # raw id: name or ignore; by default 0 is the first class, and so on
    ignore: [255]                                  # further raw ids that neither train nor score; default [255]
    images: images/{split}                         # folders, searched with their sub-folders; absolute ones too
    masks: masks/{split}
    image_suffix: [.jpg, .png]                     # ends of file names; what stands before must be equal in a pair
    mask_suffix: .png
    upright: true                                  # were masks drawn on pictures turned upright, as viewers show them?

Only `classes` must be given; the values of the last five lines are the defaults (images: any known kind). Of `upright`
`segattn data check` wants to hear where a picture has an orientation (EXIF) other than 1.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from segattn.contracts import IGNORE, Classes, cut, nearest, shown
from segattn.data.base import LabelMap, PairedDataset, describe_folder, find_files, pair_files, require_folders
from segattn.data.description import DESCRIPTION, Description, read_description


class FolderDataset(PairedDataset):
    """A split of a data set that `root`/dataset.yaml describes (see the module's docstring), sorted by name.

    Attributes:
        description: what dataset.yaml says.

    Raises:
        FileNotFoundError: dataset.yaml, a folder or a file is missing, saying what was looked for and what is there.
        ValueError: dataset.yaml is wrong, naming the key; or an unknown split, offering the nearest.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        (root,) = require_folders(root, ["."], "a folder data set")
        if not os.path.lexists(root / DESCRIPTION):
            raise FileNotFoundError(
                f"{root}: no {DESCRIPTION} there, found {describe_folder(root)}; write one (see docs/datasets.md)"
            )
        self.description = described = read_description(root)
        _check_split(root, described.images, split)
        folders = [pattern.replace("{split}", split) for pattern in (described.images, described.masks)]
        for key, folder in zip(("images", "masks"), folders, strict=True):
            if os.path.isabs(folder) and not os.path.isdir(folder):
                raise FileNotFoundError(f"{cut(folder)}: no such folder; the key {key} of {described.path} names it")
        images, masks = require_folders(root, folders, f"{DESCRIPTION} (keys images, masks)")
        pairs = pair_files(
            find_files(images, described.image_suffixes),
            find_files(masks, described.mask_suffixes),
            folders=(images, masks),
        )
        super().__init__(_with_file_ids(described), pairs, _label_map(described), upright=described.upright)


def _with_file_ids(described: Description) -> Classes:
    """The classes with what masks hold for each: the first of its ids, -1 if it has none."""
    first: dict[str, int] = {}
    for raw, name in described.labels.items():
        first.setdefault(name, raw)
    file_ids = tuple(first.get(name, -1) for name in described.classes.names)
    same = file_ids == tuple(range(len(file_ids)))
    return replace(described.classes, file_ids=None if same else file_ids)


def _label_map(described: Description) -> LabelMap:
    train = {name: number for number, name in enumerate(described.classes.names)} | {"ignore": IGNORE}
    mapping = {raw: train[name] for raw, name in described.labels.items()}
    return LabelMap(mapping, hint=f"add it to labels or ignore in {DESCRIPTION}, or correct the mask")


def _check_split(root: Path, pattern: str, split: str) -> None:
    """Raises ValueError for a split that is no name, or has no folder where others have."""
    if not split or split in (".", "..") or re.search(r"[/\\\0]", split):
        raise ValueError(f"split {shown(split)}: a name was expected, such as train")
    splits = _splits(root, pattern)
    if splits and split not in splits and not os.path.isdir(root / pattern.replace("{split}", split)):
        raise ValueError(f"{root} has no split {shown(split)}; it has {', '.join(splits)}.{nearest(split, splits)}")


def _splits(root: Path, pattern: str) -> list[str]:
    """The splits whose image folders exist."""
    if "{split}" not in pattern:
        return []
    before, after = pattern.split("{split}")
    above, slash, start = before.rpartition("/")
    above += slash  # which alone is the root of the file system
    end, slash, below = after.partition("/")
    folder = root / above
    if not os.path.isdir(folder):
        return []
    names = [entry.name for entry in folder.iterdir() if os.path.isdir(entry / below if slash else entry)]
    fitting = [name for name in names if name.startswith(start) and name.endswith(end)]
    return sorted(name[len(start) : len(name) - len(end)] for name in fitting if not name.startswith("."))
