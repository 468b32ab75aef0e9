"""Label Studio: its JSON export ("JSON", a list of tasks) with the images.

Layout: ``*.json``, a list of tasks with `data` (whose value that names an image below the folder is taken) and
`annotations`, and the images anywhere: Label Studio calls them ``/data/upload/1/3a5f-NAME.jpg``, and also the bare name
after the first "-" is looked for. Classes are in alphabetical order.

Source: https://labelstud.io/guide/export, https://labelstud.io/tags/brushlabels; the run lengths are those of
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack (see `brush`).

* Of a task's annotations one is taken: the ground truth where one is marked, else the first that was not cancelled.
  Predictions are not read.
* polygonlabels, rectanglelabels and ellipselabels are in percent of `original_width` and `original_height`. Polygons
  and rectangles (turned clockwise about their first corner) become pixels by COCO's rule, as Label Studio's own COCO
  export is drawn; ellipses by `cv2.ellipse`. brushlabels are run lengths of RGBA pixels, inside where alpha is 128 or
  more. A label that is a region of its own (`labels` beside `polygon`) is joined by their `id`.
* Overlaps: in the order of the results, a later one over an earlier one. There are no holes but in brush masks.
* Tasks whose annotation has no region are background. Those without an annotation that was not cancelled nobody has
  labelled: they are not imported. Keypoints, texts and choices say nothing about pixels.
* Orientation (EXIF): browsers turn images upright, and so `original_width` and coordinates are of the upright image.
  Regions drawn while the image was turned in Label Studio (`image_rotation` other than 0) are left out, as it isn't
  documented what their coordinates refer to: turn the image back there.
"""

from __future__ import annotations

import posixpath
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from segattn.contracts import counted, shown
from segattn.datasets.imports.brush import decode_brush
from segattn.datasets.imports.rasterize import (
    Patch,
    coco_polygon,
    cropped,
    cv_ellipse,
    points_of,
    require_near,
    rotated_box,
)
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

Row = dict[str, Any]
_SHAPES = ("polygon", "rectangle", "ellipse", "brush")


def read(files: Files, options: Options) -> Found:
    """What the JSON exports of a folder describe.

    Raises:
        FileNotFoundError: no JSON file of this kind is there.
        ValueError: one can't be read, or is a JSON-MIN export.
    """
    found = Found()
    seen: dict[str, str] = {}
    exports = several = unlabelled = 0
    for name in files.ending(".json"):
        tasks = files.read_json(name)
        if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
            continue
        if not all(isinstance(task.get("annotations"), list) and isinstance(task.get("data"), dict) for task in tasks):
            if any("annotation_id" in task for task in tasks):
                raise ValueError(f"{files.all[name]}: is a JSON-MIN export; export it as JSON")
            continue
        exports += 1
        for task in tasks:
            several += len(task["annotations"]) > 1
            if not _labelled(task):
                unlabelled += 1
                continue
            try:
                job = _job(files, name, task)
                if job.name in seen:
                    raise ValueError(f"task {shown(task.get('id'))} is of {job.name}, as {seen[job.name]} is already")
            except ValueError as error:
                found.failed.append(f"{files.all[name]}: {error}")
                continue
            seen[job.name] = f"task {shown(task.get('id'))}"
            found.jobs.append(job)
    if not exports:
        raise files.expected("a JSON file with a list of tasks (data, annotations)")
    for label in sorted({label for job in found.jobs for label in job.labels}):
        found.add_class(label)
    if several:
        found.notes.append(
            f"{counted(several, 'task')} with several annotations: the ground truth, or the first, taken"
        )
    if unlabelled:
        found.notes.append(f"not imported: {counted(unlabelled, 'task')} that nobody has labelled")
    return found


def _labelled(task: Row) -> list[Row]:
    """The annotations of a task that somebody submitted: none of a task that was exported unlabelled, or skipped."""
    return [one for one in task["annotations"] if isinstance(one, dict) and not one.get("was_cancelled")]


def _job(files: Files, name: str, task: Row) -> Job:
    image = _image(files, name, task)
    annotations = _labelled(task)
    chosen = next((one for one in annotations if one.get("ground_truth") is True), annotations[0])
    results = chosen.get("result", [])
    if not isinstance(results, list):
        raise ValueError(f"task {shown(task.get('id'))}: result: a list was expected, got {shown(results)}")
    regions, size = [], None
    words = _labels_by_id(results)
    for result in results:
        shape = _shape_of(result)
        if shape is not None:
            size = size or size_of(result.get("original_height"), result.get("original_width"))
            regions.append((shape, _label_of(result, words), result))
    labels = frozenset(label for _, label, _ in regions if label is not None)
    return Job(files.all[image], image, split_in_path(image), partial(_draw, regions), labels, size)


def _image(files: Files, name: str, task: Row) -> str:
    error: ValueError | None = None
    near = posixpath.dirname(name)
    said = [task.get("file_upload"), *task["data"].values()]
    for value in [value for value in said if isinstance(value, str)]:
        for candidate in _candidates(value):
            try:
                return files.find(candidate, near=near)
            except ValueError as reason:
                error = error or reason
    raise error or ValueError(f"task {shown(task.get('id'))}: no image is named in data")


def _candidates(value: str) -> list[str]:
    """What a path or an address may be called in the folder."""
    try:
        parts = urlsplit(value)
        local = parse_qs(parts.query).get("d", [""])[0]
    except ValueError:
        return [value]
    path = local or unquote(parts.path)
    folder, _, last = path.rpartition("/")
    bare = last.partition("-")[2]
    return [path] + ([f"{folder}/{bare}" if folder else bare] if bare else [])


def _shape_of(result: Any) -> str | None:
    if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
        return None
    kind = result.get("type")
    kind = kind.removesuffix("labels") if isinstance(kind, str) else ""
    return kind if kind in _SHAPES else None


def _words(result: Row) -> str | None:
    for key, value in result["value"].items():
        if key.endswith("labels") and isinstance(value, list) and value and isinstance(value[0], str):
            try:
                return clean_name(value[0])
            except ValueError:
                return None
    return None


def _labels_by_id(results: list[Any]) -> dict[str, str]:
    words: dict[str, str] = {}
    for result in results:
        if isinstance(result, dict) and isinstance(result.get("value"), dict) and isinstance(result.get("id"), str):
            label = _words(result)
            if label is not None:
                words.setdefault(result["id"], label)
    return words


def _label_of(result: Row, words: dict[str, str]) -> str | None:
    own = _words(result)
    key = result.get("id")
    return own if own is not None or not isinstance(key, str) else words.get(key)


def _draw(regions: list[tuple[str, str | None, Row]], canvas: Canvas) -> None:
    for shape, label, result in regions:
        if label is None:
            canvas.skip("a region without a label")
        else:
            canvas.draw(None if is_ignored(label) else label, partial(_patches, shape, result))


def _patches(shape: str, result: Row, size: tuple[int, int]) -> list[Patch]:
    turned = result.get("image_rotation", 0)
    if turned not in (0, None, 360):
        raise ValueError(f"drawn on an image turned by {shown(turned)} in Label Studio; turn it back there")
    if (said := size_of(result.get("original_height"), result.get("original_width"))) not in (None, size):
        raise ValueError(f"a region of another size than its image's {size[1]}x{size[0]}: {said}")
    value, (height, width) = result["value"], size
    if shape == "brush":
        return [cropped(decode_brush(value.get("rle"), size))]
    if shape == "polygon":
        points = points_of(value.get("points"))
        return [coco_polygon(points / 100 * np.array([width, height]), size)]
    if shape == "rectangle":
        left, top, wide, high, degrees = (_number(value, key) for key in ("x", "y", "width", "height", "rotation"))
        corner = left / 100 * width, top / 100 * height
        box = (*corner, corner[0] + wide / 100 * width, corner[1] + high / 100 * height)
        return [coco_polygon(rotated_box(box, degrees, corner), size)]
    x, y, wide, high, degrees = (_number(value, key) for key in ("x", "y", "radiusX", "radiusY", "rotation"))
    centre, radii = (x / 100 * width, y / 100 * height), (wide / 100 * width, high / 100 * height)
    return [cv_ellipse(centre, radii, degrees, size)]


def _number(value: Row, key: str) -> float:
    number = value.get(key, 0 if key == "rotation" else None)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{key} {shown(number)}: a number was expected")
    if isinstance(number, int) and abs(number) > 1 << 40:
        raise ValueError(f"{key}: a number that is too large")
    require_near(np.array([[number, 0.0]]))
    return float(number)
