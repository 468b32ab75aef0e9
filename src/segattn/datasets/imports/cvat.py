"""CVAT: "CVAT for images 1.1" (annotations.xml), or "Segmentation mask 1.1", which has VOC's layout (see `voc`).

Layout: ``annotations.xml`` at the top or below, and ``images/NAME`` (projects: ``images/SUBSET/NAME``), as exported
with images. A split is the image's `subset`. Class colours are those of the labels in the file's head.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat, https://docs.cvat.ai/docs/other/xml_format,
and cvat/apps/dataset_manager/formats (transformations.py, mask.py; MIT), which turn shapes into masks for other
formats.

* Polygons and boxes become pixels by COCO's rule, as CVAT's own exports make them with pycocotools; a box with
  `rotation` turns about its centre; an ellipse is `cv2.ellipse` on rounded numbers. A mask is a list of run lengths
  that begins outside and goes along the rows of its box (`left`, `top`, `width`, `height`). There are no holes but in
  masks.
* Overlaps: by `z_order`, and in the order of the file where it is equal; later ones over earlier ones.
* Polylines, points, cuboids and skeletons have no area and are left out; tags say nothing about pixels.
* Images without shapes are background. Images that the file does not list are not imported.
* Orientation (EXIF): CVAT turns images upright; `width`, `height` and coordinates are of the upright image.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from xml.parsers import expat

import numpy as np

from segattn.contracts import cut, shown
from segattn.datasets.imports import voc
from segattn.datasets.imports.labelme import inside_image
from segattn.datasets.imports.rasterize import (
    FARTHEST,
    Patch,
    coco_polygon,
    cv_ellipse,
    points_of,
    require_near,
    rotated_box,
)
from segattn.datasets.imports.source import (
    Canvas,
    Colour,
    Files,
    Found,
    Job,
    Options,
    clean_name,
    is_ignored,
    size_of,
    split_in_path,
    split_of,
)

Attributes = dict[str, str]
_SHAPES = ("polygon", "box", "mask", "ellipse", "polyline", "points", "cuboid", "skeleton")
_DEEPEST = 32


@dataclass
class _Image:
    attributes: Attributes
    shapes: list[tuple[str, Attributes]] = field(default_factory=list)


def read(files: Files, options: Options) -> Found:
    """What the XML files of a folder describe, or else what its VOC layout holds.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: a file can't be read, is of videos, or two list the same image.
    """
    names = files.ending(".xml")
    readers = {name: reader for name in names if (reader := _Reader(files, name)).found_root}
    if not readers:
        if any(f"/{name}".find("/SegmentationClass/") >= 0 for name in files.images):
            return voc.read(files, options)
        raise files.expected("annotations.xml (CVAT for images 1.1) or SegmentationClass/ (Segmentation mask 1.1)")
    found = Found()
    seen: dict[str, str] = {}
    for name, reader in readers.items():
        if reader.tracks:
            raise ValueError(f"{files.all[name]}: is CVAT for video; export it as CVAT for images 1.1")
        for label, colour in reader.labels:
            found.add_class(label, colour)
        for image in reader.images:
            try:
                job = _job(files, name, image)
                if job.name in seen:
                    raise ValueError(f"lists {job.name}, as {seen[job.name]} does already")
            except ValueError as error:
                found.failed.append(f"{files.all[name]}: {error}")
                continue
            seen[job.name] = name
            found.jobs.append(job)
    for label in sorted({label for job in found.jobs for label in job.labels}):
        found.add_class(label)
    return found


class _Reader:
    """Walks through one XML file. A document type (DTD) is refused before anything in it can be expanded.

    Attributes:
        found_root: whether it is a file of CVAT at all.
    """

    def __init__(self, files: Files, name: str) -> None:
        self.found_root = self.tracks = False
        self.images: list[_Image] = []
        self.labels: list[tuple[str, Colour | None]] = []
        self._path: list[str] = []
        self._text = ""
        self._label: Attributes = {}
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(files.read(name), True)
        except (expat.ExpatError, ValueError) as error:
            if name.rpartition("/")[2] == "annotations.xml" or self.found_root:
                raise ValueError(f"{files.all[name]}: not readable as XML: {cut(str(error))}") from None

    def _refuse(self, *about: Any) -> None:
        raise ValueError("it has a document type (DTD), which is not read")

    def _start(self, tag: str, attributes: Attributes) -> None:
        self._path.append(tag)
        self._text = ""
        if len(self._path) > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} elements inside each other")
        if len(self._path) == 1:
            self.found_root = tag == "annotations"
            if not self.found_root:
                raise ValueError(f"the element annotations was expected, got {shown(tag)}")
        elif self._path[1:] == ["image"]:
            self.images.append(_Image(attributes))
        elif self._path[1:-1] == ["image"] and tag in _SHAPES:
            self.images[-1].shapes.append((tag, attributes))
        elif self._path[1:] == ["track"]:
            self.tracks = True

    def _end(self, tag: str) -> None:
        if self._path[-3:-1] == ["labels", "label"] and tag in ("name", "color"):
            self._label[tag] = self._text
        elif self._path[-2:] == ["labels", "label"]:
            self.labels.append((clean_name(self._label.get("name")), _colour(self._label.get("color", ""))))
            self._label = {}
        self._path.pop()

    def _characters(self, text: str) -> None:
        if len(self._text) < 1000:
            self._text += text


def _colour(text: str) -> Colour | None:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", text.strip()):
        return None
    number = int(text.strip()[1:], 16)
    return number >> 16, number >> 8 & 255, number & 255


def _job(files: Files, name: str, image: _Image) -> Job:
    said = image.attributes
    subset = said.get("subset", "")
    near = posixpath.join(posixpath.dirname(name), "images", subset)
    split = split_of(subset)
    path = files.find(said.get("name"), near=near, split=split)
    height, width = (_number(said, key) if key in said else None for key in ("height", "width"))
    labels = set()
    for _, attributes in image.shapes:
        try:
            labels.add(clean_name(attributes.get("label")))
        except ValueError:  # which is said when it is drawn
            continue
    shapes = sorted(image.shapes, key=lambda shape: _order(shape[1]))
    return Job(
        files.all[path],
        path,
        split or split_in_path(path),
        partial(_draw, shapes),
        frozenset(labels),
        size_of(height, width),
    )


def _order(attributes: Attributes) -> float:
    try:
        order = float(attributes.get("z_order", "0"))
    except ValueError:
        return 0.0
    return order if order == order else 0.0


def _draw(shapes: list[tuple[str, Attributes]], canvas: Canvas) -> None:
    for kind, attributes in shapes:
        try:
            label = clean_name(attributes.get("label"))
        except ValueError as error:
            canvas.skip(str(error))
            continue
        canvas.draw(None if is_ignored(label) else label, partial(_patches, kind, attributes))


def _patches(kind: str, said: Attributes, size: tuple[int, int]) -> list[Patch]:
    if kind == "polygon":
        pairs = [pair.split(",") for pair in said.get("points", "").split(";")]
        return [coco_polygon(points_of([[_float(value, "points") for value in pair] for pair in pairs]), size)]
    if kind == "box":
        box = _number(said, "xtl"), _number(said, "ytl"), _number(said, "xbr"), _number(said, "ybr")
        centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return [coco_polygon(rotated_box(box, _number(said, "rotation", 0.0), centre), size)]
    if kind == "ellipse":
        centre, radii = (_number(said, "cx"), _number(said, "cy")), (_number(said, "rx"), _number(said, "ry"))
        return [cv_ellipse(centre, radii, _number(said, "rotation", 0.0), size)]
    if kind == "mask":
        return [_mask(said, size)]
    raise ValueError(f"a {kind}, which has no area")


def _mask(said: Attributes, size: tuple[int, int]) -> Patch:
    numbers = [_number(said, key) for key in ("left", "top", "width", "height")]
    require_near(np.array([numbers[:2], numbers[2:]]))
    left, top, width, height = map(int, numbers)
    if min(width, height) < 1 or width > size[1] + FARTHEST // 2 or width * height > 4 * size[0] * size[1]:
        raise ValueError(f"a mask of {width}x{height} in an image of {size[1]}x{size[0]}")
    parts = said.get("rle", "").split(",")
    if not all(re.fullmatch(r"\s*\d{1,10}\s*", part) for part in parts):
        raise ValueError(f"rle: run lengths were expected, got {cut(said.get('rle', ''))!r}")
    runs = [int(part) for part in parts]
    if sum(runs) > width * height:
        raise ValueError(f"run lengths add up to {sum(runs)}, more than the mask's {width * height} pixels")
    runs.append(width * height - sum(runs))  # what they leave open is outside
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if len(runs) % 2 == 0 and runs[-1]:
        inside[-runs[-1] :] = False
    return inside_image(inside.reshape(height, width), top, left, size)


def _number(said: Attributes, key: str, default: float | None = None) -> float:
    if key not in said and default is not None:
        return default
    return _float(said.get(key, ""), key)


def _float(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what} {shown(text)}: a number was expected") from None
