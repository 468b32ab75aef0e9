"""Counts recipes' networks anew and writes src/segattn/recipes/costs.py. All of them take some minutes.

python tools/count_costs.py [RECIPE ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from segattn.measure.complexity import complexity
from segattn.recipes.catalog import RECIPES
from segattn.recipes.costs import COSTS, Cost
from segattn.recipes.schema import Recipe

ROOT = Path(__file__).parents[1]
FILE = ROOT / "src/segattn/recipes/costs.py"
START = "COSTS: dict[str, Cost] = {\n"


def count(recipe: Recipe) -> Cost:
    """A recipe's parameters and multiply-accumulates, without computing anything."""
    with torch.device("meta"):
        model = recipe.network.build(recipe.data.num_classes)
    counted = complexity(model, recipe.data.count_at)
    return Cost(counted.parameters, counted.macs, counted.size)


def table(costs: dict[str, Cost]) -> str:
    """The dictionary as it stands in the file."""
    rows = [f'    "{name}": Cost({cost.parameters:_}, {cost.macs:_}, {cost.size}),\n' for name, cost in costs.items()]
    return f"{START}{''.join(rows)}}}\n"


def write(costs: dict[str, Cost]) -> None:
    """Put them into the file, in the place of the ones that are there."""
    head = FILE.read_text(encoding="utf-8").partition(START)[0]
    FILE.write_text(head + table(costs), encoding="utf-8")


if __name__ == "__main__":
    counted = {name: COSTS[name] for name in RECIPES if name in COSTS and sys.argv[1:] and name not in sys.argv[1:]}
    for name, recipe in RECIPES.items():
        if name not in counted:
            counted[name] = count(recipe)
            print(name, counted[name], file=sys.stderr, flush=True)
    write({name: counted[name] for name in RECIPES})
