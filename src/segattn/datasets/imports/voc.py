"""VOC's layout: palette or RGB PNGs, as of PASCAL VOC, CVAT ("Segmentation mask 1.1"), Datumaro and labelme2voc.

Layout, at the top or in a folder such as VOCdevkit/VOC2012::

    JPEGImages/NAME.jpg                     or images/; any known kind, sub-folders too
    SegmentationClass/NAME.png              or SegmentationClassPNG/
    ImageSets/Segmentation/{train,val,test,trainval,default}.txt     names without suffix; optional
    labelmap.txt                            name:r,g,b:parts:actions; of CVAT and Datumaro
    class_names.txt                         a class on each line; of labelme2voc

Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html and
https://docs.cvat.ai/docs/dataset_management/formats/format-smask.

* With a labelmap.txt (or `legend`) colours decide, also those of a palette. Without one, indices do: line n of
  class_names.txt is index n (the first is 0), and where that is missing they are VOC's own 21 classes.
* Index 255, and VOC's border colour (224, 224, 192) where the legend has no name for it, become 255.
* Overlaps and holes are in the masks already. A colour or an index without a name stops that image alone.
* Where there are lists, images that none of them names are not imported; listed images without a mask are not labelled.
* Orientation (EXIF): CVAT's masks are on upright images, VOC's on the pixels as stored; where the mask's size decides,
  it does.
"""

from __future__ import annotations

import posixpath
import re
from functools import partial
from pathlib import Path

import numpy as np

from segattn.contracts import counted, shown
from segattn.datasets.base import distinct_colours
from segattn.datasets.headers import IMAGE_SUFFIXES, read_checked
from segattn.datasets.images import read_ids
from segattn.datasets.imports.legend import Legend, draw_colours, parse_legend
from segattn.datasets.imports.source import Canvas, Files, Found, Job, Options, is_ignored, split_of
from segattn.datasets.voc import CLASSES
from segattn.files import read_regular

_VOID = (224, 224, 192)
_MASKS = ("SegmentationClassPNG", "SegmentationClass")
_IMAGES = ("JPEGImages", "images")


def read(files: Files, options: Options) -> Found:
    """What a folder in VOC's layout holds.

    Raises:
        FileNotFoundError: the folders of masks or of images are not there.
        ValueError: a legend or a list can't be read, or there are masks in several places.
    """
    top, masks = _masks(files)
    images = _images(files, top)
    found = Found()
    legend = _legend(files, top, options)
    if legend is not None:
        for colour, label in legend.items():
            found.add_class(label, colour)
        legend.setdefault(_VOID, "ignore")
    names = [] if legend is not None else _names(files, top, found)
    splits = _splits(files, top, found)
    for name, mask in masks.items():
        if splits is not None and name not in splits:
            continue
        files.note_state(mask)
        if name not in images:
            found.failed.append(f"{files.all[mask]}: no image {name} in {' or '.join(_IMAGES)}")
            continue
        path = files.all[mask]
        draw = partial(draw_colours, path, legend) if legend is not None else partial(_draw_indices, path, names)
        split = splits[name] if splits is not None else None
        job = Job(files.all[images[name]], images[name], split, draw, measure=partial(measure, path))
        job.upright = legend is not None
        found.jobs.append(job)
    if splits is not None:
        unlisted, unmade = len(set(masks) - set(splits)), len(set(splits) - set(masks))
        if unlisted:
            found.notes.append(
                f"not imported: {counted(unlisted, 'mask')} that no list in ImageSets/Segmentation names"
            )
        if unmade:
            found.notes.append(f"not imported: {counted(unmade, 'listed name')} without a mask")
    return found


def measure(mask: Path) -> tuple[int, int]:
    """(height, width) of a mask. Raises ValueError naming it if it is no image."""
    header = read_checked(mask).header
    return header.height, header.width


def _masks(files: Files) -> tuple[str, dict[str, str]]:
    """The folder above SegmentationClass ("" or ending in "/"), and the masks in it by their name."""
    for folder in _MASKS:
        found: dict[str, dict[str, str]] = {}
        for name in files.images:
            top, inside, rest = f"/{name}".partition(f"/{folder}/")
            if inside and name.lower().endswith(".png"):
                found.setdefault(top[1:] + "/" * bool(top), {})[posixpath.splitext(rest)[0]] = name
        if len(found) > 1:
            raise ValueError(
                f"{files.root}: {folder} is in {' and '.join(map(shown, sorted(found)))}; give one of these folders"
            )
        if found:
            return next(iter(found.items()))
    raise files.expected("SegmentationClass/*.png")


def _images(files: Files, top: str) -> dict[str, str]:
    for folder in _IMAGES:
        start = f"{top}{folder}/"
        found = {posixpath.splitext(name[len(start) :])[0]: name for name in files.images if name.startswith(start)}
        if found:
            return found
    raise files.expected(f"{top}JPEGImages/* or {top}images/* ({', '.join(IMAGE_SUFFIXES)})")


def _legend(files: Files, top: str, options: Options) -> Legend | None:
    name = next((name for name in (f"{top}labelmap.txt", "labelmap.txt") if name in files.all), None)
    path = options.legend or (files.all[name] if name is not None else None)
    if path is None:
        return None
    data = read_regular(path, "legend")
    files.note(path.name, data)
    try:
        return parse_legend(path.name, data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _names(files: Files, top: str, found: Found) -> list[str]:
    """The classes by index."""
    name = next((name for name in (f"{top}class_names.txt", "class_names.txt") if name in files.all), None)
    colours = distinct_colours(256)
    if name is None:
        found.notes.append("neither labelmap.txt nor class_names.txt: the indices are taken as VOC's own 21 classes")
        labels = list(CLASSES.names)
    else:
        labels = files.read_lines(name)
        if labels and labels[0].strip() == "__ignore__":
            labels = labels[1:]
    if len(labels) > 255:
        raise ValueError(f"{files.all[name or '']}: {len(labels)} classes, and 255 at most were expected")
    return [found.add_class(label, colours[number]) for number, label in enumerate(labels)]


def _splits(files: Files, top: str, found: Found) -> dict[str, str | None] | None:
    """Split by name, from the lists; None where there are none."""
    start = f"{top}ImageSets/Segmentation/"
    lists = {name[len(start) : -4]: name for name in files.ending(".txt") if name.startswith(start)}
    chosen = {word: name for word, name in lists.items() if split_of(word)} or lists
    if not chosen:
        return None
    splits: dict[str, str | None] = {}
    for word, name in chosen.items():
        for line in files.read_lines(name):
            splits.setdefault(re.sub(r'^"|"$', "", line.strip()), split_of(word))
    return splits


def _draw_indices(mask: Path, names: list[str], canvas: Canvas) -> None:
    ids = read_ids(mask)
    if ids.shape != canvas.size:
        raise ValueError(f"{mask}: is {ids.shape[1]}x{ids.shape[0]}, its image {canvas.size[1]}x{canvas.size[0]}")
    present = np.flatnonzero(np.bincount(ids.ravel())).tolist()
    unknown = [value for value in present if value >= len(names) and value != 255]
    if unknown:
        raise ValueError(
            f"{mask}: no name for index {', '.join(map(str, unknown[:8]))}; {len(names)} classes are known "
            "(class_names.txt names them, a line each)"
        )
    labels = [names[value] if value < len(names) else None for value in present]
    known = [label if label is not None and not is_ignored(label) else None for label in labels]
    canvas.fill((label, ids == value) for label, value in zip(known, present, strict=True))
