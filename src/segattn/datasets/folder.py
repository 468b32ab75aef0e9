"""A folder of images and masks of your own, described by its dataset.yaml.

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
    upright: true                                  # were masks drawn on images turned upright, as viewers show them?

Only `classes` must be given; the values of the last five lines are the defaults (images: any known kind). Of `upright`
`segattn data check` wants to hear where an image has an orientation (EXIF) other than 1.

What it says goes before what is assumed: `labels` before the ids 0 to K-1, `ignore` before 255 and before those ids.
Two of its lines that contradict each other are refused.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segattn.contracts import IGNORE, Classes, cut, nearest, shown
from segattn.datasets.base import LabelMap, PairedDataset, describe_folder, find_files, pair_files, require_folders
from segattn.datasets.headers import IMAGE_SUFFIXES
from segattn.yaml_reader import read_yaml_file


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


DESCRIPTION = "dataset.yaml"
MOST_CLASSES = 254
LARGEST_ID = 0xFFFF
_LONGEST_NAME = 100
_KEYS = ("classes", "labels", "ignore", "images", "masks", "image_suffix", "mask_suffix", "upright")
_FOLDERS = {"images": "images/{split}", "masks": "masks/{split}"}
_ROW = "{name: ..., color: [red, green, blue] of 0..255}"
_QUOTE = "YAML reads yes, no, on and off as true and false: quote it, as in 'no'"


@dataclass(frozen=True)
class Description:
    """The content of a dataset.yaml, with what it leaves open filled in.

    Attributes:
        path: of the file.
        classes: in the order of the training ids.
        labels: id in a mask -> class name, or "ignore".
        images, masks: folders, from the file's own on or absolute, with `{split}` where the split's name goes.
        image_suffixes, mask_suffixes: ends of file names.
        upright: whether the masks were drawn on upright images; None where it isn't said (see `PairedDataset`).
    """

    path: Path
    classes: Classes
    labels: dict[int, str]
    images: str
    masks: str
    image_suffixes: tuple[str, ...]
    mask_suffixes: tuple[str, ...]
    upright: bool | None


def read_description(root: Path) -> Description:
    """Read `root`/dataset.yaml.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is wrong, naming the file, the key and what to write.
    """
    path = root / DESCRIPTION
    data = read_yaml_file(path, DESCRIPTION)
    if not isinstance(data, dict):
        raise ValueError(f"{path}: a mapping with the key classes was expected, this holds a {type(data).__name__}")
    try:
        for key in data:
            if key not in _KEYS:
                raise ValueError(f"unknown key {shown(key)}.{nearest(str(key), _KEYS)} Known: {', '.join(_KEYS)}")
        classes = _classes(data.get("classes"))
        return Description(
            path,
            classes,
            _labels(data, classes.names),
            _folder(data, "images"),
            _folder(data, "masks"),
            _suffixes(data, "image_suffix", IMAGE_SUFFIXES),
            _suffixes(data, "mask_suffix", (".png",)),
            _upright(data),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _classes(rows: Any) -> Classes:
    if not isinstance(rows, list) or not rows:
        raise ValueError("classes: a list of {name: ..., color: [red, green, blue]} was expected")
    if len(rows) > MOST_CLASSES:
        raise ValueError(f"classes: {len(rows)} of them; {MOST_CLASSES} at most, as 254 and 255 have other meanings")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != {"name", "color"} or not _is_color(row["color"]):
            raise ValueError(f"classes.{number}: {shown(row)}; {_ROW} was expected")
        _check_name(f"classes.{number}.name", row["name"])
    names = [row["name"] for row in rows]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"classes: {cut(', '.join(twice))} twice; names must differ")
    return Classes(tuple(names), tuple((row["color"][0], row["color"][1], row["color"][2]) for row in rows))


def _check_name(where: str, name: Any) -> None:
    if isinstance(name, bool):
        raise ValueError(f"{where}: {str(name).lower()}; {_QUOTE}")
    if not isinstance(name, str):
        raise ValueError(f"{where}: {shown(name)} is no text; put the name in quotes")
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ValueError(f"{where}: {shown(name)}; a name of 1 to {_LONGEST_NAME} letters on one line was expected")
    if name.strip().casefold() == "ignore":
        raise ValueError(
            f"{where}: {name!r} means in labels that an id neither trains nor scores, so no class can be called so;"
            " remove it from classes and write its id under ignore, or give it another name, such as void"
        )


def _upright(data: Mapping[str, Any]) -> bool | None:
    if "upright" not in data or isinstance(data["upright"], bool):
        return data.get("upright")
    raise ValueError(
        f"upright: {shown(data['upright'])}; true (masks were drawn on upright images) or false (on stored pixels) "
        "was expected"
    )


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)


def _labels(data: Mapping[str, Any], names: tuple[str, ...]) -> dict[int, str]:
    """Id -> name or "ignore". The ids that are assumed give way to what the file says."""
    ignored = _ignored(data["ignore"]) if "ignore" in data else None
    if "labels" not in data:
        assumed = {IGNORE: "ignore"} if ignored is None else {}
        return assumed | dict(enumerate(names)) | dict.fromkeys(ignored or (), "ignore")
    labels = _named_ids(data["labels"], names)
    for raw in ignored or ():
        if labels.get(raw, "ignore") != "ignore":
            raise ValueError(
                f"labels.{raw} says {labels[raw]!r} and ignore lists {raw} too: remove it from one of the two"
            )
    return dict.fromkeys([IGNORE] if ignored is None else ignored, "ignore") | labels


def _named_ids(labels: Any, names: tuple[str, ...]) -> dict[int, str]:
    if not isinstance(labels, dict) or not labels:
        raise ValueError(
            f"labels: {shown(labels)}; a mapping of ids (whole numbers) to class names was expected,"
            f" such as {{0: {names[0]}, 255: ignore}}; without the line, 0 is the first class, and so on"
        )
    known = {*names, "ignore"}
    for raw, name in labels.items():
        _check_id("labels", raw)
        if isinstance(name, bool):
            raise ValueError(f"labels.{raw}: {str(name).lower()} is not a class; {_QUOTE}")
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"labels.{raw}: {shown(name)} is not a class.{nearest(str(name)[:200], sorted(known))}")
    return labels


def _ignored(values: Any) -> list[int]:
    if not isinstance(values, list):
        raise ValueError(f"ignore: {shown(values)}; a list of raw ids was expected, such as [255]")
    for value in values:
        _check_id("ignore", value)
    return values


def _check_id(key: str, value: Any) -> None:
    if isinstance(value, bool):
        raise ValueError(f"{key}: {str(value).lower()} is no id; YAML reads yes, no, on and off as true and false")
    if not isinstance(value, int):
        raise ValueError(f"{key}: {shown(value)} is no id; whole numbers were expected, as masks hold them")
    if value < 0:
        raise ValueError(
            f"{key}: {shown(value)} is negative; masks hold 0..{LARGEST_ID}, and a -1 that was saved with 8 bits"
            f" is 255 there: write what `segattn data check` finds, such as 255"
        )
    if value > LARGEST_ID:
        raise ValueError(f"{key}: {shown(value)} is too large; masks hold 0..{LARGEST_ID}")


def _folder(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, _FOLDERS[key])
    example = f"a folder was expected, such as {_FOLDERS[key]}"
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{key}: {shown(value)}; {example}")
    if re.search(r"[{}]", value.replace("{split}", "", 1)):
        raise ValueError(f"{key}: {shown(value)}; {example}, with {{split}} once and no other brace")
    if value.startswith("~"):
        raise ValueError(f"{key}: {shown(value)}; write the home folder's own path, as ~ is not replaced here")
    return value


def _suffixes(data: Mapping[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = data.get(key, list(default))
    suffixes = value if isinstance(value, list) else [value]
    if not suffixes or not all(isinstance(one, str) and one and not re.search(r"[/\\\0]", one) for one in suffixes):
        raise ValueError(f"{key}: {shown(value)}; ends of file names were expected, such as [.jpg, _rgb.png]")
    return tuple(suffixes)
