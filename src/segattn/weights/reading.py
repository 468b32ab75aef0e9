"""Tensors from files of weights of any kind, without running anything that is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from segattn.contracts import cut
from segattn.weights.archive import kind_of, opened
from segattn.weights.checkpoint import model_file, read_tensors
from segattn.weights.pickle_reader import Built
from segattn.weights.rebuild import Tensors, other_tensor
from segattn.weights.unwrap import WRAPPERS, Walk, entries, is_tensor, plain_names


@dataclass(frozen=True)
class Checkpoint:
    """A state dict and where it comes from.

    Attributes:
        name: the file, or "state dict".
        tensors: by name, without what all names share (`module.`, `model.`) and what compilation puts into them.
        wrapper: the entry that held them, None if they lay bare.
        beside: the other entries (epoch, optimizer, meta, ...), which nothing here reads.
        dropped: {name: why it is no part of the network} of counters that averaging adds.
    """

    name: str
    tensors: dict[str, Tensor]
    wrapper: str | None
    beside: tuple[str, ...]
    dropped: dict[str, str]


class ForeignObjectsError(ValueError):
    """A file that holds other objects than tensors, text and numbers."""


def open_checkpoint(source: str | Path | Mapping[str, Any]) -> Checkpoint:
    """The state dict of a file, of a run's folder (`model_file`), or of what `torch.load` gave.

    Raises:
        FileNotFoundError: no such file.
        ForeignObjectsError: the file holds other objects than tensors, text and numbers.
        ValueError: not a checkpoint, or a damaged one.
    """
    if isinstance(source, Mapping):
        return _unwrap(source, "state dict", None)
    path = model_file(source)
    kind = kind_of(path)
    if kind == "safetensors":
        return _unwrap(read_tensors(path), str(path), None)
    try:
        with opened(path, kind) as archive:
            if archive.foreign:
                raise ForeignObjectsError(_explain_foreign(path, archive.foreign))
            return _unwrap(archive.root, str(path), Tensors(archive.read, archive.most_bytes))
    except (ForeignObjectsError, _NoStateError):
        raise
    except ValueError as error:
        raise ValueError(f"{path}: not readable as a checkpoint of plain tensors: {error}") from None


class _NoStateError(ValueError):
    """A readable file that holds no state dict."""


def _unwrap(content: Any, name: str, make: Tensors | None) -> Checkpoint:
    """The state dict in what a file held, bare or under one of `WRAPPERS`."""
    state = Walk().find_state(content)
    held = entries(state.node)
    if held is None:
        kind = state.node.kind if isinstance(state.node, Built) else type(state.node).__name__
        raise _NoStateError(f"{name}: holds a {cut(kind)}, expected a mapping of tensors")
    other = next((key for key, value in held.items() if other_tensor(value) is not None), None)
    if other is not None:
        what = f"{cut(str(other))} is a tensor that is {other_tensor(held[other])}"
        raise _NoStateError(f"{name}: {what}; expected dense tensors of real numbers")
    wrong = next((key for key, value in held.items() if not is_tensor(value)), None)
    if wrong is not None or not held:
        what = f"{cut(repr(wrong))} is {_kind(held[wrong])}" if held else "it is empty"
        places = f"{', '.join(WRAPPERS[:4])} or the like"
        raise _NoStateError(f"{name}: no state dict found: {what}; expected tensors by name, bare or under {places}")
    try:
        names = plain_names(held)
        values = {plain: held[theirs] for plain, theirs in names.plain.items()}
        tensors = {key: value if make is None else make.make(value) for key, value in values.items()}
    except ValueError as error:
        if make is not None:
            raise
        raise ValueError(f"{name}: {error}") from None
    return Checkpoint(name, tensors, state.wrapper, tuple(state.beside), names.dropped)


def _kind(value: Any) -> str:
    return f"a {cut(value.kind) if isinstance(value, Built) else type(value).__name__}"


def _explain_foreign(path: Path, foreign: tuple[str, ...]) -> str:
    kinds = ", ".join(cut(name) for name in foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
    return (
        f"{path}: not readable as a checkpoint of plain tensors: beside tensors it holds {kinds}, and reading such "
        f"objects would run code from the file, which is refused. `segattn weights extract {path} OUT.safetensors` "
        "takes out the tensors and runs nothing"
    )
