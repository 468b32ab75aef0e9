"""Reads every file of a data set's split and says what is there and what is wrong, all of it at once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, Classes, SegmentationDataset, counted
from segattn.datasets import ade20k, coco_stuff, pascal_context, voc
from segattn.datasets.absent import Mend, absence
from segattn.datasets.bands import read_bands
from segattn.datasets.base import PairedDataset, size_advice
from segattn.datasets.catalog import open_dataset
from segattn.datasets.images import read_photo
from segattn.progress import track
from segattn.tables import table_lines

_OFFICIAL: dict[str, Mapping[str, int]] = {
    "ade20k": ade20k.SPLITS,
    "camvid": {"train": 367, "val": 101, "test": 233},
    "cityscapes": {"train": 2975, "val": 500, "test": 1525},
    "coco_stuff10k": coco_stuff.SPLITS,
    "pascal_context": pascal_context.SPLITS,
    "pascal_context60": pascal_context.SPLITS,
    "voc2012": voc.SPLITS,
}

_SHOWN = 8
_ALLOW = "`segattn train --allow-absent-classes` trains without them"

_STATE_UPRIGHT = (
    "add the line `upright: true` if they were drawn on upright images, as labelme and CVAT show them (so it is read "
    "now), or `upright: false` if on the pixels as they are stored"
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: "layout" (folders, lists, partners), "image", "label" (unreadable files), "size", "orientation",
            "unknown id" or "absent class".
        path: of the file, or the data set's folder.
        what: in words.
        fix: what to do about it.
    """

    kind: str
    path: str
    what: str
    fix: str


@dataclass(frozen=True)
class Value:
    """The count of a value in the label files: `meaning` is a class, "ignored" or "unknown"."""

    value: int
    meaning: str
    pixels: int
    images: int


@dataclass(frozen=True)
class CheckReport:
    """The findings of a check.

    Attributes:
        samples: in the split.
        unlabelled: samples without a label file.
        values: of the label files as stored, in ascending order.
        sizes: (width, height, images), the most frequent first.
        absent: classes without a pixel.
        problems: all of them.
        notes: what is unusual and may be right.
        mend: what `segattn data check --fix` writes into dataset.yaml; None where nothing is sure to help.
    """

    samples: int
    unlabelled: int
    values: tuple[Value, ...]
    sizes: tuple[tuple[int, int, int], ...]
    absent: tuple[str, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    mend: Mend | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        return self.text()

    def text(self, *, padded: bool = True) -> str:
        """All of it in words; not `padded`, the table of values has tabs between its cells."""
        total = sum(value.pixels for value in self.values) or 1
        lines = [
            counted(self.samples, "sample") + (f", {self.unlabelled} of them without labels" if self.unlabelled else "")
        ]
        if self.sizes:
            shown = ", ".join(f"{width}x{height} ({count})" for width, height, count in self.sizes[:3])
            more = f" and {len(self.sizes) - 3} others" if len(self.sizes) > 3 else ""
            lines.append(f"sizes: {shown}{more}")
        if self.values:
            rows = [("value", "pixels", "images", "meaning")]
            rows += [
                (str(row.value), f"{100 * row.pixels / total:.2f}%", str(row.images), row.meaning)
                for row in self.values
            ]
            lines += table_lines(rows, left={3}, padded=padded)
        if self.absent:
            lines.append(f"classes without a pixel: {', '.join(self.absent)}")
        lines += [f"note: {note}" for note in self.notes]
        if not self.problems:
            return "\n".join([*lines, "nothing wrong found"])
        lines.append(f"{counted(len(self.problems), 'problem')}:")
        for kind in dict.fromkeys(problem.kind for problem in self.problems):
            alike = [problem for problem in self.problems if problem.kind == kind]
            lines += [f"  {kind}: {one.path}: {one.what}; {one.fix}" for one in alike[:_SHOWN]]
            lines += [f"  {kind}: and {len(alike) - _SHOWN} more"] if len(alike) > _SHOWN else []
        return "\n".join(lines)


def check_named(name: str, root: str | Path, split: str) -> CheckReport:
    """`check` for a data set of the catalogue; one that can't even be opened gives a report with that as its problem.

    The number of samples is compared with the published one, which is worth a note.

    Raises:
        ValueError: no data set or split of that name, or a wrong list or description of the data set.
    """
    try:
        dataset = open_dataset(name, root, split)
    except FileNotFoundError as error:
        return CheckReport(0, 0, (), (), (), (_problem("layout", str(root), error),), ())
    return check(dataset, official=_OFFICIAL.get(name, {}).get(split), training=split.startswith("train"))


def check(dataset: SegmentationDataset, *, official: int | None = None, training: bool = False) -> CheckReport:
    """Read all images and masks, with a progress bar on the standard error stream.

    Args:
        official: the published number of samples; another one is noted.
        training: the split is trained on: of anyone's own data a class without a pixel is then a problem, not a note.
    """
    scan = _Scan(dataset, training)
    for index in track(range(len(dataset)), "checking", len(dataset)):
        if isinstance(dataset, PairedDataset):
            scan.pair(dataset, index)
        else:
            scan.sample(dataset, index)
    return scan.report(official)


class _Scan:
    """The counts so far."""

    def __init__(self, dataset: SegmentationDataset, training: bool) -> None:
        self.dataset, self.training = dataset, training
        self.classes: Classes = dataset.classes
        self.pixels: Counter[int] = Counter()
        self.images: Counter[int] = Counter()
        self.meaning: dict[int, int | None] = {}
        self.unknown: dict[int, list[Path]] = defaultdict(list)
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.problems: list[Problem] = []
        self.unlabelled = 0
        self.turned: list[str] = []
        self.upright: bool | None = False
        self.hint = ""

    def pair(self, dataset: PairedDataset, index: int) -> None:
        """The two files apart, so that what is wrong with both is found, and the values as they are stored."""
        pair = dataset.pairs[index]
        shapes = []
        try:
            if dataset.bands is not None:
                shape = read_bands(pair.image, dataset.bands).pixels.shape
            else:
                image, orientation = read_photo(pair.image, upright=dataset.upright is not False)
                self._orientation(dataset, pair.image, orientation)
                shape = image.shape
            self.sizes[shape[1], shape[0]] += 1
            shapes.append(shape[:2])
        except (ValueError, OSError) as error:
            self.problems.append(_problem("image", str(pair.image), error))
        if pair.label is None:
            self.unlabelled += 1
            return
        try:
            ids = dataset._read_label(pair.label)
        except (ValueError, OSError) as error:
            self.problems.append(_problem("label", str(pair.label), error))
            return
        for value, count in _histogram(ids):
            if value not in self.meaning:
                self.meaning[value] = self._learn(dataset, np.full((1, 1), value, ids.dtype), pair.label)
            if self.meaning[value] is None:
                self.unknown[value].append(pair.label)
            self._count(value, count)
        if shapes and shapes[0] != ids.shape:
            (height, width), (rows, columns) = shapes[0], ids.shape
            turned = (height, width) == (columns, rows)
            fix = size_advice(turned=turned)
            what = f"is {columns}x{rows}, {pair.image.name} is {width}x{height}"
            self.problems.append(Problem("size", str(pair.label), what, fix))

    def _orientation(self, dataset: PairedDataset, path: Path, orientation: int) -> None:
        if orientation == 1:
            return
        self.upright = dataset.upright
        if dataset.upright is None:
            what = f"has the EXIF orientation {orientation}, and dataset.yaml doesn't say what masks were drawn on"
            self.problems.append(Problem("orientation", str(path), what, _STATE_UPRIGHT))
        else:
            self.turned.append(f"{path} ({orientation})")

    def _learn(self, dataset: PairedDataset, value: NDArray[np.integer[Any]], path: Path) -> int | None:
        try:
            return int(dataset._label_map(value, path)[0, 0])
        except ValueError as error:
            self.hint = str(error).removeprefix(f"{path}: ").partition("; ")[2]
            return None

    def sample(self, dataset: SegmentationDataset, index: int) -> None:
        """Of a data set that keeps its files to itself: training ids are all that is seen."""
        try:
            sample = dataset[index]
        except (ValueError, OSError) as error:
            self.problems.append(_problem("image", f"sample {index}", error))
            return
        self.sizes[sample.image.shape[1], sample.image.shape[0]] += 1
        if sample.mask is None:
            self.unlabelled += 1
            return
        if sample.mask.shape != sample.image.shape[:2]:
            what = f"image {sample.image.shape[:2]}, mask {sample.mask.shape}"
            self.problems.append(Problem("size", sample.name, what, "masks must have their image's size"))
        for value, count in _histogram(sample.mask):
            known = value < len(self.classes) or value == IGNORE
            self.meaning[value] = value if known else None
            if not known:
                self.unknown[value].append(sample.image_path)
            self._count(value, count)

    def _count(self, value: int, count: int) -> None:
        self.pixels[value] += count
        self.images[value] += 1

    def _name(self, value: int) -> str:
        meaning = self.meaning[value]
        if meaning is None:
            return "unknown"
        return "ignored" if meaning == IGNORE else self.classes.names[meaning]

    def report(self, official: int | None) -> CheckReport:
        samples = len(self.dataset)
        for value, paths in sorted(self.unknown.items()):
            what = f"value {value} has no class: {self.pixels[value]} pixels in {len(paths)} label files"
            fix = self.hint or f"masks hold 0..{len(self.classes) - 1} and {IGNORE}"
            self.problems.append(Problem("unknown id", str(paths[0]), what, fix))
        masks = samples - self.unlabelled - sum(problem.kind == "label" for problem in self.problems)
        seen = {self.meaning[value] for value in self.pixels}
        names = tuple(name for index, name in enumerate(self.classes.names) if index not in seen)
        absent = absence(self.dataset, self.pixels, self.meaning, masks)
        notes = list(self._notes(samples, official))
        if absent is not None:
            if self.training:
                self.problems.append(Problem("absent class", absent.where, absent.what, f"{absent.fix}; {_ALLOW}"))
            elif absent.mend is not None:
                notes.append(f"{absent.what}; {absent.fix}")
        return CheckReport(
            samples=samples,
            unlabelled=self.unlabelled,
            values=tuple(
                Value(value, self._name(value), self.pixels[value], self.images[value]) for value in sorted(self.pixels)
            ),
            sizes=tuple((width, height, count) for (width, height), count in self.sizes.most_common()),
            absent=names if self.pixels else (),
            problems=tuple(self.problems),
            notes=tuple(notes),
            mend=absent.mend if absent and absent.sure else None,
        )

    def _notes(self, samples: int, official: int | None) -> Iterable[str]:
        if official is not None and samples != official:
            yield f"{samples} samples, the published split has {official}; a part of it can't be compared with papers"
        labelled = sum(count for value, count in self.pixels.items() if self.meaning[value] not in (None, IGNORE))
        total = sum(self.pixels.values())
        if self.turned:
            how = "turned upright" if self.upright else "as they are stored"
            more = f" and {len(self.turned) - _SHOWN} more" if len(self.turned) > _SHOWN else ""
            yield (
                f"{counted(len(self.turned), 'image')} with an EXIF orientation other than 1, read {how}, as the data"
                f" set says: {', '.join(self.turned[:_SHOWN])}{more}"
            )
        if total and labelled < total / 2:
            yield f"{100 * (1 - labelled / total):.0f} percent of the pixels are ignored or unknown"


def _histogram(ids: NDArray[np.integer[Any]]) -> Iterable[tuple[int, int]]:
    counts = np.bincount(ids.ravel())
    values = np.flatnonzero(counts)
    return zip(values.tolist(), counts[values].tolist(), strict=True)


def _problem(kind: str, path: str, error: Exception) -> Problem:
    """Errors of this package read "FILE: WHAT; WHAT TO DO"."""
    what, _, fix = str(error).removeprefix(f"{path}: ").rpartition("; ")
    return Problem(kind, path, what or fix, fix if what else "copy it again")
