"""Results where people look at them: data frames, and tables of a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module
from math import isnan
from typing import Any


def data_frame(index: Sequence[str], columns: Mapping[str, Sequence[Any]], *, index_name: str) -> Any:
    """A `pandas.DataFrame` with these columns and an index of this name.

    Raises:
        ImportError: pandas is not installed, which nothing else here needs.
    """
    try:
        pandas: Any = import_module("pandas")
    except ImportError:
        raise ImportError("to_frame() needs pandas, which is not installed: pip install pandas") from None
    return pandas.DataFrame(dict(columns), index=pandas.Index(list(index), name=index_name))


def html_table(heading: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str) -> str:
    """An HTML table: texts are escaped, floats have two places, NaN is a dash; the first column is left-aligned."""
    lines = [f"<table><caption>{escape(caption)}</caption>", _row("th", heading)]
    lines += [_row("td", row) for row in rows]
    return "\n".join([*lines, "</table>"])


def _row(tag: str, cells: Sequence[object]) -> str:
    aligned = [f'<{tag} style="text-align:{"right" if i else "left"}">{_cell(c)}</{tag}>' for i, c in enumerate(cells)]
    return f"<tr>{''.join(aligned)}</tr>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if isnan(value) else f"{value:.2f}"
    return escape(str(value))
