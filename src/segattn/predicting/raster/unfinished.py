"""The labels of a raster while it is worked on: raw bytes on the disk, and a list of the rows that are done."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.files import append, naming_file, write_file


class Unfinished:
    """Labels (H, W) uint8 in `.NAME.labels` beside the result, and in `.NAME.done` what they are of and which are done.

    Rows are written before they are said to be done, so that a run which is stopped at any moment loses only what it
    was about to write.

    Args:
        result: the file that comes of it.
        size: (H, W).
        made_by: what the labels come from; files of anything else are begun anew.

    Raises:
        UnwritableError: they can't be written.
    """

    def __init__(self, result: Path, size: tuple[int, int], made_by: dict[str, Any]) -> None:
        self.result = result
        self._labels, self._done = (result.with_name(f".{result.name}.{what}") for what in ("labels", "done"))
        self._width = size[1]
        head = json.dumps({"size": list(size), **made_by}, sort_keys=True)
        self.done: dict[int, int] = {}
        """How many rows are done, from the top, of the panel that begins at a column."""
        lines = self._lines()
        if lines and lines[0] == head and self._bytes() == size[0] * size[1]:
            for line in lines[1:]:
                panel, rows = map(int, line.split())
                self.done[panel] = rows
        else:
            with naming_file(result):
                result.parent.mkdir(parents=True, exist_ok=True)
                self._labels.write_bytes(b"")
                os.truncate(self._labels, size[0] * size[1])
            write_file(self._done, f"{head}\n".encode())
        with naming_file(result):
            self._file = self._labels.open("r+b", buffering=0)
            self._journal = self._done.open("ab", buffering=0)

    def write(self, top: int, left: int, labels: NDArray[np.uint8]) -> None:
        """Rows (count, w) of the panel that begins at column `left`, from row `top` on. Raises UnwritableError."""
        with naming_file(self.result):
            for number, row in enumerate(labels, top):
                self._write_all(row.tobytes(), number * self._width + left)
            os.fdatasync(self._file.fileno())
        append(self._journal, self.result, f"{left} {top + len(labels)}\n".encode())

    def read(self, top: int, count: int) -> NDArray[np.uint8]:
        """Whole rows: (count, W)."""
        data = os.pread(self._file.fileno(), count * self._width, top * self._width)
        return np.frombuffer(data, np.uint8).reshape(-1, self._width)

    def close(self, *, remove: bool) -> None:
        """Close the files, and remove them where the result is whole."""
        self._file.close()
        self._journal.close()
        if remove:
            for file in (self._labels, self._done):
                with suppress(OSError):
                    file.unlink()

    def _write_all(self, data: bytes, position: int) -> None:
        while data:
            written = os.pwrite(self._file.fileno(), data, position)
            data, position = data[written:], position + written

    def _lines(self) -> list[str]:
        """Those that were written whole."""
        try:
            return self._done.read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, UnicodeError):
            return []

    def _bytes(self) -> int:
        try:
            return self._labels.stat().st_size
        except OSError:
            return -1
