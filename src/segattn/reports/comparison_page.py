"""A comparison as one page: scores beside cost, IoU by class, and what was held fixed."""

from __future__ import annotations

import math
from pathlib import Path

from segattn.measure.comparison import Comparison, Row
from segattn.reports.origin import Fact, Origin, WeightsFile
from segattn.reports.page import write_html

_OWN_LINES = ("data", "protocol", "device")  # of the conditions, which the head has


def write_page(found: Comparison, folder: Path) -> Path:
    """Write `comparison.html` into the folder; gives its path.

    Raises:
        OSError: it can't be written.
    """
    conditions = {name: str(value) for name, value in found.conditions.items()}
    machine = found.provenance["machine"]
    origin = Origin(
        weights=tuple(WeightsFile(row.file, row.sha256) for row in found.rows if row.file and row.sha256),
        data=conditions["data"],
        protocol=conditions["protocol"],
        device=conditions["device"],
        date=str(found.provenance["date"]),
        more=(Fact("torch", str(machine["torch"])),),
    )
    scored = [row for row in found.rows if row.miou is not None]
    return write_html(
        folder / "comparison.html",
        "comparison",
        title=f"{len(found.rows)} network{'' if len(found.rows) == 1 else 's'} on {conditions['data']}",
        origin=origin,
        rows=found.rows,
        best=max((row.miou for row in scored if row.miou is not None), default=math.nan),
        scored=scored,
        classes=_by_class(scored),
        conditions={name: value for name, value in conditions.items() if name not in _OWN_LINES},
        notes=[(row.name, note) for row in found.rows for note in row.notes],
        command=str(found.provenance["command"]),
    )


def _by_class(rows: list[Row]) -> list[tuple[str, list[float | None], float | None]]:
    """A class, its IoU in percent in each row (None where it is absent), and the largest."""
    found = []
    for name in rows[0].per_class if rows else ():
        ious = [row.per_class[name]["iou"] for row in rows]
        found.append((name, ious, max((iou for iou in ious if iou is not None), default=None)))
    return found
