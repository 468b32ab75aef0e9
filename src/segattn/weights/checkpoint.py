"""Our checkpoints: safetensors with their description.

The header carries a JSON description (recipe, classes, palette, normalisation, score, step, version); the same JSON
lies beside the file for people to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from segattn import __version__
from segattn.contracts import Classes, cut
from segattn.files import atomic_path, require_regular
from segattn.models.networks import Network
from segattn.normalization import Normalization
from segattn.recipes.schema import Data, Recipe
from segattn.recipes.serialize import from_dict, to_dict
from segattn.weights.archive import kind_of
from segattn.weights.description import HEADER_KEY, described_recipe, parse_description

MODELS = ("best.safetensors", "last.safetensors")
"""The models in a run's folder, in the order in which they are looked for."""


def model_file(path: str | Path) -> Path:
    """The file of a model: what was named, or, in the folder of a run, its best model, else its last one.

    Raises:
        FileNotFoundError: a folder without a model, saying what is in it.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    for name in MODELS:
        if (path / name).is_file():
            return path / name
    there = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
    raise FileNotFoundError(
        f"{path}: no {' or '.join(MODELS)} there, found {cut(there)}; name the folder of a run that was validated or"
        " saved once, or a file"
    )


def save_model(path: str | Path, model: nn.Module, description: Mapping[str, Any], *, half: bool = False) -> None:
    """Write the model's state dict and its description, whole or not at all.

    Args:
        path: ends in `.safetensors`; the description is also written to the same name with `.json`.
        description: what JSON can hold.
        half: round numbers to float16, which halves the file; they are read as float32 again.

    Raises:
        ValueError: with `half`, a value is too large for float16.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: _halved(name, tensor) for name, tensor in tensors.items()}
    _write(Path(path), tensors, description)


def save_calibrated(source: Path, output: Path, temperature: float, how: Mapping[str, Any]) -> None:
    """Write a file of ours anew with a temperature in its description; its tensors and all else stay as they are.

    Args:
        how: the temperature came about, which JSON can hold: the description's "calibration".

    Raises:
        FileNotFoundError: no such file.
        ValueError: `source` is none of ours, or damaged.
    """
    tensors, description = read_model(source)
    _write(output, tensors, {**description, "temperature": temperature, "calibration": dict(how)})


def _write(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    text = json.dumps(description, ensure_ascii=False)
    with atomic_path(path) as temporary:
        # not save_file, which makes files that only their owner may read
        temporary.write_bytes(save(dict(tensors), metadata={HEADER_KEY: text, "format": "pt"}))
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(description, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    halved = tensor.half()
    if not halved.isfinite().all():
        largest = tensor.abs().max().item()
        raise ValueError(f"{name} holds {largest:g}, too large for half precision, which ends at 65504; do without it")
    return halved


def read_model(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict (on the CPU) and the description of a file of ours.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no safetensors file, carries no description of ours, or a damaged one.
    """
    path = model_file(path)
    description = require_description(path)
    return read_tensors(path), description


def require_description(path: Path) -> dict[str, Any]:
    """The description in a file of ours, which must carry one; errors as `read_model`."""
    path = model_file(path)
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
    """The description in a file of ours, or in a run's folder; None where a file carries none. Tensors are not read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is nothing that weights are kept in, or its description can't be one of ours.
    """
    path = model_file(path)
    if kind_of(path) != "safetensors":
        return None
    with _opened(path) as file:
        text = (file.metadata() or {}).get(HEADER_KEY)
    try:
        return None if text is None else parse_description(text)
    except ValueError as error:
        raise ValueError(f"{path}: its description is not one of ours: {error}") from None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, RuntimeError, OverflowError, TypeError, AttributeError) as error:
        # torch raises the others for sizes and types that it doesn't have
        raise ValueError(f"{path}: not a whole safetensors file ({cut(str(error))})") from None


def describe_model(
    recipe: Recipe,
    classes: Classes,
    *,
    scores: Mapping[str, float | None] | None = None,
    temperature: float = 1.0,
    foreign: str | None = None,
    normalization: Normalization | None = None,
) -> dict[str, Any]:
    """The description of a model of `recipe` for `save_model`.

    Args:
        scores: in percent, e.g. {"miou": 71.2}.
        temperature: of its probabilities, a `Segmenter.temperature`; left out where it is 1.
        foreign: the class of a module that `segattn.wrap` put in, which is then what the weights are of, and not the
            network of the recipe.
        normalization: of the model, where it is not that of the recipe's network.
    """
    return {
        "version": __version__,
        "recipe": to_dict(recipe),
        "classes": {"names": classes.names, "palette": classes.palette, "file_ids": classes.file_ids},
        "normalization": asdict(normalization or recipe.network.normalization),
        "scores": None if scores is None else dict(scores),
        **({} if temperature == 1 else {"temperature": temperature}),
        **({} if foreign is None else {"module": foreign}),
    }


class Described(NamedTuple):
    """What a file of ours says of its weights beside the network; None each where it says nothing of the kind.

    Attributes:
        classes: what its model is for.
        trained_at: as `segattn.recipes.schema.Data.trained_at`.
        temperature: of the model's probabilities; 1 where none was fitted.
    """

    classes: Classes | None = None
    trained_at: tuple[int, int] | None = None
    temperature: float = 1.0


def described(path: str | Path) -> Described:
    """What a file says of its weights: nothing, where it is none of ours.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is nothing that weights are kept in.
    """
    description = read_description(path)
    if description is None:
        return Described()
    try:
        classes = from_dict(Classes, description["classes"])
    except (KeyError, ValueError):
        classes = None
    try:
        trained_at = from_dict(Data, description["recipe"]["data"]).trained_at
    except (KeyError, ValueError):
        trained_at = None
    return Described(classes, trained_at, float(description.get("temperature", 1.0)))


_NO_MATTER = ("drop_path",)
"""Fields of a network's description that play no part in what its weights mean."""


def check_description(path: str | Path, network: Network, classes: Classes | None) -> None:
    """That a file of ours, if it is one, was trained as `network` with these classes.

    Tensors of the same shapes can belong to networks that differ in dilations, normalisation or resizing, and to other
    classes in another order; they would load, and give wrong labels.

    Args:
        classes: None where they are only counted.

    Raises:
        ValueError: naming each field that differs.
    """
    description = read_description(path)
    if description is None:
        return
    try:
        theirs = to_dict(described_recipe(description).network)
        names = from_dict(Classes, description["classes"]).names
    except (KeyError, ValueError):
        return  # of another version: its keys and shapes have to do
    ours = to_dict(network)
    differences = [
        f"network.{key} was {theirs.get(key)!r} and is {ours.get(key)!r} here"
        for key in {**theirs, **ours}
        if key not in _NO_MATTER and theirs.get(key) != ours.get(key)
    ]
    if classes is not None and len(names) == len(classes) and names != classes.names:
        index = next(i for i, (a, b) in enumerate(zip(names, classes.names, strict=True)) if a != b)
        differences.append(f"class {index} was {names[index]!r} and is {classes.names[index]!r} here")
    if differences:
        raise ValueError(
            f"{path}: trained as another network than this recipe's: {'; '.join(differences)}. Name the file alone, "
            "without a recipe (`segattn.load_model(FILE)`), to use it as it was trained"
        )
