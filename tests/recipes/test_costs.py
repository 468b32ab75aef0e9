"""The checked-in table of parameters and multiply-accumulates is what counting gives."""

from __future__ import annotations

import pytest
import torch

from segattn.measure.complexity import complexity
from segattn.recipes.catalog import RECIPES
from segattn.recipes.costs import COSTS, Cost

QUICK = {"attanet_light_cityscapes", "attanet_r18_camvid", "light_ham_d256_van_tiny_ade20k", "danet_r50_cityscapes"}
HOW = "run python tools/count_costs.py"


def test_every_recipe_is_in_the_table_in_order() -> None:
    assert list(COSTS) == list(RECIPES), HOW


def test_sizes_are_the_recipes() -> None:
    assert {name: cost.size for name, cost in COSTS.items()} == {
        name: recipe.data.count_at for name, recipe in RECIPES.items()
    }, HOW


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]
)
def test_counting_gives_the_table(name: str) -> None:
    recipe = RECIPES[name]
    with torch.device("meta"):
        model = recipe.network.build(recipe.data.num_classes)
    counted = complexity(model, recipe.data.count_at)
    assert COSTS[name] == Cost(counted.parameters, counted.macs, counted.size), HOW
