"""YOLO-seg: outlines in text files, as Ultralytics trains on them and Roboflow, CVAT and others write them.

Layout: ``data.yaml`` (any ``*.yaml`` with `names`) at the top, ``images/{train,val}/NAME.jpg`` and
``labels/{train,val}/NAME.txt``, or Roboflow's ``{train,valid,test}/{images,labels}/``. `names` is a list or {0: name}.
`train`, `val` and `test` name folders of images, or text files that list images, from `path` or the file's own folder
on; only what lies in the source folder is read. A label file is the image's path with ``images`` (the last one) as
``labels`` and the suffix as ``.txt``, or lies beside it.

Source: https://docs.ultralytics.com/datasets/segment/ (Ultralytics is AGPL: nothing of it is used here).

* A line is ``class x1 y1 x2 y2 ...`` in fractions of the width and height. Times the size and cut to whole pixels it is
  filled by `cv2.fillPoly`, border included, as Ultralytics makes its training masks.
* Overlaps: smaller areas over larger ones, as Ultralytics draws them, whatever the order in the file. There are no
  holes, and no ignored regions.
* A line of four numbers is a box and no outline; it is left out, as are lines out of the range 0 to 1.
* Images without a label file, or with an empty one, are background, as Ultralytics takes them.
* Orientation (EXIF): Ultralytics turns images upright before it reads them, and fractions are of the upright image.
"""

from __future__ import annotations

import posixpath
from functools import partial
from typing import Any

import numpy as np

from segattn.contracts import counted, cut, shown
from segattn.datasets.imports.rasterize import Patch, Points, cv_polygon
from segattn.datasets.imports.source import Canvas, Files, Found, Job, Options, is_ignored, split_in_path
from segattn.files import decoded
from segattn.yaml_reader import YamlError, read_yaml

_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SLACK = 1e-3  # beyond 0 and 1, for fractions that were rounded


def read(files: Files, options: Options) -> Found:
    """What a YOLO folder describes.

    Raises:
        FileNotFoundError: no data.yaml, or no images.
        ValueError: data.yaml or a list can't be read.
    """
    name, content = _description(files)
    found = Found()
    try:
        names = _names(content["names"], found)
    except ValueError as error:
        raise ValueError(f"{files.all[name]}: {error}") from None
    splits = _splits(files, name, content, found)
    if not splits:
        splits = {image: split_in_path(image) for image in files.images}
        found.notes.append(f"{name} names no folder that is here: all images below {files.root} were taken")
    if not splits:
        raise files.expected("images/* with labels/*.txt")
    unlabelled = 0
    for image, split in splits.items():
        label = _label_file(files, image)
        unlabelled += label is None
        try:
            outlines = [row.split() for row in files.read_lines(label)] if label is not None else []
        except ValueError as error:
            found.failed.append(str(error))
            continue
        labels = frozenset(names[row[0]] for row in outlines if row[0] in names)
        found.jobs.append(Job(files.all[image], image, split, partial(_draw, outlines, names), labels))
    if unlabelled == len(splits):
        raise files.expected("labels/*.txt beside images/*")
    if unlabelled:
        found.notes.append(f"{counted(unlabelled, 'image')} without a label file: background")
    return found


def _description(files: Files) -> tuple[str, dict[str, Any]]:
    names = [name for name in files.ending(".yaml", ".yml") if name.count("/") <= 1]
    for name in sorted(names, key=lambda name: (posixpath.basename(name) != "data.yaml", name.count("/"), name)):
        try:
            content = read_yaml(decoded(files.read(name)))
        except (YamlError, UnicodeError) as error:
            raise ValueError(f"{files.all[name]}: not readable as YAML: {error}") from None
        if isinstance(content, dict) and "names" in content:
            return name, content
    raise files.expected("data.yaml with the key names")


def _names(value: Any, found: Found) -> dict[str, str]:
    """Class by its number as text."""
    rows = list(enumerate(value)) if isinstance(value, list) else list(value.items()) if isinstance(value, dict) else []
    if not rows or any(type(number) is not int for number, _ in rows):
        raise ValueError(f"names: a list of names or {{0: name}} was expected, got {shown(value)}")
    return {str(number): found.add_class(str(name) if type(name) is int else name) for number, name in sorted(rows)}


def _splits(files: Files, name: str, content: dict[str, Any], found: Found) -> dict[str, str | None]:
    """Split by image, for all that the file names."""
    splits: dict[str, str | None] = {}
    for key, split in _KEYS.items():
        values = content.get(key)
        for value in values if isinstance(values, list) else [values]:
            if value is None or value == "":
                continue
            for image in _images_of(files, posixpath.dirname(name), content.get("path"), value, split, found):
                splits.setdefault(image, split)
    return splits


def _images_of(files: Files, near: str, path: Any, value: Any, split: str, found: Found) -> list[str]:
    if not isinstance(value, str):
        raise ValueError(f"{files.root}: {split}: a folder or a list file was expected, got {shown(value)}")
    starts = [posixpath.join(near, path) if isinstance(path, str) else near, near]
    folders = {posixpath.normpath(posixpath.join(start, value.replace("\\", "/"))) for start in starts}
    parts = [part for part in value.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    folders |= {"/".join(parts[number:]) for number in range(len(parts))}  # of a machine on which it lay elsewhere
    if value.endswith(".txt"):
        lists = [folder for folder in folders if folder in files.all]
        names = []
        for line in files.read_lines(max(lists, key=len)) if lists else []:
            try:
                names.append(files.find(line.strip(), near=near, split=split))
            except ValueError as error:
                found.failed.append(f"{split}: {error}")
        return names
    for folder in sorted(folders, key=len, reverse=True):
        start = "" if folder == "." else f"{folder}/"
        names = [name for name in files.images if name.startswith(start)]
        if names and folder != ".":
            return names
    found.notes.append(f"{split}: {cut(value)} is not below {files.root}")
    return []


def _label_file(files: Files, image: str) -> str | None:
    stem = posixpath.splitext(image)[0]
    start, folder, rest = f"/{stem}".rpartition("/images/")
    places = [f"{start}/labels/{rest}.txt"[1:]] if folder else []
    return next((place for place in (*places, f"{stem}.txt") if place in files.all), None)


def _draw(rows: list[list[str]], names: dict[str, str], canvas: Canvas) -> None:
    shapes: list[tuple[int, str, Patch]] = []
    for row in rows:
        try:
            label, points = _outline(row, names, canvas.size)
            patch = cv_polygon(points, canvas.size)
            shapes.append((int(patch.inside.sum()), label, patch))
        except ValueError as error:
            canvas.skip(str(error))
    for _, label, patch in sorted(shapes, key=lambda shape: -shape[0]):
        canvas.draw(None if is_ignored(label) else label, partial(_same, patch))


def _same(patch: Patch, size: tuple[int, int]) -> list[Patch]:
    return [patch]


def _outline(row: list[str], names: dict[str, str], size: tuple[int, int]) -> tuple[str, Points]:
    if row[0] not in names:
        raise ValueError(f"class {shown(row[0][:20])} is none of the {len(names)} names in data.yaml")
    if len(row) == 5:
        raise ValueError("a box and no outline (4 numbers)")
    if len(row) < 7 or len(row) % 2 == 0:
        raise ValueError(f"{len(row) - 1} numbers, and pairs for 3 points or more were expected")
    try:
        points = np.array(row[1:], dtype=np.str_).astype(np.float64).reshape(-1, 2)
    except ValueError:
        raise ValueError("numbers were expected after the class") from None
    if not ((points >= -_SLACK) & (points <= 1 + _SLACK)).all():
        raise ValueError("coordinates outside 0 to 1")
    return names[row[0]], points * np.array([size[1], size[0]], np.float64)
