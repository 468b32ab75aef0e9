"""Recipes to plain data and back: typed, strict, and with errors that name the key.

Dataclasses become mappings, tuples become lists. Where a field can be one of several dataclasses, the mapping says
which under `kind`. Reading is strict: an unknown key, a missing one or a value of another type stops with the key's
full path.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from segattn.contracts import AlignCorners, align_corners_in_words, cut, nearest, shown
from segattn.yaml_reader import YamlError, read_yaml, read_yaml_file

T = TypeVar("T")
KIND = "kind"


def to_dict(value: Any, declared: Any = None) -> Any:
    """A dataclass instance as mappings, lists and scalars; `declared` is the type of the field that holds it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        result = {KIND: type(value).__name__} if _is_union_of_dataclasses(declared) else {}
        for field in dataclasses.fields(value):
            result[field.name] = to_dict(getattr(value, field.name), hints[field.name])
        return result
    if isinstance(value, tuple):
        items = get_args(declared) if declared is not None else ()
        item_type = items[0] if len(items) == 2 and items[1] is Ellipsis else None
        return [to_dict(item, item_type) for item in value]
    return value


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """The dataclass `cls` from what `to_dict` gave.

    Raises:
        ValueError: naming the key's path, what was found and what was expected.
    """
    result: T = _read(cls, data, where)
    return result


def to_yaml(recipe: Any) -> str:
    """The recipe as YAML text, keys in the order of the dataclass."""
    return yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def from_yaml(cls: type[T], path: str | Path) -> T:
    """The dataclass `cls` from a YAML file.

    Raises:
        ValueError: naming the file and the key that is wrong.
        FileNotFoundError: there is no such file.
    """
    data = read_yaml_file(path, "recipe file")
    if not isinstance(data, dict):
        held = "nothing" if data is None else f"a {type(data).__name__}"
        raise ValueError(f"{path}: holds {held}, expected the mapping that `segattn show NAME` prints")
    try:
        return from_dict(cls, data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def override(value: T, changes: Mapping[str, str]) -> T:
    """A copy of a dataclass with fields replaced by path, e.g. ``{"schedule.lr": "0.01", "losses.0.weight": "2"}``.

    Values are YAML text, checked against the field's type: also whole lists and mappings, such as
    ``{"losses": "[{kind: CrossEntropy}]"}``, whose missing fields have their defaults. Changes are made in order.

    Raises:
        ValueError: an unknown path (the nearest keys are offered) or a value of another type.
    """
    data = to_dict(value)
    for path, text in changes.items():
        *parents, last = path.split(".")
        node = data
        for depth, part in enumerate(parents):
            node = _step(node, part, ".".join(parents[: depth + 1]))
            if not isinstance(node, (dict, list)):
                found = f"{cut('.'.join(parents[: depth + 1]))} is {shown(node)}"
                raise ValueError(f"{found}: it has no field {shown(last)} to set")
        _step(node, last, path)
        try:
            new = node[int(last) if isinstance(node, list) else last] = read_yaml(text)
        except YamlError as error:
            what = f"{shown(text)} can't be read as a YAML value; quotes may be missing in it"
            raise ValueError(f"{cut(path)}: {what} ({error})") from None
        if isinstance(new, (dict, list)):
            _fill_in(type(value), data, path.partition(".")[0])
    return from_dict(type(value), data)


def _fill_in(cls: type, data: dict[str, Any], name: str) -> None:
    """Give what was written whole the fields that it leaves out, so that paths into it can follow."""
    declared = _hints(cls)[name]
    with suppress(ValueError):  # another change may still make it right; if none does, reading it all says so
        data[name] = to_dict(_read(declared, data[name], name), declared)


def _step(node: Any, part: str, path: str) -> Any:
    if isinstance(node, list):
        if part not in {str(index) for index in range(len(node))}:
            there = f"expected a number from 0 to {len(node) - 1}" if node else "the list is empty"
            raise ValueError(f"{cut(path)}: no such entry; {there}")
        return node[int(part)]
    if part not in node:
        raise ValueError(f"{cut(path)}: unknown key.{nearest(part, node)} Known here: {', '.join(node)}")
    return node[part]


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _options(declared: Any) -> tuple[Any, ...]:
    return get_args(declared) if get_origin(declared) in (Union, types.UnionType) else (declared,)


def _is_union_of_dataclasses(declared: Any) -> bool:
    return sum(dataclasses.is_dataclass(option) for option in _options(declared)) > 1


def _read(declared: Any, value: Any, where: str) -> Any:
    options = _options(declared)
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    if len(options) == 1:
        return _read_one(options[0], value, where)
    described = {
        option.__name__: option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)
    }
    if described and isinstance(value, Mapping):
        kind = value.get(KIND)
        if not isinstance(kind, str) or kind not in described:
            found = "no `kind`" if kind is None else f"kind {shown(kind)}"
            hint = nearest(kind, described) if isinstance(kind, str) else ""
            raise ValueError(f"{where}: {found}; expected one of {', '.join(described)}.{hint}")
        return _read_one(described[kind], {key: item for key, item in value.items() if key != KIND}, where)
    for option in options:
        if isinstance(option, type) and type(value) is option:
            return value
    raise ValueError(f"{where}: found {_found(value, declared)}, expected {_name(declared)}")


def _read_one(declared: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(declared) and isinstance(declared, type):
        return _read_dataclass(declared, value, where)
    origin = get_origin(declared)
    if origin is Literal:
        if declared == AlignCorners and isinstance(value, bool):
            return align_corners_in_words(value)
        if any(type(value) is type(known) and value == known for known in get_args(declared)):
            return value
    elif origin is tuple:
        if isinstance(value, Sequence) and not isinstance(value, str):
            items = get_args(declared)
            if len(items) == 2 and items[1] is Ellipsis:
                return tuple(_read(items[0], item, f"{where}.{index}") for index, item in enumerate(value))
            if len(items) == len(value):
                pairs = enumerate(zip(items, value, strict=True))
                return tuple(_read(kind, item, f"{where}.{index}") for index, (kind, item) in pairs)
    elif declared is float:
        number = _float(value)
        if number is not None:
            return number
    elif declared is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, declared):
        return value
    raise ValueError(f"{where}: found {_found(value, declared)}, expected {_name(declared)}")


def _found(value: Any, declared: Any) -> str:
    if isinstance(value, bool) and str in _options(declared):
        return f"{value} (YAML reads yes, no, on and off as true and false: put text in quotes)"
    return shown(value)


def _float(value: Any) -> float | None:
    # YAML 1.1 reads 1e-3 (no dot) as text
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _read_dataclass(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise ValueError(f"{where or cls.__name__}: found {shown(data)}, expected the fields of {cls.__name__}")
    hints = _hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    prefix = f"{where}." if where else ""
    for key in data:
        if key not in fields:
            known = f"{nearest(key if isinstance(key, str) else '', fields)} Known here: {', '.join(fields)}"
            raise ValueError(f"{prefix}{cut(str(key))}: unknown key.{known}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _read(hints[name], data[name], prefix + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{name}: missing, expected {_name(hints[name])}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where or cls.__name__}: {error}") from None


def _name(declared: Any) -> str:
    origin = get_origin(declared)
    if origin is Literal:
        return "one of " + ", ".join(repr(item) for item in get_args(declared))
    if origin in (Union, types.UnionType):
        return " or ".join(_name(option) for option in get_args(declared))
    if declared is type(None):
        return "null"
    if origin is tuple:
        items = get_args(declared)
        if len(items) == 2 and items[1] is Ellipsis:
            return f"a list of {_name(items[0])}"
        return f"a list of {len(items)} values ({', '.join(_name(item) for item in items)})"
    return getattr(declared, "__name__", str(declared))
