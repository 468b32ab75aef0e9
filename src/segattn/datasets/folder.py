"""A folder of images and masks of your own, described by its dataset.yaml (`description.py`)."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from segattn.contracts import IGNORE, Classes, cut, nearest, shown
from segattn.datasets.base import (
    LabelMap,
    Pair,
    PairedDataset,
    check_split,
    describe_folder,
    find_files,
    pair_files,
    require_folders,
)
from segattn.datasets.description import DESCRIPTION, Description, read_description
from segattn.datasets.images import files_below
from segattn.files import require_folder


class FolderDataset(PairedDataset):
    """A split of a data set that `root`/dataset.yaml describes (docs/datasets.md), sorted by name.

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
                f"{root}: no {DESCRIPTION} there, found {describe_folder(root)}; `segattn data check {root} --fix`"
                " writes one, or see docs/datasets.md"
            )
        self.description = described = read_description(root)
        pairs = _shared_out(root, described, split) if described.division else _of_split(root, described, split)
        super().__init__(
            _with_file_ids(described), pairs, _label_map(described), upright=described.upright, bands=described.bands
        )


def _of_split(root: Path, described: Description, split: str) -> list[Pair]:
    """The pairs in the folders of a split."""
    _check_split(root, described.images, split)
    return _pairs(root, described, *(each.replace("{split}", split) for each in (described.images, described.masks)))


def _shared_out(root: Path, described: Description, split: str) -> list[Pair]:
    """The pairs of one folder that belong to a split by their names."""
    division = described.division
    assert division is not None
    check_split(split, division.splits, str(root))
    both = [name for name in ("train", "val") if os.path.isdir(root / described.images / name)]
    if len(both) == 2:
        raise ValueError(
            f"{described.path}: val shares out the folder {cut(described.images)}, which has the folders train and val"
            " already: remove the line val (and images, masks), or name another folder"
        )
    pairs = _pairs(root, described, described.images, described.masks)
    try:
        names = set(division.divide(pair.name for pair in pairs)[split])
    except ValueError as error:
        key = "groups" if division.folders or division.prefix else "val"
        raise ValueError(f"{described.path}: {key}: {error}") from None
    return [pair for pair in pairs if pair.name in names]


def _pairs(root: Path, described: Description, *folders: str) -> list[Pair]:
    for key, folder in zip(("images", "masks"), folders, strict=True):
        if os.path.isabs(folder):
            require_folder(folder, f"the key {key} of {described.path} names it")
    images, masks = require_folders(root, folders, f"{DESCRIPTION} (keys images, masks)")
    labels = find_files(masks, described.mask_suffixes)
    if not labels and next(files_below(masks), None) is not None:
        raise FileNotFoundError(
            f"{masks}: no mask with the suffix {' or '.join(described.mask_suffixes)}, but {describe_folder(masks)};"
            f" masks are PNG, as JPEG changes ids; the key mask_suffix of {described.path} says otherwise"
        )
    return pair_files(find_files(images, described.image_suffixes), labels, folders=(images, masks))


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
