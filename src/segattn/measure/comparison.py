"""The result of a comparison, as JSON, as Markdown and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.files import write_file

if TYPE_CHECKING:
    from rich.table import Table


HEADINGS = ("network", "parameters", "GMACs", "ms an image", "peak MiB", "mIoU %", "mAcc %", "aAcc %")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network's figures.

    Attributes:
        key: of all that they depend on: equal keys, equal figures.
        parameters: all, also of what only training runs; `parameters_without_auxiliary` leaves that out.
        macs: multiply-accumulates of one image.
        seconds: the median for one image, from pixels to logits at its size; `clock` says which seconds.
        memory: bytes at the peak of a process that runs the network on one image; `memory_built` before it runs it.
        steps: optimiser steps; None where the model was trained elsewhere.
        best_validation: the highest mIoU of the validations during training; not what the table shows.
        miou, macc, aacc: in percent, of the model as it was after the last step; None for a training that failed.
        per_class: by class name, `iou` and `acc` in percent and labelled `pixels`; None where a figure is 0/0.
        notes: in words, what of the base's conditions could not be kept.
        file: of the weights, and its sha256; None for a training that failed.
    """

    name: str
    key: str
    parameters: int
    parameters_without_auxiliary: int
    macs: int
    seconds: float
    clock: str
    memory: int
    memory_built: int
    steps: int | None
    best_validation: float | None
    miou: float | None
    macc: float | None
    aacc: float | None
    per_class: dict[str, dict[str, float | None]]
    notes: tuple[str, ...]
    file: str | None = None
    sha256: str | None = None

    def cells(self) -> tuple[str, ...]:
        """The cells under `HEADINGS`."""
        scores = ("failed" if score is None else f"{score:.2f}" for score in (self.miou, self.macc, self.aacc))
        return (
            self.name,
            f"{self.parameters / 1e6:.2f} M",
            f"{self.macs / 1e9:.2f}",
            f"{1e3 * self.seconds:.1f}",
            f"{self.memory / 2**20:.0f}",
            *scores,
        )


@dataclass(frozen=True)
class Comparison:
    """Rows that share their conditions.

    Attributes:
        conditions: in words or numbers: what all rows were trained and scored by.
        provenance: command, day and machine.
    """

    conditions: Mapping[str, Any]
    provenance: Mapping[str, Any]
    rows: tuple[Row, ...]

    def table(self) -> Table:
        """For the terminal."""
        from rich.table import Table

        table = Table(HEADINGS[0])
        for heading in HEADINGS[1:]:
            table.add_column(heading, justify="right")
        for row in self.rows:
            table.add_row(*row.cells())
        return table

    def remarks(self) -> list[str]:
        """Below the table: the shared conditions, and what differs by row."""
        lines = [f"{name}: {value}" for name, value in self.conditions.items()]
        return lines + [f"{row.name}: {note}" for row in self.rows for note in row.notes]

    def to_json(self) -> str:
        content = {**self.provenance, "conditions": self.conditions, "rows": [asdict(row) for row in self.rows]}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        def line(cells: tuple[str, ...]) -> str:
            return f"| {' | '.join(cells)} |"

        dashes = ("---", *("---:",) * (len(HEADINGS) - 1))
        table = [line(HEADINGS), line(dashes), *(line(row.cells()) for row in self.rows)]
        command = ["```", str(self.provenance["command"]), "```"]
        return "\n".join([*table, "", *(f"- {remark}" for remark in self.remarks()), "", *command]) + "\n"

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `comparison.json` and `comparison.md` into the folder; gives both paths."""
        files = folder / "comparison.json", folder / "comparison.md"
        for file, text in zip(files, (self.to_json(), self.to_markdown()), strict=True):
            write_file(file, text.encode())
        return files


def known_rows(folder: Path) -> dict[str, Row]:
    """By key, the rows that an earlier, perhaps unfinished comparison left in the folder.

    Raises:
        ValueError: its `comparison.json` is not ours.
    """
    file = folder / "comparison.json"
    if not file.exists():
        return {}
    try:
        rows = [Row(**{**row, "notes": tuple(row["notes"])}) for row in json.loads(file.read_text("utf-8"))["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: not a comparison of ours ({error!r}); remove it or choose another --output"
        ) from None
    return {row.key: row for row in rows}
