"""What a checkpoint of ours says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from segattn import __version__
from segattn.contracts import Classes
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import to_dict


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
