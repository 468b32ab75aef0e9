"""Where the figures of a page come from: weights and their checksum, data, protocol, device, day and version."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from segattn import __version__
from segattn.files import checksum
from segattn.machine import today
from segattn.recipes.schema import Data

_DIGITS = 12


class Fact(NamedTuple):
    """One line of a page's head; `hint` is what it says in full."""

    name: str
    value: str
    hint: str = ""


class WeightsFile(NamedTuple):
    """A file of weights as a page names it, and its sha256 in hexadecimal digits."""

    name: str
    sha256: str

    @classmethod
    def of(cls, path: str | Path) -> WeightsFile:
        """The file there; of an OpenVINO model the one that holds its numbers.

        Raises:
            OSError: it can't be read.
        """
        path = Path(path)
        if path.suffix == ".xml":
            path = path.with_suffix(".bin")
        return cls(str(path), checksum(path))

    @property
    def fact(self) -> Fact:
        """For a page's head: the file with its folder, and the first digits of the checksum."""
        short = "/".join(Path(self.name).parts[-2:])
        return Fact("weights", f"{short}, sha256 {self.sha256[:_DIGITS]}", f"{self.name}: {self.sha256}")


def data_name(data: Data) -> str:
    """Of a data set by its own name, of a folder of one's own by that of the folder."""
    return Path(data.root).resolve().name if data.dataset == "folder" and data.root else data.dataset


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a page's head says; None or nothing where a figure has no such origin or it is not known.

    Attributes:
        protocol: as `Protocol.describe` has it.
        device: as `machine.device_in_words` has it.
        date: of the scoring, or of a training's last record; the day in UTC.
        more: facts of this page alone.
    """

    recipe: str | None = None
    weights: tuple[WeightsFile, ...] = ()
    data: str | None = None
    split: str | None = None
    protocol: str | None = None
    device: str | None = None
    date: str = field(default_factory=today)
    version: str = __version__
    more: tuple[Fact, ...] = ()

    @property
    def where(self) -> str:
        """What stands beside every figure: data and split, and the protocol's name."""
        scored = " ".join(word for word in (self.data, self.split) if word)
        return ", ".join(part for part in (scored, (self.protocol or "").partition(": ")[0]) if part)

    @property
    def facts(self) -> list[Fact]:
        """The head's lines, those that are known."""
        known = [
            Fact("recipe", self.recipe or ""),
            *(file.fact for file in self.weights),
            Fact("data", self.data or ""),
            Fact("split", self.split or ""),
            *self.more,
            Fact("device", self.device or ""),
            Fact("date", self.date, "the day in UTC"),
            Fact("segattn", self.version),
            Fact("protocol", self.protocol or ""),
        ]
        return [fact for fact in known if fact.value]
