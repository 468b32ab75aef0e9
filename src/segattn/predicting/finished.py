"""Which images are labelled already, by the same model and options, so that a restart does the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segattn.files import write_file
from segattn.predicting.addresses import Store
from segattn.processes import gathered, place

FILE = ".segattn.json"
"""In the output folder: what its results were made by. Results that are older than it were made by something else."""


class Finished:
    """The results of an output folder that need not be made again.

    Args:
        folder: of the results.
        made_by: model and options, for JSON; where the folder's own say something else, nothing in it is finished.
        fresh: make everything again.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any], *, fresh: bool) -> None:
        path = folder / FILE
        content = _content(made_by)
        try:
            same = path.read_bytes() == content
        except OSError:
            same = False
        self.anew = any(gathered(fresh or not same))
        """Whether nothing in the folder is finished; all processes look before one of them writes."""
        if self.anew and place().rank == 0:
            write_file(path, content)
        gathered(None)  # its time is read below
        self._since = os.stat(path).st_mtime_ns

    def has(self, files: Sequence[Path], source: Path | None) -> bool:
        """Whether all of an image's files are there, newer than the image and than the start of this work."""
        try:
            times = [os.stat(file).st_mtime_ns for file in files]
            read = 0 if source is None else os.stat(source).st_mtime_ns
        except (OSError, ValueError):  # the latter of a null byte in a name
            return False
        return min(times) >= max(self._since, read)


def finished_in(store: Store, made_by: Mapping[str, Any], *, parquet: bool, fresh: bool) -> dict[str, float]:
    """The names of the images whose labels are in a folder or at an address, and the time of each in seconds.

    Args:
        made_by, fresh: as `Finished` has them.
        parquet: whether labels are in tables, of which those made by something else are removed.

    Raises:
        OSError: the folder can't be read, or not be written to.
    """
    content = _content(made_by)
    files = store.files()
    tables = [name for name in files if name.startswith("labels-") and name.endswith(".parquet") and "/" not in name]
    if fresh or store.read(FILE) != content:
        for name in tables if parquet else []:
            store.remove(name)
        store.write(FILE, content)
        return {}
    if parquet:
        return {name: files[table] for table in tables for name in _names_in(store.read(table))}
    ends = "_labels.png"
    return {
        name.removesuffix(ends): time
        for name, time in files.items()
        if name.endswith(ends) and time >= files.get(FILE, 0.0)
    }


def _names_in(table: bytes | None) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names: list[str] = pq.read_table(pa.BufferReader(table or b""), columns=["name"]).column("name").to_pylist()
    return names


def _content(made_by: Mapping[str, Any]) -> bytes:
    return (json.dumps(made_by, indent=1, sort_keys=True) + "\n").encode()
