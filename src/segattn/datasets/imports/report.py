"""The account of an import: what was drawn, what was not, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from segattn.contracts import counted

_SHOWN = 8


@dataclass(frozen=True)
class ClassCount:
    """A class in the masks: `id` there, `shapes` drawn, `pixels` that are left of them, `images` that have any."""

    name: str
    id: int
    shapes: int
    pixels: int
    images: int


@dataclass(frozen=True)
class ImportReport:
    """The account of an import.

    Attributes:
        tool, source, target: what was imported, from where and to where.
        splits: images by split.
        made, kept: images written now, and those that an earlier run had written.
        background_only: images in which no shape was drawn. left_out: those that an option left out.
        classes: those in dataset.yaml, in their order.
        unused: classes of the tool without a pixel, which dataset.yaml does not have.
        ignored_regions: crowds and the like, which became 255.
        skipped: shapes that were not drawn, by reason.
        failed: a line for each image that could not be imported.
        notes: what else was decided.
        images: a row for each image, with its source and its shapes.
    """

    tool: str
    source: str
    target: str
    splits: Mapping[str, int]
    made: int
    kept: int
    background_only: int
    left_out: int
    classes: tuple[ClassCount, ...]
    unused: tuple[str, ...]
    ignored_regions: int
    skipped: Mapping[str, int]
    failed: tuple[str, ...]
    notes: tuple[str, ...]
    images: tuple[Mapping[str, Any], ...]

    @property
    def complete(self) -> bool:
        """Whether every annotated image was imported."""
        return not self.failed

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    def __str__(self) -> str:
        splits = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        kept = f", {self.kept} of them there already" if self.kept else ""
        lines = [f"{self.target}: {counted(sum(self.splits.values()), 'image')} with masks ({splits}){kept}"]
        width = max(len(row.name) for row in self.classes)
        lines.append(f"{'id':>5}  {'class':<{width}}  {'shapes':>6}  {'images':>6}  {'pixels':>7}")
        total = sum(row.pixels for row in self.classes) or 1
        lines += [
            f"{row.id:>5}  {row.name:<{width}}  {row.shapes:>6}  {row.images:>6}  {100 * row.pixels / total:6.2f}%"
            for row in self.classes
        ]
        if self.unused:
            lines.append(f"classes without a pixel, left out: {_some(self.unused)}")
        if self.ignored_regions:
            lines.append(f"{counted(self.ignored_regions, 'region')} became 255, which neither trains nor scores")
        if self.background_only:
            lines.append(f"{counted(self.background_only, 'image')} without a shape became background")
        if self.left_out:
            lines.append(f"left out: {counted(self.left_out, 'image')} without a shape")
        lines += [f"note: {note}" for note in self.notes]
        if self.skipped:
            lines.append(f"{counted(sum(self.skipped.values()), 'shape')} not drawn:")
            lines += _listed([f"{count}: {why}" for why, count in Counter(self.skipped).most_common()])
        if self.failed:
            lines.append(f"{counted(len(self.failed), 'image')} could not be imported:")
            lines += _listed(self.failed)
        return "\n".join(lines)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _listed(lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    more = [f"  and {len(lines) - _SHOWN} more (import_report.json has all)"] if len(lines) > _SHOWN else []
    return [f"  {line}" for line in lines[:_SHOWN]] + more
