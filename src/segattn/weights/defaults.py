"""The weights that ship inside the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from segattn.recipes.catalog import RECIPES

SHIPPED = {
    name: row.checkpoint.file
    for name, row in RECIPES.items()
    if row.checkpoint.shipped and row.checkpoint.file is not None
}
"""The file in this folder with a recipe's trained weights."""


def default_weights(recipe_name: str) -> Path:
    """The file of a recipe's shipped weights.

    Raises:
        ValueError: none ship for this recipe.
    """
    if recipe_name not in SHIPPED:
        raise ValueError(
            f"no weights ship with the package for {recipe_name!r}, only for {', '.join(SHIPPED)}; "
            "give a file of weights instead"
        )
    return Path(str(files("segattn.weights") / SHIPPED[recipe_name]))
