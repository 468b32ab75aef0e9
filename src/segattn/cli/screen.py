"""What commands print with."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def print_table(table: Table) -> None:
    """Print a table: fitted to a terminal, at full width where the output is a file or a pipe."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)
