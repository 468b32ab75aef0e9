"""What a checkpoint of ours says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segattn import __version__
from segattn.contracts import Classes
from segattn.models.networks import Network
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, to_dict
from segattn.weights.checkpoint import read_description


def describe_model(
    recipe: Recipe, classes: Classes, *, scores: Mapping[str, float | None] | None = None
) -> dict[str, Any]:
    """The description of a model of `recipe` for `save_model`; `scores` in percent, e.g. {"miou": 71.2}."""
    return {
        "version": __version__,
        "recipe": to_dict(recipe),
        "classes": {"names": classes.names, "palette": classes.palette, "file_ids": classes.file_ids},
        "normalization": asdict(recipe.network.normalization),
        "scores": None if scores is None else dict(scores),
    }


def described_recipe(description: Mapping[str, Any]) -> Recipe:
    """The recipe that a model says it was trained by.

    Earlier versions trained with a warm-up longer than the run, which recipes to train by refuse. The model stays
    usable: its recipe then has a warm-up as long as the run.

    Raises:
        KeyError: the description holds no recipe.
        ValueError: the recipe is none of this version.
    """
    recipe = description["recipe"]
    try:
        schedule = recipe["schedule"]
        warmup = schedule["warmup"]
        if warmup["iterations"] > schedule["iterations"]:
            cut = {**warmup, "iterations": schedule["iterations"]}
            recipe = {**recipe, "schedule": {**schedule, "warmup": cut}}
    except (KeyError, TypeError):
        pass  # no warm-up, or no recipe, which is said below
    return from_dict(Recipe, recipe)


def described_classes(path: str | Path) -> Classes | None:
    """The classes that a file of ours says its model is for; None if it is no such file, or says nothing of the kind.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is nothing that weights are kept in.
    """
    description = read_description(path)
    if description is None:
        return None
    try:
        return from_dict(Classes, description["classes"])
    except (KeyError, ValueError):
        return None


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
