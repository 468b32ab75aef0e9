"""YAML from strangers to plain data: the one reader behind `dataset.yaml`, recipes and values on the command line.

It gives mappings, lists, text, whole numbers, floats, truth values and null, and refuses what YAML has beside them or
reads in an unexpected way: tags, dates, numbers to the base 60 or 8, keys twice, mappings as keys. Size, depth and
what aliases expand to are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from segattn.contracts import cut, shown
from segattn.files import decoded, read_regular

LARGEST = 1 << 18
"""Bytes of a file, or characters of a text."""
DEEPEST = 32
"""Lists and mappings inside each other."""
MOST_VALUES = 50_000
"""Keys and values, those counted again that an alias repeats."""

_LONGEST_NUMBER = 64
_TAG = "tag:yaml.org,2002:"


class YamlError(ValueError):
    """An error in a YAML text, without the name of its file."""


def read_yaml_file(path: str | Path, what: str = "YAML file") -> Any:
    """The plain data in a YAML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a regular file, larger than `LARGEST`, no UTF-8, or YAML that is refused, naming file and line.
    """
    data = read_regular(path, what, largest=LARGEST)
    try:
        return read_yaml(decoded(data))
    except (YamlError, UnicodeError) as error:
        raise ValueError(f"{path}: not readable as YAML: {error}") from None


def read_yaml(text: str) -> Any:
    """The plain data in a YAML text; None where it is empty.

    Raises:
        YamlError: it is refused; the message says where and why.
    """
    if len(text) > LARGEST:
        raise YamlError(f"{len(text)} characters, {LARGEST} are read at most")
    node = compose(text)
    return None if node is None else _Plain().value(node, 0)


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, each with its place in it, for whoever edits the text; None where it is empty.

    Raises:
        YamlError: it is no YAML, or has tags, or is too deep.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        said = "; ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(_where(error.problem_mark) + cut(said)) from None
    except YamlError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the parser's own limits are plain ValueErrors
        raise YamlError(cut(" ".join(str(error).split()))) from None


class _Loader(yaml.SafeLoader):
    """Composes nodes without tags, no deeper than `DEEPEST`."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            what = f"tag {shown(event.tag)}: tags are not read; remove it, and put text in quotes"
            raise YamlError(_where(event.start_mark) + what)
        if self.depth > DEEPEST:
            raise YamlError(f"{_where(event.start_mark)}more than {DEEPEST} lists and mappings inside each other")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Plain:
    """Turns nodes into plain data, and counts them."""

    def __init__(self) -> None:
        self._values = 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:
            raise YamlError(f"{_where(node.start_mark)}more than {MOST_VALUES} values, counting what aliases repeat")
        if depth > DEEPEST:
            raise YamlError(f"{_where(node.start_mark)}aliases make more than {DEEPEST} levels, or contain themselves")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        try:
            return _scalar(node)
        except YamlError as error:
            raise YamlError(_where(node.start_mark) + str(error)) from None

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            value = self.value(value_node, depth + 1)
            if key_node.tag == f"{_TAG}merge":
                for part in reversed(list(_mergeable(value, key_node))):
                    merged |= part
                continue
            key = self.value(key_node, depth + 1)
            if isinstance(key, (list, dict)):
                raise YamlError(f"{_where(key_node.start_mark)}{shown(key)} as a key; text or a number was expected")
            if key in own:
                raise YamlError(f"{_where(key_node.start_mark)}key {shown(key)} twice; keep one of them")
            own[key] = value
        return merged | own


def _mergeable(value: Any, key: yaml.Node) -> Iterator[dict[Any, Any]]:
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, dict):
            raise YamlError(f"{_where(key.start_mark)}<< takes mappings, not {shown(part)}")
        yield part


def _scalar(node: yaml.Node) -> Any:
    text, kind = node.value, node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("yes", "true", "on")
    if kind in ("int", "float"):
        return _number(text, kind)
    if kind == "timestamp":
        raise YamlError(f"{cut(text)} is a date to YAML; quote it: {cut(repr(text))}")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise YamlError(f"{shown(text)}: half a character (a surrogate escape); write the character itself")
    return text


def _number(text: str, kind: str) -> int | float:
    if len(text) > _LONGEST_NUMBER:
        raise YamlError(f"a number of {len(text)} digits; quote it if it is text")
    if ":" in text:
        raise YamlError(f"{text} is a number to the base 60 to YAML; quote it: {text!r}")
    digits = text.replace("_", "").lower()
    if kind == "float":
        return float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    if re.fullmatch(r"[-+]?0[0-9]+", digits):
        advice = f"write it without the leading 0, or quote it: {text!r}"
        raise YamlError(f"{text} is a number to the base 8 to YAML; {advice}")
    try:
        return int(digits, 0)
    except ValueError:  # such as 0x_ alone
        raise YamlError(f"{text} is no number; quote it: {text!r}") from None


def _where(mark: Any) -> str:
    return "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
