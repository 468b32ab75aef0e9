"""Anyone's own pictures and masks, described by a `dataset.yaml` beside them.

::

    classes:                        # in the order of the training ids
      - {name: road, color: [128, 64, 128]}
      - {name: car, color: [0, 0, 142]}
    labels: {0: ignore, 1: road, 2: car, 3: car}   # raw id: name or ignore; by default 0 is the first class, and so on
    ignore: [255]                                  # further raw ids that neither train nor score; default [255]
    images: images/{split}                         # folders, searched with their sub-folders
    masks: masks/{split}
    image_suffix: [.jpg, .png]                     # ends of file names; what stands before must be equal in a pair
    mask_suffix: .png
    upright: true                                  # were masks drawn on pictures turned upright, as viewers show them?

Only `classes` must be given; the values of the last five lines are the defaults (images: any known kind). Of `upright`
`segattn data check` wants to hear where a picture has an orientation (EXIF) other than 1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from segattn.contracts import IGNORE, Classes, nearest
from segattn.data.base import LabelMap, PairedDataset, describe_folder, find_files, pair_files, require_folders
from segattn.data.files import IMAGE_SUFFIXES

DESCRIPTION = "dataset.yaml"
_DEFAULTS: dict[str, Any] = {
    "classes": None,
    "labels": None,
    "ignore": [IGNORE],
    "images": "images/{split}",
    "masks": "masks/{split}",
    "image_suffix": list(IMAGE_SUFFIXES),
    "mask_suffix": ".png",
    "upright": None,
}


class FolderDataset(PairedDataset):
    """A split of a data set that `root`/dataset.yaml describes (see the module's docstring), sorted by name.

    Raises:
        FileNotFoundError: dataset.yaml, a folder or a file is missing, saying what was looked for and what is there.
        ValueError: dataset.yaml is wrong, naming the key; or an unknown split, offering the nearest.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        (root,) = require_folders(root, ["."], "a folder data set")
        described = _read(root)
        classes = _classes(described["classes"])
        labels = _label_map(described, classes)
        relative = [str(described[key]).format(split=split) for key in ("images", "masks")]
        if not (root / relative[0]).is_dir():
            splits = _splits(root, str(described["images"]))
            if splits and split not in splits:
                raise ValueError(f"{root} has no split {split!r}; it has {', '.join(splits)}.{nearest(split, splits)}")
        images, masks = require_folders(root, relative, f"{DESCRIPTION} (keys images, masks)")
        pairs = pair_files(
            find_files(images, _suffixes(described["image_suffix"]), recursive=True),
            find_files(masks, _suffixes(described["mask_suffix"]), recursive=True),
            folders=(images, masks),
        )
        super().__init__(classes, pairs, labels, upright=described["upright"])


def _read(root: Path) -> dict[str, Any]:
    path = root / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(
            f"{root}: no {DESCRIPTION} there, found {describe_folder(root)}; write one (see docs/datasets.md)"
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: a mapping with the key classes was expected, this holds a {type(data).__name__}")
    for key in data:
        if key not in _DEFAULTS:
            raise ValueError(
                f"{path}: unknown key {key!r}.{nearest(str(key), _DEFAULTS)} Known: {', '.join(_DEFAULTS)}"
            )
    data = _DEFAULTS | data
    try:
        _check(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return data


def _check(data: dict[str, Any]) -> None:
    """Raises ValueError for a key whose value has the wrong form."""
    rows = data["classes"]
    if not isinstance(rows, list) or not rows:
        raise ValueError("classes: a list of {name: ..., color: [red, green, blue]} was expected")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != {"name", "color"} or not _is_color(row["color"]):
            raise ValueError(
                f"classes.{number}: {row!r}; {{name: ..., color: [red, green, blue] of 0..255}} was expected"
            )
    names = [str(row["name"]) for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"classes: {', '.join(sorted(twice))} twice; names must differ")
    labels = data["labels"]
    if labels is not None and not (isinstance(labels, dict) and all(isinstance(key, int) for key in labels)):
        raise ValueError("labels: a mapping of raw ids (whole numbers) to class names was expected")
    for raw, name in (labels or {}).items():
        if name != "ignore" and name not in names:
            raise ValueError(f"labels.{raw}: {name!r} is not a class.{nearest(str(name), [*names, 'ignore'])}")
    if not isinstance(data["ignore"], list) or not all(isinstance(value, int) for value in data["ignore"]):
        raise ValueError(f"ignore: {data['ignore']!r}; a list of raw ids was expected, such as [255]")
    if data["upright"] is not None and not isinstance(data["upright"], bool):
        raise ValueError(
            f"upright: {data['upright']!r}; true (masks were drawn on upright pictures) or false (on stored pixels) "
            "was expected"
        )
    for key in ("images", "masks"):
        if (
            not isinstance(data[key], str)
            or set(re.findall(r"{(.*?)}", data[key])) - {"split"}
            or data[key].count("{") > 1
        ):
            raise ValueError(f"{key}: {data[key]!r}; a folder was expected, such as {_DEFAULTS[key]}")


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value)


def _classes(rows: list[dict[str, Any]]) -> Classes:
    return Classes(
        names=tuple(str(row["name"]) for row in rows),
        palette=tuple((row["color"][0], row["color"][1], row["color"][2]) for row in rows),
    )


def _label_map(data: dict[str, Any], classes: Classes) -> LabelMap:
    train = {name: number for number, name in enumerate(classes.names)} | {"ignore": IGNORE}
    labels = data["labels"] or dict(enumerate(classes.names))
    mapping = dict.fromkeys(data["ignore"], IGNORE) | {raw: train[name] for raw, name in labels.items()}
    return LabelMap(mapping, hint=f"add it to labels or ignore in {DESCRIPTION}, or correct the mask")


def _suffixes(value: Any) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else (str(value),)


def _splits(root: Path, pattern: str) -> list[str]:
    """The splits whose image folders exist."""
    if "{split}" not in pattern:
        return []
    before, after = pattern.split("{split}")
    found = (str(path.relative_to(root).as_posix()) for path in root.glob(f"{before}*{after}") if path.is_dir())
    return sorted(name[len(before) : len(name) - len(after)] for name in found)
