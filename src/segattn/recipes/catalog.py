"""Every recipe by name."""

from __future__ import annotations

from segattn.contracts import nearest, shown
from segattn.recipes import acfnet, agent, attanet, attanet_distilled, danet, danet_mmseg, van, van_newer
from segattn.recipes.schema import Paper, Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *attanet.RECIPES,
        *attanet_distilled.RECIPES,
        *danet.RECIPES,
        *danet_mmseg.RECIPES,
        *acfnet.RECIPES,
        *van.RECIPES,
        *van_newer.RECIPES,
        *agent.RECIPES,
    )
}

PAPERS: dict[str, Paper] = {recipe.paper.name: recipe.paper for recipe in RECIPES.values() if recipe.paper is not None}
"""Every paper by its short name, in the order of the recipes."""


def list_recipes() -> list[str]:
    """The names of all recipes, paper by paper."""
    return list(RECIPES)


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: there is none; the nearest names are offered.
    """
    if name not in RECIPES:
        raise ValueError(
            f"unknown recipe {shown(name)}.{nearest(name, RECIPES)} `segattn list` shows all {len(RECIPES)}"
        )
    return RECIPES[name]
