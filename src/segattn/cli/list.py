"""segattn list: the recipes as a table."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segattn.recipes.schema import Checkpoint, Claim, Recipe


_WIDE = 140
"""From so many columns on each recipe with one claim takes one line."""


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "list",
        help="the recipes with their size, cost and scores",
        description="The recipes: parameters (all, also those that only training uses), multiply-accumulates (MACs)\n"
        "for one image of the given height x width, in brackets as published (some papers count more than MACs),\n"
        "mIoU in percent, as published and as we measured it, and whether\n"
        "trained weights ship with segattn or were released, with the licence of what released them.\n"
        "`segattn show RECIPE` has their address, the licence in full, and a command for each score.",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="show only recipes whose name contains every WORD")
    parser.add_argument("--method", metavar="PAPER", help="only recipes of one paper, such as attanet or van")
    parser.add_argument("--dataset", metavar="NAME", help="only recipes for this data set")
    parser.add_argument(
        "--max-parameters", type=float, metavar="MILLIONS", help="only recipes with at most so many million parameters"
    )
    parser.set_defaults(run=_list, takes_overrides=False)


def _list(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from rich import box
    from rich.table import Table

    from segattn.cli.screen import print_table, table_width
    from segattn.recipes.costs import COSTS
    from segattn.recipes.published import PublishedCost

    wide = table_width() >= _WIDE
    comma = ", " if wide else ",\n"
    table = Table(title=None, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("recipe", no_wrap=True)
    table.add_column("params", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    table.add_column("claimed mIoU")
    table.add_column("ours", max_width=None if wide else 14)
    table.add_column(f"weights{comma}licence", no_wrap=True)
    for recipe in _chosen(arguments):
        cost, published = COSTS[recipe.name], recipe.published_cost or PublishedCost()
        table.add_row(
            recipe.name,
            f"{cost.parameters / 1e6:.1f} M{_published(published.parameters, wide)}",
            f"{cost.macs / 1e9:.1f} G{comma}{cost.size[0]}x{cost.size[1]}{_published(published.macs, wide)}",
            "\n".join(map(_score, recipe.claims)),
            "\n".join(map(_score, recipe.results)),
            _weights(recipe.checkpoint).replace(", ", comma),
        )
    print_table(table)


def _chosen(arguments: argparse.Namespace) -> list[Recipe]:
    """The recipes that pass all filters. Raises ValueError if none does."""
    from segattn.contracts import nearest
    from segattn.recipes.catalog import PAPERS, RECIPES
    from segattn.recipes.costs import COSTS

    known = {recipe.data.dataset: None for recipe in RECIPES.values()}
    if arguments.dataset is not None and arguments.dataset not in known:
        raise ValueError(
            f"no recipe is for the data set {arguments.dataset!r}.{nearest(arguments.dataset, known)} "
            f"Recipes are for {', '.join(known)}"
        )
    most, method = arguments.max_parameters, arguments.method
    if method is not None and method not in PAPERS:
        raise ValueError(
            f"--method {method!r}: no such paper.{nearest(method, PAPERS)} Recipes are of {', '.join(PAPERS)}"
        )
    chosen = [
        recipe
        for name, recipe in RECIPES.items()
        if all(word in name for word in arguments.words)
        and (method is None or recipe.paper == PAPERS[method])
        and arguments.dataset in (None, recipe.data.dataset)
        and (most is None or COSTS[name].parameters <= most * 1e6)
    ]
    if not chosen:
        given = [f"a name with {word!r}" for word in arguments.words]
        given += [f"the method {method}"] if method else []
        given += [f"the data set {arguments.dataset}"] if arguments.dataset else []
        given += [f"at most {most:g} million parameters"] if most is not None else []
        raise ValueError(f"no recipe has {' and '.join(given)}; `segattn list` shows all")
    return chosen


def _weights(checkpoint: Checkpoint) -> str:
    if checkpoint.availability == "none":
        return "none"
    licence = checkpoint.licence.partition(" (")[0]
    return f"{checkpoint.availability}, {licence}"


def _published(figure: float | None, wide: bool) -> str:
    if figure is None:
        return ""
    return (" " if wide else "\n") + f"({figure:g})"


def _score(claim: Claim) -> str:
    other = ", other settings" if claim.other_settings else ""
    return f"{claim.value:.2f}".removesuffix("0") + f" {claim.split}: {claim.protocol}{other}"
