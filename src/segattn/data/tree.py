"""The files below a folder, as everything that reads folders sees them: one opinion of links and of leftovers.

Links are followed, to files and to folders; one that leads back to a folder that it is in is cut. Hidden files and
folders, and what tools leave behind, are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from segattn.files import link_to_nothing

MOST_FOLDERS = 100_000
"""Sub-folders, those counted again that several links lead to."""

_LEFTOVERS = frozenset(
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini")
)


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is hidden or a tool's: .DS_Store, ._photo.png, .ipynb_checkpoints, ..."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def files_below(folder: Path) -> Iterator[Path]:
    """What is no folder below `folder` and its sub-folders, sorted by path in each; pipes and the like too.

    Raises:
        FileNotFoundError: a link leads to nothing.
        OSError: a folder can't be read.
        ValueError: more than `MOST_FOLDERS` sub-folders.
    """
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    visited = 0
    while waiting:
        here, above = waiting.pop()
        found = here.stat()
        identity = (found.st_dev, found.st_ino)
        if identity in above:
            continue
        visited += 1
        if visited > MOST_FOLDERS:
            raise ValueError(f"{folder}: more than {MOST_FOLDERS} folders below it; do links lead to each other there?")
        below = []
        for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
            if is_leftover(entry.name):
                continue
            path = here / entry.name
            if entry.is_symlink() and not path.exists():
                raise link_to_nothing(path)
            if entry.is_dir():
                below.append((path, above | {identity}))
            else:
                yield path
        waiting += reversed(below)
