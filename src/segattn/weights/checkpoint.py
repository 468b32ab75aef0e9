"""The checkpoint of a trained model: one safetensors file that also says what it is.

The header carries a JSON description (recipe, classes, palette, normalisation, score, step, version); the same JSON
lies beside the file for people to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from segattn.files import atomic_path

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
        ValueError: it is no safetensors file, or carries no description of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with _opened(path) as (file, description):
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    if description is None:
        raise ValueError(f"{path}: holds tensors but no description of ours; it was written by something else")
    return state, description


def read_description(path: str | Path) -> dict[str, Any] | None:
    """The description in a file of ours; None where a file carries none. Tensors are not read.

    Raises:
        ValueError: it ends in `.safetensors` and is none.
    """
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    with _opened(path) as (_, description):
        return description


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any] | None]]:
    """A safetensors file, and its description where it carries one."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER_KEY)
            yield file, None if text is None else json.loads(text)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from None
