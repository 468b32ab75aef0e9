"""The tensors of a PyTorch file that also holds other objects, without executing anything that the file says.

Tensors are known by the names of the functions that would rebuild them and are made here from the raw bytes; everything
else in the file stays inert.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from segattn.contracts import cut
from segattn.weights.archive import Archive, kind_of, opened
from segattn.weights.pickle_reader import Built
from segattn.weights.rebuild import Tensors
from segattn.weights.unwrap import Walk, entries, plain_names


@dataclass(frozen=True)
class Extract:
    """The result of `extract`.

    Attributes:
        tensors: the state dict, by name; each has its own memory.
        left_out: {entry of the file: what it is} of all that lies beside the state dict.
        foreign: names of other objects that an ordinary reader would have imported and run.
    """

    tensors: dict[str, Tensor]
    left_out: dict[str, str]
    foreign: tuple[str, ...]


def extract(path: str | Path) -> Extract:
    """The state dict of a PyTorch file, and in words what else it holds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a PyTorch file, a damaged one, or one without tensors.
    """
    path = Path(path)
    kind = kind_of(path)
    try:
        with opened(path, kind) as archive:
            return _extract(archive)
    except ValueError as error:
        raise ValueError(f"{path}: no tensors can be taken from this file: {error}") from None


def _extract(archive: Archive) -> Extract:
    walk = Walk()
    state = walk.find_state(archive.root)
    found: dict[str, Any] = {}
    for name, node in walk.tensors(state.node):
        if name in found:
            raise ValueError(f"it holds two tensors of the name {cut(name)}")
        found[name] = node
    if not found:
        raise ValueError("it holds none")
    names = plain_names(found, any_prefix=False)
    make = Tensors(archive.read, archive.most_bytes)
    tensors = {plain: make.make(found[name]) for plain, name in names.plain.items()}
    beside = state.beside
    if state.wrapper is None:
        held = entries(state.node) or {}
        beside = {cut(str(key)): value for key, value in held.items() if not any(walk.tensors(value))}
    left_out = {key: _describe(walk, value) for key, value in beside.items()}
    return Extract(tensors, left_out | names.dropped, archive.foreign)


def _describe(walk: Walk, node: Any) -> str:
    count = sum(1 for _ in walk.tensors(node))
    kind = cut(node.kind) if isinstance(node, Built) else type(node).__name__
    return f"{kind} with {count} tensors" if count else kind
