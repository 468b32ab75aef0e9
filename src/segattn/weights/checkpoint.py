"""The checkpoint of a trained model: one safetensors file that also says what it is.

The header carries a JSON description (recipe, classes, palette, normalisation, score, step, version); the same JSON
lies beside the file for people to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from segattn.contracts import cut, shown
from segattn.files import atomic_path, require_regular
from segattn.weights.kinds import kind_of

HEADER_KEY = "segattn"


def save_model(path: str | Path, model: nn.Module, description: Mapping[str, Any]) -> None:
    """Write the model's state dict and its description, whole or not at all.

    Args:
        path: ends in `.safetensors`; the description is also written to the same name with `.json`.
        description: what JSON can hold.
    """
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    text = json.dumps(description, ensure_ascii=False)
    with atomic_path(path) as temporary:
        # not save_file, which makes files that only their owner may read
        temporary.write_bytes(save(tensors, metadata={HEADER_KEY: text, "format": "pt"}))
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(description, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_model(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict (on the CPU) and the description of a file of ours.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no safetensors file, carries no description of ours, or a damaged one.
    """
    path = Path(path)
    description = require_description(path)
    return read_tensors(path), description


def require_description(path: Path) -> dict[str, Any]:
    """The description in a file of ours, which must carry one; errors as `read_model`."""
    require_regular(path)
    if kind_of(path) != "safetensors":
        raise ValueError(
            f"{path}: is a PyTorch file, which doesn't say what network it is of; name a recipe and give the file as "
            "its weights, or make it one of ours with `segattn weights convert`"
        )
    description = read_description(path)
    if description is None:
        raise ValueError(f"{path}: holds tensors but no description of ours; it was written by something else")
    return description


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Raises:
        ValueError: it is not whole.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping


def read_description(path: str | Path) -> dict[str, Any] | None:
    """The description in a file of ours; None where a file carries none. Tensors are not read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is nothing that weights are kept in, or its description can't be one of ours.
    """
    path = Path(path)
    if kind_of(path) != "safetensors":
        return None
    with _opened(path) as file:
        text = (file.metadata() or {}).get(HEADER_KEY)
    try:
        return None if text is None else parse_description(text)
    except ValueError as error:
        raise ValueError(f"{path}: its description is not one of ours: {error}") from None


def parse_description(text: str) -> dict[str, Any]:
    """A description from its JSON: a mapping whose parts are mappings and whose numbers are finite.

    Raises:
        ValueError: it is something else, or too large.
    """
    if len(text) > _LONGEST_DESCRIPTION:
        raise ValueError(f"it has {len(text):,} characters, more than {_LONGEST_DESCRIPTION:,}")
    try:
        content = json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("its lists are nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"it is {shown(content)}, expected a mapping")
    for key in ("recipe", "classes"):
        if key in content and not isinstance(content[key], dict):
            raise ValueError(f"{key} is {shown(content[key])}, expected a mapping")
    scores = content.get("scores")
    if scores is not None and (
        not isinstance(scores, dict)
        or not all(value is None or type(value) in (int, float) for value in scores.values())
    ):
        raise ValueError(f"scores is {shown(scores)}, expected numbers by name")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"it holds {cut(text)}, expected finite numbers")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("it holds one key twice")
    return content


_LONGEST_DESCRIPTION = 4 << 20


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, RuntimeError, OverflowError, TypeError, AttributeError) as error:
        # torch raises the others for sizes and types that it doesn't have
        raise ValueError(f"{path}: not a whole safetensors file ({cut(str(error))})") from None
