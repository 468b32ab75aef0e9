"""Labelme: a JSON file for each image, as the program saves it.

Layout: ``NAME.json`` with `imagePath` (from the JSON file's folder on), `imageHeight`, `imageWidth` and `shapes`, and
the images, in any folders. A split is what a folder is called (train, val). ``labels.txt`` at the top, with a class on
each line as `labelme --labels` takes it, gives the classes' order; without it they are in alphabetical order.

Source: https://github.com/labelmeai/labelme (labelme/utils/shape.py and examples/semantic_segmentation), which is GPL:
nothing of it is used here.

* polygon, rectangle and circle are drawn as there, by Pillow with ``outline=1, fill=1``; a mask is a PNG in base64 that
  fills the box between its two points. Lines and points have no area and are left out, which labelme2voc draws
  10 pixels wide. There are no holes but in masks.
* Overlaps: in the order of the file, a later shape over an earlier one. `group_id` joins shapes to one object, which
  makes no difference here.
* `__ignore__` becomes 255, `_background_` paints background.
* An image whose file has no shapes is background; one without a JSON file has not been labelled and is not imported.
  `imageData` (the image inside the JSON file) is not read.
* Orientation (EXIF): Labelme turns images upright before it shows them, and coordinates are on the upright image.
"""

from __future__ import annotations

import base64
import posixpath
import struct
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import counted, shown
from segattn.datasets import decoding
from segattn.datasets.headers import MAX_PIXELS, ImageFile, read_header
from segattn.datasets.imports.rasterize import Patch, pil_circle, pil_polygon, pil_rectangle, points_of
from segattn.datasets.imports.source import (
    Canvas,
    Files,
    Found,
    Job,
    Options,
    clean_name,
    is_ignored,
    size_of,
    split_in_path,
)

_WITHOUT_AREA = ("line", "linestrip", "point", "points")


def read(files: Files, options: Options) -> Found:
    """What the JSON files of a folder describe.

    Raises:
        FileNotFoundError: no JSON file of this kind is there.
    """
    found = Found()
    if "labels.txt" in files.all:
        for line in files.read_lines("labels.txt"):
            found.add_class(line)
    seen: dict[str, str] = {}
    others = 0
    for name in files.ending(".json"):
        try:
            content = files.read_json(name)
        except ValueError as error:
            found.failed.append(str(error))
            continue
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            others += 1
            continue
        try:
            job = _job(files, name, content)
            if job.name in seen:
                raise ValueError(f"annotates {job.name}, as {seen[job.name]} does already")
        except ValueError as error:
            found.failed.append(f"{files.all[name]}: {error}")
            continue
        seen[job.name] = name
        found.jobs.append(job)
    if not found.jobs and not found.failed:
        raise files.expected("a JSON file with shapes and imagePath for each image")
    for label in sorted({label for job in found.jobs for label in job.labels}):
        found.add_class(label)
    unlabelled = len(set(files.images) - {job.name for job in found.jobs})
    if unlabelled:
        found.notes.append(f"not imported: {counted(unlabelled, 'image')} without a JSON file, so not labelled")
    if others:
        found.notes.append(f"passed over: {counted(others, 'JSON file')} without shapes")
    return found


def _job(files: Files, name: str, content: dict[str, Any]) -> Job:
    image = files.find(content.get("imagePath"), near=posixpath.dirname(name), split=split_in_path(name))
    shapes = content["shapes"]
    labels = set()
    for shape in shapes:
        try:
            labels.add(clean_name(shape.get("label") if isinstance(shape, dict) else None))
        except ValueError:  # which is said when it is drawn
            continue
    return Job(
        files.all[image],
        image,
        split_in_path(image) or split_in_path(name),
        partial(_draw, shapes),
        frozenset(labels),
        size_of(content.get("imageHeight"), content.get("imageWidth")),
    )


def _draw(shapes: list[Any], canvas: Canvas) -> None:
    for shape in shapes:
        if not isinstance(shape, dict):
            canvas.skip(f"a shape {shown(shape)}, where a mapping was expected")
            continue
        try:
            label = clean_name(shape.get("label"))
        except ValueError as error:
            canvas.skip(str(error))
            continue
        canvas.draw(None if is_ignored(label) else label, partial(_patches, shape))


def _patches(shape: dict[str, Any], size: tuple[int, int]) -> list[Patch]:
    kind = shape.get("shape_type") or "polygon"
    if kind in _WITHOUT_AREA:
        raise ValueError(f"a {kind}, which has no area")
    if kind not in ("polygon", "rectangle", "circle", "mask"):
        raise ValueError(f"shape_type {shown(kind)}: polygon, rectangle, circle or mask was expected")
    points = points_of(shape.get("points"), 3 if kind == "polygon" else 2)
    if kind == "polygon" or (kind == "rectangle" and len(points) == 4):
        return [pil_polygon(points, size)]
    if len(points) != 2:
        raise ValueError(f"a {kind} of {len(points)} points, and 2 were expected")
    if kind == "rectangle":
        return [pil_rectangle(points, size)]
    if kind == "circle":
        return [pil_circle(points, size)]
    (left, top), (right, bottom) = points.astype(int).tolist()
    inside = png_mask(shape.get("mask"))
    if inside.shape != (bottom - top + 1, right - left + 1):
        raise ValueError(f"a mask of {inside.shape[1]}x{inside.shape[0]} for a box of another size")
    return [inside_image(inside, top, left, size)]


def inside_image(inside: NDArray[np.bool_], top: int, left: int, size: tuple[int, int]) -> Patch:
    """The part of a mask that lies in the image of (height, width)."""
    rows = slice(max(0, -top), max(0, size[0] - top))
    columns = slice(max(0, -left), max(0, size[1] - left))
    return Patch(max(top, 0), max(left, 0), inside[rows, columns])


def png_mask(text: Any) -> NDArray[np.bool_]:
    """A PNG in base64 as (H, W) bool, true where it isn't 0. Raises ValueError for what is none."""
    if not isinstance(text, str):
        raise ValueError(f"mask: a PNG in base64 was expected, got {shown(text)}")
    try:
        data = base64.b64decode(text, validate=True)
        header = read_header(data)
    except (ValueError, EOFError, IndexError, struct.error):
        raise ValueError("a mask that is no PNG in base64") from None
    if header.kind != "PNG" or header.width * header.height > MAX_PIXELS:
        raise ValueError(f"a mask of kind {header.kind} and {header.width}x{header.height}; a PNG was expected")
    pixels = decoding.pillow(ImageFile(data, header), colours=False)
    return np.asarray(pixels.any(axis=2) if pixels.ndim == 3 else pixels != 0, np.bool_)
