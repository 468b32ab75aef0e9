"""Progress bars on the standard error stream, where that is a terminal; they vanish when the work is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import ProgressColumn

T = TypeVar("T")
_LONGEST_BAR, _SHORTEST_BAR = 40, 4


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A bar for the time of the block, which calls what it is given with the number of items that are done.

    And, where it is known only then, with how many there are.
    """
    if not _may_be_seen():
        yield lambda done, total=None: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    with Progress(
        *progress_columns(console, MofNCompleteColumn(), 2 * len(str(total)) + 1),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # lines printed meanwhile go above the bar, but never out of a pipe
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, total=None: bar.update(task, completed=done, total=total)


def _may_be_seen() -> bool:
    """Whether rich is there and may take the stream for a terminal; where not, the time to import it is saved."""
    told = os.environ.keys() & {"FORCE_COLOR", "TTY_COMPATIBLE"}
    return (sys.stderr.isatty() or bool(told)) and find_spec("rich") is not None


def progress_columns(console: Console, count: ProgressColumn, count_width: int) -> tuple[ProgressColumn, ...]:
    """The columns of a bar that stays in one line: the time left first, the count, a bar, and what is done.

    In a narrow terminal the bar is shorter or left out, and then the words are cut.

    Args:
        count: shows how much is done, in at most `count_width` columns.
    """
    from rich.progress import ProgressColumn, Task, TimeRemainingColumn
    from rich.progress_bar import ProgressBar
    from rich.table import Column
    from rich.text import Text

    class Bar(ProgressColumn):
        def render(self, task: Task) -> RenderableType:
            room = console.width - len("0:00:00 ") - count_width - len(f" {task.description} ")
            if room < _SHORTEST_BAR:
                return ""
            return ProgressBar(
                total=task.total,
                completed=task.completed,
                width=min(room, _LONGEST_BAR),
                pulse=task.total is None,
                animation_time=task.get_time(),
            )

    class Words(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(task.description, no_wrap=True, overflow="ellipsis")

    return (
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        count,
        Bar(table_column=Column(no_wrap=True)),
        Words(),  # the one column that rich makes narrower: all others must not wrap
    )


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """The items, with a bar that counts those that the loop is done with."""
    with progress_bar(what, total) as done:
        for number, item in enumerate(items, 1):
            yield item
            done(number)
