"""Which images of a flat folder train, validate and test: by a hash of their names, so that no file has to be moved.

An image's place follows from its own name, or that of its group, alone: on every machine, in any order of the files,
and whatever images come or go beside it. So the shares are met on average only, and a model that is scored after new
images came was not trained on those that it is scored on.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from segattn.contracts import counted


@dataclass(frozen=True)
class Division:
    """The shares of a division into splits.

    Attributes:
        val, test: of all groups, 0 to 1; the rest is train. Test may be 0: there is no such split then.
        folders: a group is what lies in one folder.
        prefix: a group is what begins alike up to the first of these texts; "" where names have no such meaning.
            Without either each image is a group of its own.
    """

    val: float
    test: float = 0.0
    folders: bool = False
    prefix: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of its splits."""
        return ("train", "val", "test") if self.test else ("train", "val")

    def group(self, name: str) -> str:
        """The group of a sample's name, such as "drive2/frame_0001"."""
        if self.folders:
            return PurePosixPath(name).parent.as_posix()
        return name.partition(self.prefix)[0] if self.prefix else name

    def divide(self, names: Iterable[str]) -> dict[str, list[str]]:
        """The names of each split, in their order.

        Where no group falls into a split by itself, the nearest one does.

        Raises:
            ValueError: there are fewer groups than splits.
        """
        names = list(names)
        places = {group: _place(group) for group in map(self.group, names)}
        if len(places) < len(self.splits):
            what = "folder" if self.folders else "prefix" if self.prefix else "image"
            many = "prefixes" if what == "prefix" else ""
            groups = counted(len(places), what, many) + (f" before {self.prefix!r}" if what == "prefix" else "")
            raise ValueError(
                f"{counted(len(names), 'image')}{'' if what == 'image' else f' of {groups}'}: the splits"
                f" {', '.join(self.splits)} need {len(self.splits)} or more"
            )
        split = {group: self._split(place) for group, place in places.items()}
        bounds = {"val": 0.0, "test": self.val, "train": 1.0}
        for empty in self.splits:
            if empty not in split.values():
                sizes = Counter(split.values())
                spare = [group for group in split if sizes[split[group]] > 1]
                split[min(spare, key=lambda group: (abs(places[group] - bounds[empty]), group))] = empty
        return {name: [one for one in names if split[self.group(one)] == name] for name in self.splits}

    def _split(self, place: float) -> str:
        if place < self.val:
            return "val"
        return "test" if place < self.val + self.test else "train"


def _place(group: str) -> float:
    """A number from 0 on and below 1 that looks drawn, always the same for a name however a system composes letters."""
    data = unicodedata.normalize("NFC", group).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(data).digest()[:6], "big") / (1 << 48)
