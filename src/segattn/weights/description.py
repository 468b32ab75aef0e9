"""What a file of ours says of itself, read from its JSON: of a checkpoint or of an exported file. Without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from segattn.contracts import TEMPERATURE, cut, shown
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict

HEADER_KEY = "segattn"
"""Under which the JSON is in a file's metadata."""

_LONGEST_DESCRIPTION = 4 << 20


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
    temperature = content.get("temperature", 1.0)
    if type(temperature) not in (int, float) or temperature not in TEMPERATURE:
        raise ValueError(f"temperature is {shown(temperature)}, expected {TEMPERATURE.words}")
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
