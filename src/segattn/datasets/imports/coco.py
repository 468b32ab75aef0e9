"""COCO: JSON files of instances, as COCO itself, CVAT, Roboflow, Label Studio, FiftyOne and others write it.

Layout: one or more JSON files with `images`, `annotations` and `categories`, anywhere below the source folder, and the
images: ``annotations/instances_train2017.json`` with ``train2017/``; CVAT's ``annotations/instances_default.json`` with
``images/default/``; Roboflow's ``train/_annotations.coco.json`` beside its images. Where there are files
`instances_*.json`, the others (keypoints, captions) are passed over. A split is what a file's name or folder says.

Source: https://cocodataset.org/#format-data and cocoapi (PythonAPI/pycocotools/mask.py, common/maskApi.c).

* A polygon list is the union of its polygons, each even-odd; so there are holes in run lengths alone. Run lengths go
  down the columns, as a list of counts or as packed text.
* Overlaps: in the order of the file, a later annotation over an earlier one, as COCO's own stuff API draws them.
* `iscrowd: 1` (and `ignore: 1`) becomes 255, where no other shape is drawn. CVAT marks every brush mask so: such
  regions are drawn as their class with the option `crowd="class"`.
* Images without annotations are background. Images that no file lists are not imported.
* Orientation (EXIF): coordinates are on the pixels as they are stored, as the published set means it, unless
  `height` and `width` say that they are on the upright image, as tools in a browser write them.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

from segattn.contracts import counted, cut, shown
from segattn.datasets.formats import decode_rle
from segattn.datasets.imports.rasterize import Patch, coco_polygon, cropped, points_of
from segattn.datasets.imports.source import (
    Canvas,
    Colour,
    Files,
    Found,
    Job,
    Options,
    is_ignored,
    size_of,
    split_in_file_name,
)

Row = dict[str, Any]
_KEYS = ("images", "annotations", "categories")


def read(files: Files, options: Options) -> Found:
    """What the JSON files of a folder describe.

    Raises:
        FileNotFoundError: no JSON file of this kind is there.
        ValueError: one can't be read, or two annotate the same image.
    """
    if options.crowd not in ("ignore", "class"):
        raise ValueError(f"crowd {shown(options.crowd)}: ignore or class was expected")
    found = Found()
    contents = dict(_contents(files, options, found))
    if not contents:
        raise files.expected("a JSON file with images, annotations and categories")
    chosen = [name for name in contents if posixpath.basename(name).startswith("instances")] or list(contents)
    if len(chosen) < len(contents):
        found.notes.append(f"read {cut(', '.join(chosen))}; the other JSON files were passed over (--annotations)")
    seen: dict[str, str] = {}
    crowds = 0
    for name in chosen:
        try:
            crowds += _read_file(files, name, contents[name], found, seen, options.crowd == "class")
        except ValueError as error:
            raise ValueError(f"{files.all[name]}: {error}") from None
    if crowds:
        found.notes.append(
            f"{counted(crowds, 'annotation')} with iscrowd: 1 became 255; --crowd class draws them as their class (CVAT"
            " marks brush masks so)"
            if options.crowd == "ignore"
            else f"{counted(crowds, 'annotation')} with iscrowd: 1 drawn as their class"
        )
    return found


def _contents(files: Files, options: Options, found: Found) -> Iterator[tuple[str, Row]]:
    names = files.ending(".json")
    if options.annotations:
        names = [files.named(name) for name in options.annotations]
    for name in names:
        content = files.read_json(name)
        if isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _KEYS):
            first = content["annotations"][0] if content["annotations"] else {}
            if isinstance(first, dict) and "segments_info" in first:
                found.notes.append(f"{name}: panoptic annotations are not read")
                continue
            yield name, content
        elif options.annotations:
            raise ValueError(f"{files.all[name]}: lists images, annotations and categories were expected, as COCO has")


def _read_file(files: Files, name: str, content: Row, found: Found, seen: dict[str, str], draw_crowds: bool) -> int:
    """Adds the jobs of one file; the number of crowd annotations."""
    folder, split = posixpath.dirname(name), split_in_file_name(name)
    categories: dict[Any, str] = {}
    for number, row in enumerate(content["categories"]):
        if not isinstance(row, dict) or not isinstance(row.get("id"), int | str):
            raise ValueError(f"categories.{number}: a mapping with id and name was expected, got {shown(row)}")
        categories[row["id"]] = found.add_class(row.get("name"), _colour(row.get("color")))
    annotations: defaultdict[Any, list[Row]] = defaultdict(list)
    for number, row in enumerate(content["annotations"]):
        if not isinstance(row, dict) or not isinstance(row.get("image_id"), int | str):
            raise ValueError(f"annotations.{number}: a mapping with image_id was expected, got {shown(row)}")
        annotations[row["image_id"]].append(row)
    for number, row in enumerate(content["images"]):
        if not isinstance(row, dict) or not isinstance(row.get("id"), int | str):
            raise ValueError(f"images.{number}: a mapping with id and file_name was expected, got {shown(row)}")
        own = annotations.pop(row["id"], [])
        try:
            image = files.find(row.get("file_name"), near=folder, split=split)
            size = size_of(row.get("height"), row.get("width"))
        except ValueError as error:
            found.failed.append(f"{files.all[name]}: image {shown(row['id'])}: {error}")
            continue
        if image in seen:
            raise ValueError(
                f"annotates {image}, as {seen[image]} does" + (" already" if seen[image] != name else " twice")
                + "; name the files to read with --annotations"
            )  # fmt: skip
        seen[image] = name
        labels = (categories.get(_key(one.get("category_id"))) for one in own)
        found.jobs.append(
            Job(
                files.all[image],
                image,
                split or split_in_file_name(f"{posixpath.dirname(image)}/-"),
                partial(_draw, own, categories, draw_crowds),
                frozenset(label for label in labels if label is not None),
                size,
                upright=False,
            )
        )
    if annotations:
        lost = sum(map(len, annotations.values()))
        found.notes.append(f"{name}: {counted(lost, 'annotation')} of images that it does not list")
    return sum(_is_crowd(row) for row in content["annotations"])


def _key(value: Any) -> Any:
    return value if isinstance(value, int | str) else None


def _is_crowd(annotation: Row) -> bool:
    return annotation.get("iscrowd") in (1, True) or annotation.get("ignore") in (1, True)


def _colour(value: Any) -> Colour | None:
    fits = isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)
    return (value[0], value[1], value[2]) if fits else None


def _draw(annotations: list[Row], categories: dict[Any, str], draw_crowds: bool, canvas: Canvas) -> None:
    crowds = [row for row in annotations if _is_crowd(row)] if not draw_crowds else []
    for row in crowds:
        canvas.draw(None, partial(_patches, row, canvas))
    for row in annotations:
        if draw_crowds or not _is_crowd(row):
            label = categories.get(_key(row.get("category_id")))
            if label is None:
                canvas.skip(f"category_id {shown(row.get('category_id'))} is none of the categories")
            else:
                canvas.draw(None if is_ignored(label) else label, partial(_patches, row, canvas))


def _patches(annotation: Row, canvas: Canvas, size: tuple[int, int]) -> list[Patch]:
    outline = annotation.get("segmentation")
    if not outline:
        raise ValueError("an annotation without a segmentation (a box or keypoints)")
    if isinstance(outline, dict):
        inside = decode_rle(outline)
        if inside.shape != size:
            raise ValueError(f"run lengths of {inside.shape[1]}x{inside.shape[0]} in an image of {size[1]}x{size[0]}")
        return [cropped(inside)]
    if not isinstance(outline, list):
        raise ValueError(f"segmentation: polygons or run lengths were expected, got {shown(outline)}")
    patches, wrong = [], []
    for part in outline:
        try:
            patches.append(coco_polygon(points_of(part), size))
        except ValueError as error:
            wrong.append(str(error))
    if not patches:
        raise ValueError(wrong[0])
    for reason in wrong:
        canvas.skip(f"a part of an annotation: {reason}")
    return patches
