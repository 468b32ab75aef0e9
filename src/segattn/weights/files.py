"""Checkpoint files of every kind to named tensors; nothing in a file is ever executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segattn.files import require_regular
from segattn.weights.extract import WRAPPERS, extract


@dataclass(frozen=True)
class Checkpoint:
    """A state dict and where it comes from.

    Attributes:
        name: the file, or "state dict".
        tensors: by name, without the `module.` that data-parallel training puts in front.
        wrapper: the entry that held them, None if they lay bare.
        beside: the other entries (epoch, optimizer, meta, ...), which nothing here reads.
    """

    name: str
    tensors: dict[str, Tensor]
    wrapper: str | None
    beside: tuple[str, ...]


def open_checkpoint(source: str | Path | Mapping[str, Any]) -> Checkpoint:
    """The state dict of a file, or of what `torch.load` gave.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, a damaged one, or one that holds other objects than tensors, text and numbers.
    """
    if isinstance(source, Mapping):
        return unwrap(source, "state dict")
    return unwrap(read_state(Path(source)), str(source))


def read_state(path: Path) -> Mapping[str, Any]:
    """All that a checkpoint file holds, tensors on the CPU.

    Raises:
        FileNotFoundError, ValueError: as `open_checkpoint`.
    """
    require_regular(path, "weights file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path}: not a whole safetensors file ({error})") from None
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several types for truncated, foreign and unsafe files alike
        raise ValueError(f"{path}: not readable as a checkpoint of plain tensors: {_reason(path, error)}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: holds a {type(content).__name__}, expected a mapping of tensors")
    return content


def unwrap(content: Mapping[str, Any], name: str) -> Checkpoint:
    """The state dict in what a file held, bare or under one of `WRAPPERS`.

    Raises:
        ValueError: there is none.
    """
    wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
    beside = tuple(str(key) for key in content if key != wrapper) if wrapper else ()
    inner = content[wrapper] if wrapper else content
    tensors = {str(key).removeprefix("module."): value for key, value in inner.items()}
    wrong = [key for key, value in tensors.items() if not isinstance(value, Tensor)]
    if wrong or not tensors:
        what = f"{wrong[0]!r} is a {type(tensors[wrong[0]]).__name__}" if wrong else "it is empty"
        raise ValueError(
            f"{name}: no state dict found: {what}; expected tensors by name, bare or under {' or '.join(WRAPPERS)}"
        )
    return Checkpoint(name, tensors, wrapper, beside)


def _reason(path: Path, error: Exception) -> str:
    try:
        foreign = extract(path).foreign
    except ValueError:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "Weights only load failed" in first_line:  # torch goes on to recommend running what the file says
            first_line = "it is a pickle of other things"
        return f"{first_line}. A download that was cut off, or not a file that torch.save wrote?"
    kinds = ", ".join(foreign) if foreign else "unknown objects"
    return (
        f"beside tensors it holds {kinds}, and reading such objects would run code from the file, which is refused. "
        f"`segattn weights extract {path} OUT.safetensors` takes out the tensors and runs nothing"
    )


# A score beside the weights is often a NumPy number: plain bytes with a type, which torch doesn't read by itself.
_scalar = np.float64(0).__reduce__()[0]
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
]
