"""Masks in colours with a file that says which colour is which class.

Layout: images and masks, told apart by a folder's or a file's name, and one legend (see `legend`) at the top::

    images/NAME.jpg            masks/NAME.png            or labels, annotations, gt, SegmentationClass, ...
    train/NAME.png             train_labels/NAME.png     and the like for val and test, as of CamVid's copies
    NAME.jpg                   NAME_mask.png             or _masks, _label, _labels, _gt, _seg, _L

A pair is two files whose paths are equal but for such words and the suffix. A split is what a folder is called.

* A colour without a name stops that image alone: it says which colours, and in how many pixels. JPEG masks are refused.
* A class called ignore (or one given as `ignore`) becomes 255.
* Overlaps and holes are in the masks already. Images without a mask are not labelled, and not imported.
* Orientation (EXIF): masks are taken to be on upright images, unless their size says that they are on the stored
  pixels.
"""

from __future__ import annotations

import posixpath
import re
from functools import partial
from pathlib import Path

from segattn.contracts import counted, cut
from segattn.datasets.imports.legend import SUFFIXES, Legend, draw_colours, parse_legend
from segattn.datasets.imports.source import Files, Found, Job, Options, split_in_path
from segattn.datasets.imports.voc import measure
from segattn.files import read_regular

_MASK_WORDS = "masks?|labels?|annotations?|annots?|gts?|ground_?truths?|segs?|segmentations?|segmentationclass|l"
_IMAGE_WORDS = "images?|imgs?|jpegimages|photos?|pictures?|rgb"
_FOLDER = re.compile(rf"(?:(?P<mask>{_MASK_WORDS})|(?P<image>{_IMAGE_WORDS}))", re.IGNORECASE)
_END = re.compile(rf"(?P<stem>.*?)(?:[_-](?P<mask>{_MASK_WORDS})|[_-](?P<image>{_IMAGE_WORDS})|(?P<annot>annot))", re.I)


def read(files: Files, options: Options) -> Found:
    """What a folder of images and masks in colours holds.

    Raises:
        FileNotFoundError: no legend, no masks or no images are there.
        ValueError: the legend can't be read, or several are there, or two files are one mask's image.
    """
    legend = _legend(files, options)
    found = Found()
    for colour, label in legend.items():
        found.add_class(label, colour)
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    for name in files.images:
        key, is_mask = _key(name)
        other = (masks if is_mask else images).setdefault(key, name)
        if other != name:
            raise ValueError(
                f"{files.all[name]} and {files.all[other]}: both seem to be the {'mask' if is_mask else 'image'} of "
                f"{cut(key)}; keep one of them there"
            )
    if not masks or not images:
        what = "masks (in a folder masks, labels, ... or called NAME_mask.png, NAME_labels.png, ...)"
        raise files.expected(
            what if images else "images beside the masks (in a folder images, or under the masks' names)"
        )
    for key, name in masks.items():
        mask = files.all[name]
        files.note_state(name)
        if key not in images:
            found.failed.append(f"{mask}: no image for this mask")
            continue
        image = images[key]
        job = Job(
            files.all[image],
            image,
            split_in_path(image) or split_in_path(f"{key}/-"),
            partial(draw_colours, mask, legend),
        )
        job.measure = partial(measure, mask)
        found.jobs.append(job)
    unlabelled = len(set(images) - set(masks))
    if unlabelled:
        found.notes.append(f"not imported: {counted(unlabelled, 'image')} without a mask")
    return found


def _key(name: str) -> tuple[str, bool]:
    """What is equal for an image and its mask, and whether this is the mask."""
    *folders, last = name.split("/")
    is_mask = False
    parts = []
    for folder in folders:
        whole, end = _FOLDER.fullmatch(folder), _END.fullmatch(folder)
        is_mask |= bool((whole and whole["mask"]) or (end and (end["mask"] or end["annot"])))
        if whole is None:
            parts.append((end["stem"] if end else folder).casefold())
    stem = posixpath.splitext(last)[0]
    end = _END.fullmatch(stem)
    if end is not None and end["stem"]:
        is_mask |= bool(end["mask"])
        stem = end["stem"] if end["annot"] is None else stem
    return "/".join([*parts, stem]), is_mask


def _legend(files: Files, options: Options) -> Legend:
    if options.legend is not None:
        return _parsed(files, options.legend.name, options.legend)
    legends, wrong = {}, []
    for name in files.ending(*SUFFIXES):
        if "/" in name:
            continue
        try:
            legends[name] = _parsed(files, name, files.all[name])
        except ValueError as error:
            wrong.append(str(error))
    if len(legends) > 1:
        raise ValueError(f"{files.root}: {', '.join(legends)} are all legends; choose one with --legend")
    if not legends:
        raise files.expected(
            "a legend such as labelmap.txt, class_dict.csv or legend.json at the top"
            + (f" ({wrong[0]})" if wrong else "")
        )
    return next(iter(legends.values()))


def _parsed(files: Files, name: str, path: Path) -> Legend:
    data = read_regular(path, "legend")
    try:
        legend = parse_legend(name, data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    files.note(name, data)
    return legend
