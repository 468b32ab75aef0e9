"""The dataset.yaml of a data set of your own: read, checked, and with what it leaves open filled in.

::

    classes: [road, {name: car, color: [0, 0, 142]}]   # in the order of the training ids; without a colour it gets one
    labels: {0: ignore, 1: road, 2: car, 3: car}   # raw id: name or ignore; by default 0 is the first class, and so on
    ignore: [255]                                  # further raw ids that neither train nor score; default [255]
    images: images/{split}                         # folders, searched with their sub-folders; absolute ones too
    masks: masks/{split}
    image_suffix: [.jpg, .png]                     # ends of file names; what stands before must be equal in a pair
    mask_suffix: .png
    upright: true                                  # were masks drawn on images turned upright, as viewers show them?
    bands: [1, 2, 3, 4, 5]                         # read these, as they are stored, in this order (docs/rasters.md)

Only `classes` must be given; the values of the five lines before `bands` are the defaults (images: any known kind).
With `bands` images are GeoTIFF, other rasters or NumPy arrays (.npy), of any number of bands and of 16 bits or floats;
without it they are RGB of 8 bits, whatever is stored. Of `upright`
`segattn data check` wants to hear where an image has an orientation (EXIF) other than 1.

Where the files are not in a folder for each split, `val` says which share of them is held out (`splits.py`)::

    classes: [plate, defect]
    images: images                  # the default with val
    masks: masks
    val: 0.2                        # a share above 0 and below 1; the rest trains
    test: 0.1                       # another one, by default none
    groups: {prefix: _}             # images whose names begin alike up to the first _ stay together; or groups: folder

What it says goes before what is assumed: `labels` before the ids 0 to K-1, `ignore` before 255 and before those ids.
Two of its lines that contradict each other are refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segattn.contracts import IGNORE, Classes, cut, nearest, shown
from segattn.datasets.bands import BAND_SUFFIXES
from segattn.datasets.headers import IMAGE_SUFFIXES
from segattn.datasets.splits import Division
from segattn.yaml_reader import read_yaml_file

DESCRIPTION = "dataset.yaml"
MOST_CLASSES = 254
LARGEST_ID = 0xFFFF
_LONGEST_NAME = 100
_MOST_BANDS = 512
_KEYS = (
    *("classes", "labels", "ignore", "images", "masks", "image_suffix", "mask_suffix", "upright"),
    *("val", "test", "groups", "bands"),
)
_ROW = "a name, or {name: ..., color: [red, green, blue] of 0..255}"
_GROUPS = "folder, or {prefix: _} for what stands before the first _ of a name"
_BLACK = ("background", "void", "unlabeled", "unlabelled")
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
        division: how the files of one folder are shared out to the splits; None where each split has folders.
        bands: numbers, from 1, of those that are read of each image as they are stored; None for RGB of 8 bits.
    """

    path: Path
    classes: Classes
    labels: dict[int, str]
    images: str
    masks: str
    image_suffixes: tuple[str, ...]
    mask_suffixes: tuple[str, ...]
    upright: bool | None
    division: Division | None = None
    bands: tuple[int, ...] | None = None


def read_description(root: Path) -> Description:
    """Read `root`/dataset.yaml.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is wrong, naming the file, the key and what to write.
    """
    path = root / DESCRIPTION
    data = read_yaml_file(path, DESCRIPTION)
    if not isinstance(data, dict):
        held = "nothing" if data is None else f"a {type(data).__name__}"
        raise ValueError(f"{path}: a mapping with the key classes was expected, this holds {held}")
    try:
        for key in data:
            if key not in _KEYS:
                raise ValueError(f"unknown key {shown(key)}.{nearest(str(key), _KEYS)} Known: {', '.join(_KEYS)}")
        classes = _classes(data.get("classes"))
        division = _division(data)
        return Description(
            path,
            classes,
            _labels(data, classes.names),
            _folder(data, "images", division),
            _folder(data, "masks", division),
            _suffixes(data, "image_suffix", IMAGE_SUFFIXES if "bands" not in data else BAND_SUFFIXES),
            _suffixes(data, "mask_suffix", (".png",)),
            _upright(data),
            division,
            _bands(data["bands"]) if "bands" in data else None,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _classes(rows: Any) -> Classes:
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"classes: a list was expected, each entry {_ROW}")
    if len(rows) > MOST_CLASSES:
        raise ValueError(f"classes: {len(rows)} of them; {MOST_CLASSES} at most, as 254 and 255 have other meanings")
    names: list[str] = []
    colours: list[Colour | None] = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            _check_name(f"classes.{number}", row)
            names.append(row)
            colours.append(None)
            continue
        if not {"name"} <= set(row) <= {"name", "color"} or ("color" in row and not _is_color(row["color"])):
            raise ValueError(f"classes.{number}: {shown(row)}; {_ROW} was expected")
        _check_name(f"classes.{number}.name", row["name"])
        names.append(row["name"])
        colours.append((row["color"][0], row["color"][1], row["color"][2]) if "color" in row else None)
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"classes: {cut(', '.join(twice))} twice; names must differ")
    return Classes(tuple(names), palette(names, colours))


Colour = tuple[int, int, int]


def palette(names: Sequence[str], given: Sequence[Colour | None]) -> tuple[Colour, ...]:
    """A colour for each class: the given one, or its own.

    Own colours differ from each other and from the given ones, and a class keeps its own when others are added after
    it: black for a first class called background, then hues a golden-ratio step apart.
    """
    taken = {colour for colour in given if colour is not None}
    fresh = (colour for colour in Classes.numbered(2 * MOST_CLASSES).palette if colour not in taken)
    colours: list[Colour] = []
    for name, colour in zip(names, given, strict=True):
        black = not colours and name.strip().lower() in _BLACK and (0, 0, 0) not in taken
        colours.append(colour if colour is not None else (0, 0, 0) if black else next(fresh))
    return tuple(colours)


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


def _bands(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_BANDS:
        raise ValueError(f"bands: {shown(value)}; a list of numbers from 1 on was expected, such as [1, 2, 3, 4]")
    for band in value:
        if type(band) is not int or not 1 <= band <= LARGEST_ID:
            raise ValueError(f"bands: {shown(band)}; the number of a band was expected, from 1 on")
    return tuple(value)


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


def _division(data: Mapping[str, Any]) -> Division | None:
    """What `val`, `test` and `groups` say."""
    if "val" not in data:
        alone = [key for key in ("test", "groups") if key in data]
        if alone:
            raise ValueError(f"{alone[0]}: without val, which says what share is held out, such as val: 0.2")
        return None
    val, test = (_share(data, key) if key in data else 0.0 for key in ("val", "test"))
    if val + test >= 1:
        raise ValueError(f"val, test: {val:g} and {test:g} leave nothing to train on; less than 1 together")
    groups = data.get("groups", {"prefix": ""})
    if groups == "folder":
        return Division(val, test, folders=True)
    prefix = groups.get("prefix") if isinstance(groups, dict) and set(groups) == {"prefix"} else None
    if not isinstance(prefix, str) or ("groups" in data and not prefix):
        raise ValueError(f"groups: {shown(groups)}; expected {_GROUPS}")
    return Division(val, test, prefix=prefix)


def _share(data: Mapping[str, Any], key: str) -> float:
    value = data[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ValueError(f"{key}: {shown(value)}; a share above 0 and below 1 was expected, such as 0.2")
    return float(value)


def _folder(data: Mapping[str, Any], key: str, division: Division | None) -> str:
    default = f"{key}/{{split}}" if division is None else key
    value = data.get(key, default)
    example = f"a folder was expected, such as {default}"
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{key}: {shown(value)}; {example}")
    if division is not None and "{split}" in value:
        raise ValueError(
            f"{key}: {shown(value)} names a folder for each split, and val shares out one folder: remove one of the two"
        )
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
