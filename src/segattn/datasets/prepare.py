"""Converts data sets that are not distributed as PNG masks, once; an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import counted, nearest
from segattn.datasets import coco_stuff, pascal_context, voc
from segattn.datasets.base import Conversion, Plan
from segattn.datasets.headers import MAX_PIXELS
from segattn.files import require_folder, same_file, write_file
from segattn.pictures import write_image
from segattn.progress import track

PLANS: dict[str, Callable[[Path], Plan]] = {
    "coco_stuff10k": coco_stuff.plan,
    "pascal_context": pascal_context.plan,
    "pascal_context60": pascal_context.plan,
    "voc2012": voc.plan,
}
"""Data sets with something to convert. All others are read as they are distributed."""

_SHOWN = 10


@dataclass(frozen=True)
class PrepareReport:
    """The account of a preparation.

    Attributes:
        made: masks written now.
        kept: masks that were there already.
        failed: one line for each mask that could not be made; the list files are then not written.
    """

    dataset: str
    root: str
    made: int
    kept: int
    failed: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every mask is there now."""
        return not self.failed

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        lines = [f"{self.dataset} in {self.root}: {counted(self.made, 'mask')} made, {self.kept} were there already"]
        if self.failed:
            lines.append(f"{len(self.failed)} could not be made; mend them and prepare again:")
            lines += [f"  {line}" for line in self.failed[:_SHOWN]]
            lines += [f"  and {len(self.failed) - _SHOWN} more"] if len(self.failed) > _SHOWN else []
        return "\n".join(lines)


def prepare(name: str, root: str | Path) -> PrepareReport:
    """Convert a data set's annotations to PNG masks under `root`, with a progress bar on the standard error stream.

    Each mask appears whole or not at all, and masks that are there are not made again. A mask that can't be made does
    not stop the others: it is in the report.

    Raises:
        ValueError: a data set that needs no preparation or is not known, or annotations of another structure.
        FileNotFoundError: what is to be converted is not there.
        OSError: `root` can't be written to.
    """
    root = Path(root)
    if name not in PLANS:
        raise ValueError(
            f"{name!r} has nothing to prepare; {', '.join(PLANS)} have, others are read as they are distributed."
            f"{nearest(name, PLANS)}"
        )
    require_folder(root, f"{name} was to be prepared in it")
    plan = PLANS[name](root)
    _require_separate(plan)
    _clean_up(plan)
    waiting = [conversion for conversion in plan.conversions if not _is_there(conversion.target)]
    failed = []
    for conversion in track(waiting, f"preparing {name}", len(waiting)):
        try:
            ids = _made(conversion)
        except (ValueError, OSError, MemoryError) as error:
            failed.append(str(error) or f"{conversion.target.stem}: out of memory")
            continue
        write_image(conversion.target, ids)
    if not failed:
        for path, names in plan.lists.items():
            _write_list(path, names)
    return PrepareReport(
        name, str(root), len(waiting) - len(failed), len(plan.conversions) - len(waiting), tuple(failed)
    )


def _require_separate(plan: Plan) -> None:
    """Raises ValueError if two annotations would make one mask."""
    targets: set[str] = set()
    for conversion in plan.conversions:
        target = same_file(str(conversion.target))
        if target in targets:
            raise ValueError(f"{conversion.target}: two annotations would write this mask; remove one of them")
        targets.add(target)


def _clean_up(plan: Plan) -> None:
    """Files that an interrupted run may have left half-written."""
    for folder in {conversion.target.parent for conversion in plan.conversions} | {path.parent for path in plan.lists}:
        for left in folder.glob("*.part"):
            left.unlink()


def _is_there(target: Path) -> bool:
    return target.is_file() and target.stat().st_size > 0


def _made(conversion: Conversion) -> NDArray[np.uint8]:
    ids = conversion.make()
    if ids.size == 0 or ids.size > MAX_PIXELS or ids.min() < 0 or ids.max() > 255 or (ids != np.floor(ids)).any():
        raise ValueError(f"{conversion.target.stem}: the ids of this mask are not whole numbers in 0..255")
    return np.ascontiguousarray(ids, np.uint8)


def _write_list(path: Path, names: list[str]) -> None:
    write_file(path, "".join(f"{name}\n" for name in names).encode())
