"""HTML pages from the templates beside this file: what enters them is escaped, and a page is one file."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.files import write_file

if TYPE_CHECKING:
    from jinja2 import Environment


def write_html(path: Path, template: str, **values: Any) -> Path:
    """Write a page, whole or not at all; gives its path. Arguments as `render_html`.

    Raises:
        OSError: the file can't be written.
    """
    write_file(path, render_html(template, **values).encode())
    return path


def render_html(template: str, **values: Any) -> str:
    """The text of a page.

    Args:
        template: the name of a file in `templates`, without `.html.j2`.
        values: all that the template names; its `title` among them.
    """
    return printable(_environment().get_template(f"{template}.html.j2").render(values))


def printable(text: str) -> str:
    r"""The text with an escape such as `\udcff` for every byte of a file's name that is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def data_uri(data: bytes, kind: str) -> str:
    """An image, in the bytes of a file of the kind ("png", "jpeg"), as what an `img` takes for its source."""
    return f"data:image/{kind};base64,{b64encode(data).decode('ascii')}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
