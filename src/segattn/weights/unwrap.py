"""Finding the state dict in what a checkpoint holds, and its names without what training wrapped around the network.

Works on what `torch.load` gives and on the records of an inert pickle alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from segattn.contracts import cut, shown
from segattn.weights.pickle_reader import Built
from segattn.weights.rebuild import other_tensor, rebuilds_tensor

WRAPPERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net_state_dict", "net", "network", "generator"),
    *("params", "params_ema", "module", "weights", "state_dict_ema", "ema_state_dict", "model_ema", "ema", "state"),
)
"""Keys under which checkpoints keep the state dict, in the order in which they are looked for."""

COUNTERS = {"n_averaged": "counts the averaged weights, which only further averaging uses"}
"""Names beside a network's that averaging adds, and why they are not used."""

_TRANSPARENT = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that torch.compile, sharding and activation checkpointing add, at any place."""

_COPIES = ("module", *_TRANSPARENT)
"""Prefixes with which, and without, a file may hold one tensor twice."""

_KNOWN_PREFIXES = (*_COPIES, "model", "net", "network")
_PARTS = ("backbone", "head", "auxiliary_head", "decode_head")
"""Of networks, ours and released: a file that holds one part alone keeps its name."""

_MOST_TENSORS = 1 << 14
_LONGEST_NAME = 500
_MOST_STEPS = 1_000_000
"""Of all walks through one file's content, which may refer to the same parts again and again."""


@dataclass(frozen=True)
class State:
    """The place of the state dict in a file.

    Attributes:
        node: what holds the tensors.
        wrapper: the keys that led to it, joined by dots; None if it lay bare.
        beside: the other entries on the way, by name.
    """

    node: Any
    wrapper: str | None
    beside: dict[str, Any]


class Walk:
    """Walks through content of one file, in a bounded number of steps altogether."""

    def __init__(self) -> None:
        self._steps = 0

    def tensors(self, root: Any) -> Iterator[tuple[str, Any]]:
        """All tensors below a node with their dotted names; modules' inner dictionaries add nothing to the name.

        Raises:
            ValueError: the content is too large or too deep, or a name too long.
        """
        waiting: list[tuple[str, Any]] = [("", root)]
        seen: set[int] = set()
        while waiting:
            name, node = waiting.pop()
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise ValueError(f"its content takes more than {_MOST_STEPS:,} steps to walk through")
            if is_tensor(node):
                yield name or "tensor", node
            elif id(node) not in seen:
                children = _children(node)
                if children:
                    seen.add(id(node))
                if len(name) > 2 * _LONGEST_NAME:
                    raise ValueError(f"a name in it has more than {2 * _LONGEST_NAME} characters: {cut(name)}")
                self._steps += len(children)
                waiting += [
                    (f"{name}.{_text(key)}" if name else _text(key), child) for key, child in reversed(children)
                ]

    def find_state(self, root: Any) -> State:
        """The state dict: bare, or under `WRAPPERS`, also nested, or under the one entry that holds tensors alone."""
        node, beside = root, {}
        path: list[str] = []
        while len(path) < 4 and (held := entries(node)) is not None:
            wrapper = self._wrapper(held)
            if wrapper is None:
                break
            beside.update({cut(str(key)): value for key, value in held.items() if key != wrapper and _is_key(key)})
            path.append(wrapper)
            node = held[wrapper]
        return State(node, cut(".".join(path)) if path else None, beside)

    def _wrapper(self, held: Mapping[Any, Any]) -> str | None:
        known = [key for key in WRAPPERS if not is_tensor(held.get(key)) and entries(held.get(key)) is not None]
        filled = [key for key in known if any(self.tensors(held[key]))]
        if known:
            return (filled or known)[0]
        if any(is_tensor(value) for value in held.values()):
            return None
        flat = [key for key, value in held.items() if isinstance(key, str) and _is_flat(value)]
        return flat[0] if len(flat) == 1 else None


def entries(node: Any) -> Mapping[Any, Any] | None:
    """The items of a mapping-like node by key; None for anything else."""
    if isinstance(node, Mapping):
        return node
    if not isinstance(node, Built) or is_tensor(node):
        return None
    pairs = node.arguments[0] if node.arguments and isinstance(node.arguments[0], list) else []
    early = {
        pair[0]: pair[1] for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2 and _is_key(pair[0])
    }
    return {**early, **node.items}


def is_tensor(node: Any) -> bool:
    """Whether a node is a tensor, or the record of one of any kind."""
    return isinstance(node, Tensor) or rebuilds_tensor(node) or other_tensor(node) is not None


@dataclass(frozen=True)
class Names:
    """The names of a state dict.

    Attributes:
        plain: {name without what was wrapped around the network: name in the file}.
        dropped: {name in the file: why it is not used}.
    """

    plain: dict[str, str]
    dropped: dict[str, str]


def plain_names(names: Iterable[Any], *, any_prefix: bool = True) -> Names:
    """Names without the prefixes that all share, such as `module.`, and without what `torch.compile` puts between.

    Args:
        any_prefix: strip whatever all names share but for the network's own parts, as `backbone.`; otherwise only what
            wrappers are known to add.

    Raises:
        ValueError: a name is no text, or too long to be one, or two are the same then.
    """
    names = list(names)
    if len(names) > _MOST_TENSORS:
        raise ValueError(f"it holds {len(names):,} tensors, more than {_MOST_TENSORS:,}")
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise ValueError(
                f"{shown(name)} is no name of a tensor; expected 1 to {_LONGEST_NAME} printable characters"
            )
    _refuse_both(names)
    pairs = [(".".join(part for part in name.split(".") if part not in _TRANSPARENT), name) for name in names]
    dropped: dict[str, str] = {}
    while True:
        counters = {name: COUNTERS[plain] for plain, name in pairs if plain in COUNTERS}
        if len(counters) < len(pairs):
            dropped |= counters
            pairs = [(plain, name) for plain, name in pairs if name not in counters]
        first = {plain.partition(".")[0] if "." in plain else None for plain, _ in pairs}
        prefix = first.pop() if len(first) == 1 else None
        if prefix is None or prefix in _PARTS or not (any_prefix or prefix in _KNOWN_PREFIXES):
            break
        pairs = [(plain.partition(".")[2], name) for plain, name in pairs]
    plain_to_name: dict[str, str] = {}
    for plain, name in pairs:
        other = plain_to_name.setdefault(plain, name)
        if other != name:
            raise ValueError(f"it holds both {other} and {name}, and which of the two counts can't be known")
    return Names(plain_to_name, dropped)


def _refuse_both(names: list[str]) -> None:
    known = set(names)
    for name in names:
        parts = name.split(".")
        while len(parts) > 1 and parts[0] in _COPIES:
            parts = parts[1:]
            bare = ".".join(parts)
            if bare in known:
                raise ValueError(f"it holds both {bare} and {name}, and which of the two counts can't be known")


def _children(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, (list, tuple)):
        return list(enumerate(node))
    held = entries(node)
    if held is None:
        return []
    children = list(held.items())
    if isinstance(node, Built) and isinstance(node.state, dict):
        for key, value in node.state.items():
            hidden = key in ("_parameters", "_buffers", "_modules") and entries(value) is not None
            children += list((entries(value) or {}).items()) if hidden else [(key, value)]
    return children


def _is_key(value: Any) -> bool:
    return isinstance(value, (str, int))


def _is_flat(value: Any) -> bool:
    held = entries(value)
    return bool(held) and all(isinstance(key, str) and is_tensor(one) for key, one in (held or {}).items())


def _text(key: Any) -> str:
    text = key if isinstance(key, str) else repr(key)
    return text if len(text) <= 2 * _LONGEST_NAME else cut(text)
