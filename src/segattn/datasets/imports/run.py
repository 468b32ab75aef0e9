"""Imports what a labelling tool exported into a folder that `segattn.FolderDataset` reads; stopped, it goes on.

In the target: images/{split}, masks/{split} (palette PNGs), dataset.yaml, import_report.json, and .import.jsonl: a line
for each finished image, by which the same command goes on where it was stopped, and refuses a folder that holds
something else. Every file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segattn.contracts import IGNORE, counted, cut, nearest, shown
from segattn.datasets.base import distinct_colours
from segattn.datasets.folder import FolderDataset
from segattn.datasets.images import read_photo
from segattn.datasets.imports import READERS
from segattn.datasets.imports.plan import class_ids, target_names, with_splits
from segattn.datasets.imports.report import ClassCount, ImportReport
from segattn.datasets.imports.source import BACKGROUND, SPLITS, Canvas, Colour, Files, Found, Job, Options
from segattn.datasets.palette import palette_png
from segattn.files import UnwritableError, append, read_regular, require_folder, require_writable, write_file
from segattn.pictures import write_image
from segattn.progress import track

JOURNAL, REPORT = ".import.jsonl", "import_report.json"
UNLABELLED = ("background", "ignore")
_VOID: Colour = (224, 224, 192)
_LARGEST_JOURNAL = 1 << 30

Row = dict[str, Any]
_KEYS = {"name", "source", "image", "mask", "split", "empty", "unsure", "shapes", "ignored", "skipped", "pixels"}
"""Of a finished image's row in the journal and in the report."""


@dataclass(frozen=True)
class Choices:
    """What a user chose about the result.

    Attributes:
        val: the share of images that become val where the tool has none.
        unlabelled: what pixels without a shape are: "background" or "ignore".
        skip_empty: whether images in which nothing is drawn are left out.
        ignore: classes that become 255.
    """

    val: float = 0.2
    unlabelled: str = "background"
    skip_empty: bool = False
    ignore: tuple[str, ...] = ()


def import_data(
    tool: str, source: str | Path, target: str | Path, options: Options | None = None, choices: Choices | None = None
) -> ImportReport:
    """Import the folder `source` that `tool` exported into `target`, with a progress bar on the standard error stream.

    An image that can't be imported does not stop the others: it is in the report.

    Args:
        tool: a name in `READERS`.
        target: a new or empty folder, or one that an earlier call with the same arguments left.

    Raises:
        FileNotFoundError: `source` is not there or has not the tool's layout: what was looked for and found.
        ValueError: an unknown tool, annotations of another structure, or a `target` that holds something else.
        OSError: `target` can't be written to.
    """
    source, target, choices = Path(source), Path(target), choices or Choices()
    if tool not in READERS:
        raise ValueError(f"unknown tool {tool!r}.{nearest(tool, READERS)} Known: {', '.join(READERS)}")
    _check(source, target, choices)
    files = Files(source)
    options = options or Options()
    found = READERS[tool](files, options)
    if not found.jobs:
        first = f"; the first of {len(found.failed)}: {found.failed[0]}" if found.failed else ""
        raise ValueError(f"{source}: no image to import{first}")
    found.jobs, note = with_splits(found.jobs, choices.val)
    found.notes += [note] if note else []
    ids = class_ids(found, choices.ignore)
    names = target_names(found.jobs)
    journal = _Journal(target, _state(tool, files, (options, choices), ids, found, names))
    blank = IGNORE if choices.unlabelled == "ignore" else ids[BACKGROUND]
    palette = _palette(found.classes, ids)
    failed, kept = list(found.failed), 0
    rows: list[Row] = []
    for job, name in track(zip(found.jobs, names, strict=True), f"importing {tool}", len(names)):
        row = journal.finished(name)
        if row is None:
            try:
                row = _imported(job, name, target, partial(Canvas, ids=ids, blank=blank), palette, choices.skip_empty)
            except UnwritableError:
                raise
            except (ValueError, OSError, MemoryError) as error:
                failed.append(str(error) or f"{job.image}: out of memory")
                continue
            journal.add(row)
        else:
            kept += 1
        rows.append(row)
    report = _report(tool, source, target, found, ids, rows, failed, kept)
    if not report.splits:
        first = failed[0] if failed else "nothing is drawn in any of them"
        raise ValueError(f"{source}: none of {len(names)} images could be imported; the first: {first}")
    if not report.classes:
        raise ValueError(f"{source}: every pixel of every mask is ignored, so there is nothing to train")
    _write_description(target, report, palette)
    write_file(target / REPORT, report.to_json().encode(errors="backslashreplace"))
    return report


def _check(source: Path, target: Path, choices: Choices) -> None:
    require_folder(source, "a tool's export was to be read from it")
    if not 0 <= choices.val < 1:
        raise ValueError(f"--val {choices.val}: a share from 0 to below 1 was expected")
    if choices.unlabelled not in UNLABELLED:
        raise ValueError(f"unlabelled {shown(choices.unlabelled)}: {' or '.join(UNLABELLED)} was expected")
    one, other = source.resolve(), target.resolve()
    if one == other or other.is_relative_to(one) or one.is_relative_to(other):
        raise ValueError(f"{target}: lies in {source} or around it; give a folder beside it")
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: is a file; a new or empty folder was expected")
    if target.is_dir() and any(target.iterdir()) and not (target / JOURNAL).is_file():
        raise ValueError(f"{target}: is there already and not an empty folder; give a new one")
    require_writable(target)


def _state(tool: str, files: Files, chosen: object, ids: Mapping[str, int], found: Found, names: Iterable[str]) -> Row:
    """What makes two imports the same."""
    parts = [files.digest(), repr(chosen), *map(repr, ids.items()), *names, *(job.name for job in found.jobs)]
    text = "\n".join(parts).encode(errors="surrogateescape")
    return {"import": tool, "of": hashlib.sha256(text).hexdigest()}


class _Journal:
    """Rows of finished images, each appended whole."""

    def __init__(self, target: Path, state: Row) -> None:
        self._target, self._path = target, target / JOURNAL
        self._rows: dict[str, Row] = {}
        if self._path.is_file():
            self._read(state)
        else:
            write_file(self._path, json.dumps(state).encode() + b"\n")

    def _read(self, state: Row) -> None:
        lines = read_regular(self._path, "journal", largest=_LARGEST_JOURNAL).split(b"\n")
        rows: list[Any] = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:  # the end of one that was killed
                continue
        if not rows or rows[0] != state:
            raise ValueError(
                f"{self._target}: holds an import of other annotations or with other options; give a new folder"
            )
        self._rows = {row["name"]: row for row in rows[1:] if isinstance(row, dict) and row.keys() >= _KEYS}
        write_file(self._path, b"".join(json.dumps(row).encode() + b"\n" for row in [state, *self._rows.values()]))

    def finished(self, name: str) -> Row | None:
        """The row of an image whose files are there, or that was left out."""
        row = self._rows.get(name)
        if row is None or row["image"] is None:
            return row
        there = all(os.path.isfile(self._target / path) for path in (row["image"], row["mask"]))
        return row if there else None

    def add(self, row: Row) -> None:
        with open(self._path, "ab", buffering=0) as file:
            append(file, self._path, json.dumps(row).encode() + b"\n")


def _imported(
    job: Job,
    name: str,
    target: Path,
    new_canvas: Callable[[tuple[int, int]], Canvas],
    palette: Mapping[int, Colour],
    skip_empty: bool,
) -> Row:
    """Draw one mask and write it with its image."""
    photo = read_photo(job.image)
    height, width = photo.pixels.shape[:2]
    stored, upright = (height, width), (width, height) if photo.orientation > 4 else (height, width)
    turned = job.upright
    size = job.measure() if job.size is None and job.measure is not None else job.size
    if size is not None:
        if (upright if turned else stored) != size and (stored if turned else upright) == size:
            turned = not turned
        if (upright if turned else stored) != size:
            raise ValueError(f"{job.image}: is {width}x{height}, and its annotations are for {size[1]}x{size[0]}")
    canvas = new_canvas(upright if turned else stored)
    try:
        job.draw(canvas)
    except (ValueError, MemoryError) as error:
        raise ValueError(f"{job.name}: {error}") from None
    counts = np.bincount(canvas.ids.ravel(), minlength=256)
    empty = not canvas.ignored and bool(counts[canvas.blank] == canvas.ids.size)
    row: Row = {
        "name": name, "source": job.name, "image": None, "mask": None, "split": job.split, "empty": empty,
        "unsure": not turned and photo.orientation != 1 and upright == stored,
        "shapes": dict(canvas.drawn), "ignored": canvas.ignored, "skipped": dict(canvas.skipped), "pixels": {},
    }  # fmt: skip
    if empty and skip_empty:
        return row
    split, _, rest = name.partition("/")
    as_stored = photo.orientation != 1 and not turned  # dataset.yaml says that all images are to be turned upright
    suffix = ".png" if as_stored else job.image.suffix.lower()
    row["image"], row["mask"] = f"images/{split}/{rest}{suffix}", f"masks/{split}/{rest}.png"
    row["pixels"] = {str(value): int(counts[value]) for value in np.flatnonzero(counts)}
    if as_stored:
        write_image(target / row["image"], photo.pixels)
    else:
        write_file(target / row["image"], read_regular(job.image, "image"))
    write_file(target / row["mask"], palette_png(canvas.ids, palette))
    return row


def _palette(classes: Mapping[str, Colour | None], ids: Mapping[str, int]) -> dict[int, Colour]:
    """Id -> colour: the tool's, or one of our own that no class of the tool has."""
    given = {ids[name]: colour for name, colour in classes.items() if colour is not None and name in ids}
    given.pop(IGNORE, None)
    free = (colour for colour in distinct_colours(256) if colour not in given.values())
    palette = {0: given.get(0) or next(free)}
    palette |= {value: given.get(value) or next(free) for value in sorted({*ids.values()} - {0, IGNORE})}
    return palette | {IGNORE: _VOID}


def _report(
    tool: str, source: Path, target: Path, found: Found, ids: Mapping[str, int], rows: list[Row], failed: list[str],
    kept: int,
) -> ImportReport:  # fmt: skip
    pixels: Counter[int] = Counter()
    images: Counter[int] = Counter()
    shapes: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    train: Counter[int] = Counter()
    for row in rows:
        counts = {int(value): count for value, count in row["pixels"].items()}
        pixels.update(counts)
        images.update(counts.keys())
        train.update(counts if row["split"] == "train" else {})
        shapes.update(row["shapes"])
        skipped.update(row["skipped"])
    by_id = {value: name for name, value in ids.items()}
    present = [value for value in sorted(by_id) if pixels[value] and value != IGNORE]
    written = [row for row in rows if row["image"] is not None]
    alone = [by_id[value] for value in present if not train[value]]
    notes = list(found.notes)
    if alone and any(row["split"] == "train" for row in written):
        notes.append(f"no pixel in train of {cut(', '.join(alone))}: `segattn data check` will say so")
    unsure = sum(row["unsure"] for row in written)
    if unsure:
        notes.append(
            f"{counted(unsure, 'image')} turned (EXIF orientation) so that the size does not tell: annotations were"
            " taken to be on the pixels as stored"
        )
    if 0 in present and BACKGROUND not in found.classes:
        notes.append("background was added as the first class: what no shape covers")
    return ImportReport(
        tool=tool,
        source=str(source),
        target=str(target),
        splits={split: count for split in SPLITS if (count := sum(row["split"] == split for row in written))},
        made=len(rows) - kept,
        kept=kept,
        background_only=sum(row["empty"] for row in written),
        left_out=len(rows) - len(written),
        classes=tuple(ClassCount(by_id[v], v, shapes[by_id[v]], pixels[v], images[v]) for v in present),
        unused=tuple(name for name in found.classes if ids.get(name) != IGNORE and not pixels[ids.get(name, -1)]),
        ignored_regions=sum(row["ignored"] for row in rows),
        skipped=dict(skipped),
        failed=tuple(failed),
        notes=tuple(notes),
        images=tuple(rows),
    )


def _write_description(target: Path, report: ImportReport, palette: Mapping[int, Colour]) -> None:
    content = {
        "classes": [{"name": row.name, "color": list(palette[row.id])} for row in report.classes],
        "labels": {row.id: row.name for row in report.classes},
        "ignore": [IGNORE],
        "images": "images/{split}",
        "masks": "masks/{split}",
        "mask_suffix": ".png",
        "upright": True,
    }
    text = f"# imported by `segattn data import {report.tool}`\n"
    text += yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=1000)
    write_file(target / "dataset.yaml", text.encode())
    FolderDataset(target, next(iter(report.splits)))  # which reads what was just written
