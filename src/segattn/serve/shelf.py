"""The files that a page hands out: each visitor's in folders that nobody can guess, the oldest removed first."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from threading import Lock


class Shelf:
    """Folders of files that are kept while there is room.

    Args:
        folder: in which it may do what it likes.
        most_bytes: of all files together; the newest folder is kept in any case.
    """

    def __init__(self, folder: Path, most_bytes: int = 1_000_000_000) -> None:
        self.folder, self._most = folder, most_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._entries: list[Path] = []
        self._lock = Lock()

    def add(self) -> Path:
        """A new folder, empty."""
        with self._lock:
            self._sweep()
            entry = self.folder / secrets.token_hex(16)
            entry.mkdir()
            self._entries.append(entry)
            return entry

    def _sweep(self) -> None:
        sizes = [_bytes_in(entry) for entry in self._entries]
        total = sum(sizes)
        while total > self._most and len(self._entries) > 1:
            shutil.rmtree(self._entries.pop(0), ignore_errors=True)
            total -= sizes.pop(0)


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
