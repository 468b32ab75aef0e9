"""The image files that people name: files, folders and patterns, for results that are named after them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from segattn.contracts import cut
from segattn.datasets.headers import IMAGE_SUFFIXES
from segattn.datasets.images import is_leftover
from segattn.files import require_separate

LONGEST_NAME = 255 - len("._confidence.png.part")
"""Bytes of an image's name, as file systems allow 255 for what is written."""


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """The image files that files, folders (not their subfolders) and glob patterns name, in that order, each once.

    Hidden files and folders and tools' leftovers are passed over unless they are named themselves. Links are followed;
    one that leads to nothing is among the files, so that it is named with those that can't be read.

    Raises:
        FileNotFoundError: a source names nothing.
        ValueError: a result file would be written twice, or would have too long a name.
    """
    found: dict[str, Path] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = _images_in(path)
        elif os.path.lexists(path):
            files = [path]
        else:
            files = _matching(str(source))
        for file in files:
            found.setdefault(os.path.abspath(file), file)
    _check_names(list(found.values()))
    return list(found.values())


def unread_folders(sources: Iterable[str | Path], output: Path) -> list[str]:
    """A line for each folder among the sources that has sub-folders, which `find_images` does not read."""
    lines = []
    for folder in (Path(source) for source in sources if Path(source).is_dir()):
        below = [
            path
            for path in folder.iterdir()
            if path.is_dir() and not is_leftover(path.name) and path.absolute() != output.absolute()
        ]
        if below:
            lines.append(f"{folder}: its {len(below)} sub-folders are not read; '{folder / '**' / '*.png'}' names all")
    return lines


def _images_in(folder: Path) -> list[Path]:
    files = sorted(
        file
        for file in folder.iterdir()
        if not is_leftover(file.name)
        and not file.is_dir()
        and (file.suffix.lower() in IMAGE_SUFFIXES or not file.exists())
    )
    files = files or sorted(file for file in folder.glob("*.npy") if not is_leftover(file.name))
    if not files:
        raise FileNotFoundError(f"{folder}: no images in this folder ({', '.join(IMAGE_SUFFIXES)})")
    return files


def _matching(pattern: str) -> list[Path]:
    matches = (Path(match) for match in sorted(glob.glob(pattern, recursive=True)))
    named = set(Path(pattern).parts)
    files = [
        path
        for path in matches
        if not path.is_dir()
        and not any(is_leftover(part) for part in path.parts if part not in named and part != "..")
        and not _in_circle(path)
    ]
    if not files:
        what = "no image matches this pattern" if glob.has_magic(pattern) else "no such file or folder"
        raise FileNotFoundError(f"{cut(pattern)}: {what}")
    return files


def _in_circle(path: Path) -> bool:
    """Whether a folder in the path is a link back to one above it."""
    folders = [os.path.realpath(folder) for folder in Path(os.path.abspath(path)).parents]
    return len(set(folders)) < len(folders)


def _check_names(files: list[Path]) -> None:
    outputs: dict[str, Path] = {}
    for file in files:
        require_separate(outputs, file, f"{file.stem}_labels.png")
        if len(os.fsencode(file.stem)) > LONGEST_NAME:
            raise ValueError(f"{file}: too long a name to put _confidence.png after it; shorten it")
