"""Text files that list a split's samples, one name a line."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

from segattn.contracts import cut, shown
from segattn.data.base import Pair, describe_folder
from segattn.files import read_text

_LARGEST = 1 << 26
"""Bytes of a list file."""


def read_list(path: Path) -> list[str]:
    """The names in a list file, in its order; empty lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file of UTF-8 text (with or without byte order mark), names nothing, or a name
            twice, or a path that leads elsewhere, or holds control characters.
    """
    if not os.path.lexists(path):
        there = describe_folder(path.parent) if path.parent.is_dir() else "no such folder"
        raise FileNotFoundError(f"{path}: no such list; {path.parent} holds {there}")
    names = [line.strip() for line in read_text(path, "list file", largest=_LARGEST).splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path}: the list names no samples; copy it again")
    strange = next((name for name in names if any(unicodedata.category(letter) == "Cc" for letter in name)), None)
    if strange is not None:
        raise ValueError(f"{path}: {shown(strange)} holds control characters; is this a list of names, one a line?")
    outside = [name for name in names if ".." in Path(name).parts or Path(name).is_absolute()]
    if outside:
        raise ValueError(f"{path}: {cut(outside[0])} leads out of the data set's folder; lists hold bare names")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{path}: {cut(twice)} is listed twice; keep one of the lines")
    return names


def listed_pairs(names: list[str], *, images: tuple[Path, str], labels: tuple[Path, str], fix: str) -> list[Pair]:
    """Pairs for listed names from (folder, suffix) of the images and of the labels. `fix` ends the error message.

    Raises:
        FileNotFoundError: a listed file is missing, naming the first ones and their count.
    """
    pairs = [Pair(name, images[0] / (name + images[1]), labels[0] / (name + labels[1])) for name in names]
    for folder, suffix in (images, labels):
        there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        missing = [name for name in names if name + suffix not in there]
        if missing:
            raise FileNotFoundError(
                f"{folder}: {len(missing)} of {len(names)} listed files are not there, "
                f"such as {cut(missing[0])}{suffix}; {fix}"
            )
    return pairs
