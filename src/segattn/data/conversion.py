"""What a data set that is not distributed as PNG masks needs to be converted to, once: the work, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray


class Conversion(NamedTuple):
    """One mask: the PNG that will hold it, and how to make its (H, W) ids, each 0..255. `make` raises ValueError."""

    target: Path
    make: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Plan:
    """All masks of a data set, and the list files (path -> names) that are written once every mask is there."""

    conversions: list[Conversion]
    lists: Mapping[Path, list[str]] = field(default_factory=dict)
