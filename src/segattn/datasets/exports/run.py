"""Exports labels to where a labelling tool reads them: own data, or predictions to be corrected there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes, counted, nearest
from segattn.datasets.exports.coco import CocoWriter
from segattn.datasets.exports.labelme import LabelmeWriter
from segattn.datasets.exports.samples import open_samples
from segattn.datasets.exports.voc import PaletteWriter
from segattn.datasets.headers import read_checked
from segattn.files import read_regular, require_separate, require_writable, write_file
from segattn.pictures import write_image
from segattn.progress import track


class Writer(Protocol):
    """Writes what one tool reads.

    Attributes:
        shapes: written so far. notes: what the user should hear, complete after `finish`.
    """

    shapes: int
    notes: list[str]

    def image_path(self, name: str, suffix: str) -> Path:
        """Where the image goes."""
        ...

    def add(self, name: str, suffix: str, ids: NDArray[np.uint8]) -> None:
        """Take the training ids (H, W) of one image."""
        ...

    def finish(self) -> None:
        """Write what there is one of."""
        ...


WRITERS: dict[str, Callable[[Path, str, Classes], Writer]] = {
    "coco": CocoWriter,
    "labelme": LabelmeWriter,
    "palette": PaletteWriter,
}
_MARK = ".export.json"


@dataclass(frozen=True)
class ExportReport:
    """The account of an export: `images` and `shapes` written for `tool` into `target`, and what else was decided."""

    tool: str
    target: str
    split: str
    images: int
    shapes: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        drawn = f"{counted(self.images, 'image')} of {self.split} with {counted(self.shapes, 'shape')}"
        lines = [f"{self.target}: {drawn}, for {self.tool}"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def export_data(
    tool: str,
    source: str | Path,
    target: str | Path,
    *,
    split: str = "train",
    images: str | Path | None = None,
    classes: str | None = None,
) -> ExportReport:
    """Write a split of a folder data set, or label images with their images, as `tool` reads it.

    Images are copied as they are; one that its file says to turn (EXIF) is written as the masks lie on it, so that
    tools agree about it.

    Args:
        tool: a name in `WRITERS`.
        source, split, images, classes: see `open_samples`.
        target: a new or empty folder, or one that holds another split of the same kind of export.

    Raises:
        FileNotFoundError, ValueError: something is missing or wrong, naming it.
        OSError: `target` can't be written to.
    """
    source, target = Path(source), Path(target)
    if tool not in WRITERS:
        raise ValueError(f"unknown tool {tool!r}.{nearest(tool, WRITERS)} Known: {', '.join(WRITERS)}")
    dataset = open_samples(source, split, None if images is None else Path(images), classes)
    if dataset.bands is not None:
        raise ValueError(
            f"{source}: dataset.yaml names bands, and labelling tools show RGB of 8 bits; export RGB copies"
        )
    one, other = source.resolve(), target.resolve()
    if one == other or other.is_relative_to(one) or one.is_relative_to(other):
        raise ValueError(f"{target}: lies in {source} or around it; give a folder beside it")
    mark = json.dumps({"export": tool, "classes": dataset.classes.names}).encode()
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: is a file; a new or empty folder was expected")
    if target.is_dir() and any(target.iterdir()):
        there = read_regular(target / _MARK, largest=1 << 20) if (target / _MARK).is_file() else b""
        if there != mark:
            raise ValueError(f"{target}: is there already and no export of this kind; give a new folder")
    require_writable(target)
    names: dict[str, Path] = {}
    for pair in dataset.pairs:
        require_separate(names, pair.image, pair.name)
    write_file(target / _MARK, mark)
    writer = WRITERS[tool](target, split, dataset.classes)
    for index in track(range(len(dataset)), f"exporting for {tool}", len(dataset)):
        sample = dataset[index]
        assert sample.mask is not None, "a data set without masks was opened"
        turned = read_checked(sample.image_path).header.orientation != 1
        suffix = ".png" if turned else sample.image_path.suffix.lower()
        try:
            writer.add(sample.name, suffix, sample.mask)
        except ValueError as error:
            raise ValueError(f"{sample.image_path}: {error}") from None
        path = writer.image_path(sample.name, suffix)
        if turned:
            write_image(path, sample.image)
        else:
            write_file(path, read_regular(sample.image_path))
    writer.finish()
    return ExportReport(tool, str(target), split, len(dataset), writer.shapes, tuple(writer.notes))
