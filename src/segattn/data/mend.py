"""Writes labels into a `dataset.yaml` and leaves the rest of the file as it is, comments included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segattn.contracts import shown
from segattn.files import decoded, read_regular, write_file
from segattn.yaml_reader import compose, read_yaml


@dataclass(frozen=True)
class Mend:
    """What a dataset.yaml should say.

    Attributes:
        path: of the file.
        labels: id -> class name or "ignore", as the key `labels` is to hold them.
        ignore: the list of the key `ignore`; None where it stays as it is.
    """

    path: str
    labels: Mapping[int, str]
    ignore: tuple[int, ...] | None = None

    @property
    def keys(self) -> dict[str, Any]:
        """The keys to write, as plain data."""
        ignore = {} if self.ignore is None else {"ignore": list(self.ignore)}
        return {"labels": dict(self.labels), **ignore}


def as_line(mend: Mend) -> str:
    """The keys as they are to be written, such as `labels: {0: background, 255: crack}`."""
    return " and ".join(f"`{key}: {_inline(value)}`" for key, value in mend.keys.items())


def write_mend(mend: Mend) -> None:
    """Write the keys into the file, which holds either what it held or all of them.

    Raises:
        ValueError: the file is laid out so that this can't be done safely; nothing is written then.
        OSError: it can't be written.
    """
    path = Path(mend.path).resolve()  # not a link's own name, which would become a file
    data = read_regular(path)
    text = decoded(data)
    expected = {**read_yaml(text), **mend.keys}
    for key, value in mend.keys.items():
        text = _with_key(text, key, value)
    try:
        same = read_yaml(text) == expected
    except ValueError:
        same = False
    if not same:
        raise ValueError(f"{mend.path}: laid out so that it can't be changed safely; write into it {as_line(mend)}")
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    write_file(path, mark + text.encode("utf-8"))


def _with_key(text: str, key: str, value: Any) -> str:
    """The text with the value of a key of its one mapping replaced, or with the key added."""
    node = compose(text)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"a mapping was expected, not {shown(text)}")
    for key_node, value_node in node.value:
        if key_node.value == key:
            if isinstance(value, Mapping) and isinstance(value_node, yaml.MappingNode):
                return _with_entries(text, value_node, value)
            start, end = value_node.start_mark.index, _end(value_node)
            between = text[key_node.end_mark.index : start]
            start = key_node.end_mark.index + between.index(":") + 1 if "\n" in between else start
            return f"{text[:start].rstrip(' ')} {_inline(value)}{text[end:]}"
    line = f"{key}: {_inline(value)}"
    if node.flow_style:
        place = text.rindex("}", 0, int(node.end_mark.index))
        return f"{text[:place].rstrip().rstrip(',')}, {line}{text[place:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    place = _end(node)
    line_end = text.find("\n", place)
    if line_end < 0:
        return f"{text}{newline}{line}{newline}"
    return f"{text[: line_end + 1]}{line}{newline}{text[line_end + 1 :]}"


def _with_entries(text: str, node: yaml.MappingNode, entries: Mapping[int, str]) -> str:
    """The text with the values of some keys of a mapping replaced, and those added that it lacks."""
    there = {read_yaml(text[key.start_mark.index : key.end_mark.index]): value for key, value in node.value}
    added = {raw: name for raw, name in entries.items() if raw not in there}
    edits = [
        (value.start_mark.index, value.end_mark.index, _inline(entries[raw]))
        for raw, value in there.items()
        if raw in entries and value.value != entries[raw]
    ]
    if added:
        end = _end(node.value[-1][1])
        if node.flow_style:
            edits.append((end, end, "".join(f", {raw}: {_inline(name)}" for raw, name in added.items())))
        else:
            newline = "\r\n" if "\r\n" in text else "\n"
            line_end = text.find("\n", end)
            place = len(text) if line_end < 0 else line_end + 1
            before = newline if line_end < 0 else ""
            indent = " " * node.value[-1][0].start_mark.column
            lines = "".join(f"{indent}{raw}: {_inline(name)}{newline}" for raw, name in added.items())
            edits.append((place, place, before + lines))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _end(node: yaml.Node) -> int:
    """Where a node's last character is: a mapping or list in lines "ends" only where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _inline(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
