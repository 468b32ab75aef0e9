from __future__ import annotations

from pathlib import Path

import pytest

from segattn.datasets.catalog import SOURCES
from segattn.datasets.prepare import PLANS
from segattn.recipes.catalog import RECIPES

DOCS = (Path(__file__).parents[2] / "docs/datasets.md").read_text(encoding="utf-8")


def test_every_data_set_of_a_recipe_has_a_source() -> None:
    assert set(SOURCES) == {recipe.data.dataset for recipe in RECIPES.values()}


@pytest.mark.parametrize("name", SOURCES)
def test_layouts_and_preparation_are_those_of_the_documents(name: str) -> None:
    source = SOURCES[name]
    for path in source.layout:
        assert path in DOCS
    assert source.prepare == (name in PLANS)
    assert not source.prepare or f"segattn data prepare {name.removesuffix('60')} --root DIR" in DOCS
