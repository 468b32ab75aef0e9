"""Labels of many images as Parquet files of some hundred rows each, for what reads tables rather than many files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segattn.contracts import cut
from segattn.files import write_file
from segattn.predicting.prediction import Prediction
from segattn.processes import gathered

_ROWS = 500
_NAME = re.compile(r"labels-\d{5}-\d{5,}\.parquet")


class ParquetLabels:
    """Writes labels-RANK-NUMBER.parquet: name, height, width, and labels, the bytes of a palette PNG of class ids.

    Each file is written whole once it has `_ROWS` rows, so that a run that is stopped loses the last ones only.

    Args:
        folder: of the files.
        rank: of this process, which writes files of its own.
        fresh: earlier files are another model's, and go.

    Raises:
        ValueError: an earlier file is damaged.
    """

    def __init__(self, folder: Path, rank: int, *, fresh: bool) -> None:
        import pyarrow.parquet as pq

        self._folder, self._rank = folder, rank
        self._rows: list[dict[str, Any]] = []
        self.names: set[str] = set()
        """Of the images that earlier runs have labelled."""
        self.removed = 0
        """Files of an earlier run that this one can't go on with."""
        if fresh and rank == 0:
            for part in _tables_in(folder):
                part.unlink()
                self.removed += 1
        gathered(None)  # before another process writes files of the same names
        parts = _tables_in(folder)
        gathered(None)
        for part in parts:
            try:
                self.names.update(pq.read_table(part, columns=["name"]).column("name").to_pylist())
            except (ValueError, OSError) as error:
                raise ValueError(
                    f"{part}: damaged, or no table of labels ({cut(str(error))}); remove it, and its images are "
                    "labelled again"
                ) from None
        own = [part for part in parts if part.name.startswith(f"labels-{rank:05d}-")]
        self._next = 1 + max((int(part.stem.rpartition("-")[2]) for part in own), default=-1)
        self.files: list[Path] = []

    def add(self, prediction: Prediction) -> None:
        """Take the labels of an image. Raises OSError."""
        self._rows.append(table_row(prediction))
        if len(self._rows) == _ROWS:
            self.finish()

    def finish(self) -> None:
        """Write what there is. Raises OSError."""
        if not self._rows:
            return
        path = self._folder / f"labels-{self._rank:05d}-{self._next:05d}.parquet"
        write_file(path, table_bytes(self._rows))
        self.files.append(path)
        self._rows, self._next = [], self._next + 1


def table_row(prediction: Prediction) -> dict[str, Any]:
    """The row of an image."""
    height, width = prediction.labels.shape
    return {"name": prediction.name, "height": height, "width": width, "labels": prediction.labels_png()}


def table_bytes(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, compression="none")  # PNGs are compressed
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _tables_in(folder: Path) -> list[Path]:
    return sorted(part for part in folder.glob("labels-*.parquet") if _NAME.fullmatch(part.name))


def read_labels(files: Iterable[Path]) -> dict[str, bytes]:
    """The palette PNG of each image by its name, from files of `ParquetLabels`."""
    import pyarrow.parquet as pq

    tables = (pq.read_table(file, columns=["name", "labels"]) for file in files)
    return {row["name"]: row["labels"] for table in tables for row in table.to_pylist()}
