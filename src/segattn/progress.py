"""Progress bars on the standard error stream, where that is a terminal; they vanish when the work is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for the time of the block, which calls what it is given with the number of items that are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # lines printed meanwhile go above the bar, but never out of a pipe
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """The items, with a bar that counts those that the loop is done with."""
    with progress_bar(what, total) as done:
        for number, item in enumerate(items, 1):
            yield item
            done(number)
