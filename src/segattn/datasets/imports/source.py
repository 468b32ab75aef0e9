"""What a labelling tool left: its files, found by name without leaving the folder, and what there is to draw.

A reader (one file a tool) gives `Found`: the classes, and a `Job` for each image. Nothing of it is drawn yet.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, cut, shown
from segattn.datasets.base import describe_folder
from segattn.datasets.headers import IMAGE_SUFFIXES
from segattn.datasets.images import files_below
from segattn.datasets.imports.rasterize import Patch
from segattn.files import decoded, read_regular

Colour = tuple[int, int, int]

BACKGROUND = "background"
"""The class of what no shape covers, also where a tool calls it _background_."""
_IGNORED = "ignore"
_SPELLINGS = {f"{_}{word}{_}": word for word in (BACKGROUND, _IGNORED) for _ in ("", "_", "__")}
_LONGEST_NAME = 100
_LONGEST_PATH = 1000
_LARGEST = 1 << 30  # bytes of an annotation file
_SPLITS: dict[str, re.Pattern[str]] = {
    "train": re.compile(r"train(ing)?\d{0,4}"),
    "val": re.compile(r"(val|valid|validation|dev)\d{0,4}"),
    "test": re.compile(r"test(ing)?\d{0,4}"),
}


SPLITS = tuple(_SPLITS)


@dataclass(frozen=True)
class Options:
    """What a user chose about reading.

    Attributes:
        annotations: annotation files to read instead of all that are found, from the source folder on or absolute.
        legend: a file of names and colours.
        crowd: what COCO's crowd regions are: "ignore" (255) or "class".
    """

    annotations: tuple[str, ...] = ()
    legend: Path | None = None
    crowd: str = "ignore"


class Canvas:
    """The mask of one image while it is drawn.

    Attributes:
        size: (height, width) in pixels.
        blank: the id that all pixels begin with.
        ids: (H, W) uint8.
        drawn: shapes by class. skipped: shapes that were not drawn, by reason. ignored: regions that became 255.
    """

    def __init__(self, size: tuple[int, int], ids: Mapping[str, int], blank: int) -> None:
        self.size = size
        self.blank = blank
        self.ids: NDArray[np.uint8] = np.full(size, blank, np.uint8)
        self.drawn: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.ignored = 0
        self._ids = ids

    def draw(self, label: str | None, make: Callable[[tuple[int, int]], Iterable[Patch]]) -> None:
        """Draw one shape over what is there; `label` None makes its pixels ignored. One that can't be is counted.

        Args:
            make: (height, width) -> its parts; raises ValueError for what is no shape.
        """
        try:
            patches = list(make(self.size))
        except (ValueError, MemoryError) as error:
            self.skip(str(error) or "a shape for which there is too little memory")
            return
        value = IGNORE if label is None else self.id_of(label)
        if not any(patch.inside.any() for patch in patches):
            self.skip("a shape without a pixel in the image")
            return
        for top, left, inside in patches:
            height, width = inside.shape
            self.ids[top : top + height, left : left + width][inside] = value
        self._count(label, value)

    def fill(self, labels: Iterable[tuple[str | None, NDArray[np.bool_]]]) -> None:
        """Set the pixels (H, W) of classes, which together are all; None is ignored."""
        for label, inside in labels:
            value = IGNORE if label is None else self.id_of(label)
            self.ids[inside] = value
            self._count(label, value)

    def id_of(self, label: str) -> int:
        """The id of a class in the mask, 255 for one that is ignored."""
        return self._ids[label]

    def skip(self, reason: str) -> None:
        """Count a shape that is not drawn."""
        self.skipped[cut(reason)] += 1

    def _count(self, label: str | None, value: int) -> None:
        if value == IGNORE:
            self.ignored += 1
        elif label is not None:
            self.drawn[label] += 1


@dataclass
class Job:
    """One image and how to draw its mask.

    Attributes:
        image: the file.
        name: its path from the source folder on, with "/".
        split: train, val, test, or None where the tool has none.
        draw: paints the mask; what it can't paint it counts as skipped; raises ValueError where the mask can't be made.
        labels: the classes that it may paint, as far as known beforehand.
        size: (height, width) that the annotations say; None where they say nothing.
        measure: finds it out, where `size` is None and a file says it.
        upright: whether the annotations lie on the image as viewers show it (turned as EXIF says) or as stored.
    """

    image: Path
    name: str
    split: str | None
    draw: Callable[[Canvas], None]
    labels: frozenset[str] = frozenset()
    size: tuple[int, int] | None = None
    upright: bool = True
    measure: Callable[[], tuple[int, int]] | None = None


@dataclass
class Found:
    """All that a reader found.

    Attributes:
        classes: in the tool's order, with the colour that it gives them, or None.
        failed: a line for each image that is annotated and can't be imported.
        notes: what the user should hear.
    """

    classes: dict[str, Colour | None] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_class(self, name: Any, colour: Colour | None = None) -> str:
        """Note a class, whatever its file calls it, and give the name that it has here.

        Raises:
            ValueError: no name, or one that dataset.yaml can't hold.
        """
        cleaned = clean_name(name)
        if self.classes.get(cleaned) is None:
            self.classes[cleaned] = colour
        return cleaned


def clean_name(name: Any) -> str:
    """A class's name without blanks around it; background and ignore in one spelling. ValueError for what is none."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"class name {shown(name)}: text was expected")
    cleaned = " ".join(str(name).split())
    if len(cleaned) > _LONGEST_NAME or not cleaned.isprintable():
        raise ValueError(f"class name {shown(name)}: 1 to {_LONGEST_NAME} printable letters were expected")
    return _SPELLINGS.get(cleaned.casefold(), cleaned)


def is_ignored(name: str) -> bool:
    """Whether a class of this name means pixels that neither train nor score."""
    return name == _IGNORED


class Files:
    """The files below a source folder, and a digest of those that were read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.all: dict[str, Path] = {}
        self._named: defaultdict[str, list[str]] = defaultdict(list)
        self._digest = hashlib.sha256()
        for path in files_below(root):
            name = path.relative_to(root).as_posix()
            self.all[name] = path
            if path.suffix.lower() in IMAGE_SUFFIXES:
                self._named[path.name.casefold()].append(name)

    @property
    def images(self) -> list[str]:
        """The names of all images, sorted."""
        return sorted(name for names in self._named.values() for name in names)

    def ending(self, *suffixes: str) -> list[str]:
        """The names of files that end so, whatever the case, sorted."""
        return sorted(name for name in self.all if name.lower().endswith(suffixes))

    def named(self, path: str) -> str:
        """The name of a file that a user gives, from the folder on or as a path; FileNotFoundError if none."""
        for name, file in self.all.items():
            if name == path or file.absolute() == Path(path).absolute():
                return name
        raise FileNotFoundError(f"{cut(path)}: no such file in {self.root}")

    def read(self, name: str) -> bytes:
        """The bytes of a file, which then count for whether a later import is of the same annotations."""
        data = read_regular(self.all[name], "annotation file", largest=_LARGEST)
        self.note(name, data)
        return data

    def read_lines(self, name: str) -> list[str]:
        """The lines of a text file, empty ones left out. Raises ValueError naming it where it is not UTF-8."""
        try:
            text = decoded(self.read(name))
        except UnicodeError as error:
            raise ValueError(f"{self.all[name]}: {error}") from None
        return [line for line in text.splitlines() if line.strip()]

    def note(self, name: str, data: bytes) -> None:
        """Count a file as read."""
        self._digest.update(f"{name}\0{len(data)}\0".encode(errors="surrogateescape"))
        self._digest.update(data)

    def note_state(self, name: str) -> None:
        """Count a file as read that is read later, by its size and time."""
        found = self.all[name].stat()
        self.note(name, f"{found.st_size} {found.st_mtime_ns}".encode())

    def digest(self) -> str:
        """Of all that was read so far."""
        return self._digest.hexdigest()

    def read_json(self, name: str) -> Any:
        """The value in a JSON file. Raises ValueError naming the file."""
        try:
            return json.loads(decoded(self.read(name)))
        except RecursionError:
            raise ValueError(f"{self.all[name]}: not readable as JSON: brackets too deep") from None
        except ValueError as error:
            text = str(error).removeprefix(f"{self.all[name]}: ")
            raise ValueError(f"{self.all[name]}: not readable as JSON: {cut(text)}") from None

    def find(self, name: Any, *, near: str = "", split: str | None = None) -> str:
        """The image below the folder that annotations call `name`; no name leads out of it.

        What lies at the path is taken, from the folder `near` or from the top; else the image of that name whose
        folders agree best, then one in a folder of the split.

        Raises:
            ValueError: there is none, or several fit.
        """
        if not isinstance(name, str) or not name.strip("/ ") or "\0" in name or len(name) > _LONGEST_PATH:
            raise ValueError(f"image name {shown(name)}: a file's name was expected")
        name = name.replace("\\", "/")
        for folder in (near, ""):
            path = posixpath.normpath(posixpath.join(folder, name.lstrip("/")))
            if path.rpartition("/")[2].casefold() in self._named and path in self.all:
                return path
        wanted = [part for part in name.split("/") if part not in ("", ".", "..")]
        named = self._named.get(wanted[-1].casefold(), []) if wanted else []
        best = max((_agreement(wanted, other) for other in named), default=0)
        fitting = [other for other in named if _agreement(wanted, other) == best]
        if len(fitting) > 1:
            fitting = [other for other in fitting if split and split_in_path(other) == split] or fitting
        if len(fitting) > 1:
            raise ValueError(
                f"{cut(name)}: {len(fitting)} images have this name, such as {cut(fitting[0])} and {cut(fitting[1])}"
            )
        if not fitting:
            raise ValueError(f"{cut(name)}: no such image below {self.root}")
        return fitting[0]

    def expected(self, what: str) -> FileNotFoundError:
        """The error for a layout that is not the tool's."""
        return FileNotFoundError(f"{self.root}: {what} was looked for, found {describe_folder(self.root)}")


def _agreement(wanted: list[str], path: str) -> int:
    """The number of last parts that are the same."""
    count = 0
    for one, other in zip(reversed(wanted), reversed(path.split("/")), strict=False):
        if one.casefold() != other.casefold():
            break
        count += 1
    return count


def split_of(word: str) -> str | None:
    """train, val or test for a word that means it: valid, train2017, Testing, ..."""
    return next((split for split, pattern in _SPLITS.items() if pattern.fullmatch(word.lower())), None)


def split_in_path(path: str) -> str | None:
    """The split that a folder in a path names."""
    return next((split for part in path.split("/")[:-1] if (split := split_of(part))), None)


def split_in_file_name(path: str) -> str | None:
    """The split that a word of a file's name says, as in instances_train2017.json, or else a folder above it."""
    words = re.split(r"[^A-Za-z0-9]+", path.rpartition("/")[2].rpartition(".")[0])
    return next((split for word in words if (split := split_of(word))), None) or split_in_path(path)


def whole(value: Any, what: str, low: int, high: int) -> int:
    """A whole number in a range. Raises ValueError naming it otherwise."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{what} {shown(value)}: a whole number from {low} to {high} was expected")
    return int(value)


def size_of(height: Any, width: Any) -> tuple[int, int] | None:
    """(height, width) as annotations say it; None where they don't. Raises ValueError for what is no size."""
    if height is None and width is None:
        return None
    return whole(height, "height", 1, 1 << 20), whole(width, "width", 1, 1 << 20)
