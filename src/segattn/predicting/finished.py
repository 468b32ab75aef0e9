"""Which images are labelled already, by the same model and options, so that a restart does the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segattn.files import write_file
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
        content = (json.dumps(made_by, indent=1, sort_keys=True) + "\n").encode()
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
