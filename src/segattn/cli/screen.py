"""Printing, errors and signals of the commands."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

_OF_OUTPUT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE}


def print_table(table: Table) -> None:
    """Print a table: fitted to a terminal; as tab-separated values, unpadded, where the output is a file or a pipe."""
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")  # Console itself would leave with exit code 1

    if not is_terminal():
        headings = [" ".join(str(column.header).split()) for column in table.columns]
        rows = zip(*(column.cells for column in table.columns), strict=True)
        for line in [headings] * any(headings) + [[_one_line(str(cell)) for cell in row] for row in rows]:
            print("\t".join(line))
        return
    # names of classes and files are no markup: [red] and :car: stay as they are
    PipeConsole(width=table_width(), markup=False, emoji=False).print(table)


def _one_line(cell: str) -> str:
    return "; ".join(" ".join(line.split()) for line in cell.splitlines())


def is_terminal() -> bool:
    """Whether tables are for eyes: the output is a terminal, or said to be one by FORCE_COLOR and the like."""
    from rich.console import Console

    return Console().is_terminal


def table_width() -> int:
    """The columns that a table may take: the terminal's."""
    from rich.console import Console

    return Console().width


def size_text(size: tuple[int, ...]) -> str:
    """(height, width, ...) as people write it, 480x360."""
    return f"{size[1]}x{size[0]}"


def percent(share: float) -> str:
    """A share of 1, which occurs."""
    return f"{100 * share:.1f}%" if share >= 0.001 else "<0.1%"


def print_json(content: Any) -> None:
    """Print one JSON document, in ASCII, which no encoding of the output changes.

    Raises:
        ValueError: a number in it is NaN or infinite.
    """
    print(json.dumps(content, indent=1, allow_nan=False))


def print_error(error: Exception) -> None:
    """One line on the standard error stream, if that takes it."""
    with suppress(OSError):
        print(f"segattn: error: {' '.join(error_text(error).split())}", file=sys.stderr, flush=True)


def prepare_streams() -> None:
    """Let both streams take every file name, and discard what is for one that the caller closed, as by `>&-`."""
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that the terminal's encoding doesn't have


def is_of_output(error: Exception) -> bool:
    """Whether the standard output takes no more: of our files, errors of the system say their names."""
    return isinstance(error, OSError) and error.filename is None and error.errno in _OF_OUTPUT


def discard_output() -> None:
    """Let nothing more be written to the standard output, nor complained about when this process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def leaving_with_3() -> Iterator[None]:
    """For the block, SIGTERM and SIGINT end this process with exit code 3, at once: for work that leaves nothing half.

    What takes longer to leave, a running training, has handlers of its own meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():  # nobody else may install handlers
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        os.write(2, f"segattn: stopped by {name} with nothing to save: the same command goes on\n".encode())
        os._exit(3)  # an exception could be swallowed by what is being imported

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_out_of_memory(error: Exception) -> bool:
    """Whether there was too little memory, of the machine or of an accelerator."""
    # torch has a type for accelerators only, and here it may not even be imported
    words = re.search("out of memory|can't allocate memory", str(error))  # others may say them of another process
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and words is not None)


def error_text(error: Exception) -> str:
    """The line to print for an error."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if is_of_output(error):
        return f"standard output: can't be written ({getattr(error, 'strerror', error)})"
    if is_out_of_memory(error):
        return "out of memory; smaller images or batches, or a protocol with windows (--protocol slide_512), need less"
    if isinstance(error, ModuleNotFoundError):
        return f"needs {error.name}, which is not installed: pip install segattn, without --no-deps, installs all"
    text = str(error)
    # a data loading process hands its traceback on as text, which ends with what it raised
    passed_on = re.match(r"Caught (\w+) in DataLoader worker process", text)
    if passed_on:
        text = text.rpartition(f"\n{passed_on[1]}: ")[2]
    return text or type(error).__name__
