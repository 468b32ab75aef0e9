"""Rows of text as the lines of a table: aligned for eyes, with tabs between the cells for programs."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table_lines(rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,), padded: bool = True) -> list[str]:
    """One line for each row; all rows have equally many cells.

    Args:
        left: the columns that are aligned on the left; numbers are on the right.
        padded: aligned by blanks; if not, the cells are separated by tabs.
    """
    if not padded:
        return ["\t".join(" ".join(cell.split()) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
