"""segattn list: the recipes as a table."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from segattn.cli.options import add_json_option

if TYPE_CHECKING:
    from rich.table import Table

    from segattn.recipes.schema import Checkpoint, Claim, Recipe


_WIDE = 140
"""From so many columns on each recipe with one claim takes one line of the long table."""
_GAP = 2
"""Columns between two columns."""


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "list",
        help="the recipes with their size, cost and scores",
        description="The recipes: parameters (all, also those that only training uses), multiply-accumulates (MACs)\n"
        "for one image, mIoU in percent, as published and as we measured it (the first of several: protocols differ,\n"
        "see --long), and whether trained weights ship with segattn or were released. A terminal that is too narrow\n"
        "gets fewer columns.\n\n"
        "--long adds the image's height x width, in brackets size and cost as published (some papers count more than\n"
        "MACs), every score with its split and protocol, and the licence of what released the weights.\n"
        "`segattn show RECIPE` has their address, the licence in full, and a command for each score.",
        epilog="examples:\n"
        "  segattn list camvid\n"
        "  segattn list --method danet --dataset cityscapes --long\n"
        "  segattn list --json",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="show only recipes whose name contains every WORD")
    parser.add_argument("--method", metavar="PAPER", help="only recipes of one paper, such as attanet or van")
    parser.add_argument("--dataset", metavar="NAME", help="only recipes for this data set")
    parser.add_argument(
        "--max-parameters", type=float, metavar="MILLIONS", help="only recipes with at most so many million parameters"
    )
    parser.add_argument("--long", action="store_true", help="every score, cost and licence, in several lines a recipe")
    add_json_option(parser)
    parser.set_defaults(run=_list, takes_overrides=False)


def _list(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.cli.screen import print_json, print_table

    chosen = _chosen(arguments)
    if arguments.json:
        print_json([_everything(recipe) for recipe in chosen])
    else:
        print_table(_long(chosen) if arguments.long else _short(chosen))


def _short(recipes: list[Recipe]) -> Table:
    """One line a recipe. On a terminal that is too narrow for all columns, the ones that matter least are left out."""
    from rich import box
    from rich.table import Table

    from segattn.cli.screen import is_terminal, table_width
    from segattn.recipes.costs import COSTS

    columns: dict[str, list[str]] = {
        "recipe": [recipe.name for recipe in recipes],
        "params": [f"{COSTS[recipe.name].parameters / 1e6:.1f} M" for recipe in recipes],
        "GMACs": [f"{COSTS[recipe.name].macs / 1e9:.1f}" for recipe in recipes],
        "claimed\nmIoU": [_first(recipe.claims) for recipe in recipes],
        "ours\nmIoU": [_first(recipe.results) for recipe in recipes],
        "weights": [recipe.checkpoint.availability for recipe in recipes],
    }
    if is_terminal():
        for expendable in ("GMACs", "ours\nmIoU", "params", "weights", "claimed\nmIoU"):
            widths = [max(map(len, name.splitlines() + cells)) for name, cells in columns.items()]
            if sum(widths) + _GAP * (len(columns) - 1) <= table_width():
                break
            del columns[expendable]
    table = Table(title=None, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in ("recipe", "weights") else "right", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _long(recipes: list[Recipe]) -> Table:
    from rich import box
    from rich.table import Table

    from segattn.cli.screen import is_terminal, table_width
    from segattn.recipes.costs import COSTS
    from segattn.recipes.published import PublishedCost

    wide = not is_terminal() or table_width() >= _WIDE
    comma = ", " if wide else ",\n"
    table = Table(title=None, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("recipe", no_wrap=True)
    table.add_column("params", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    table.add_column("claimed mIoU", overflow="fold")
    table.add_column("ours", max_width=None if wide else 14, overflow="fold")
    table.add_column(f"weights{comma}licence", no_wrap=True)
    for recipe in recipes:
        cost, published = COSTS[recipe.name], recipe.published_cost or PublishedCost()
        table.add_row(
            recipe.name,
            f"{cost.parameters / 1e6:.1f} M{_published(published.parameters, wide)}",
            f"{cost.macs / 1e9:.1f} G{comma}{cost.size[0]}x{cost.size[1]}{_published(published.macs, wide)}",
            "\n".join(map(_score, recipe.claims)),
            "\n".join(map(_score, recipe.results)),
            _weights(recipe.checkpoint).replace(", ", comma),
        )
    return table


def _everything(recipe: Recipe) -> dict[str, Any]:
    """What `--json` says of a recipe: numbers as they are, not rounded."""
    from dataclasses import asdict

    from segattn.recipes.costs import COSTS

    cost = COSTS[recipe.name]
    return {
        "recipe": recipe.name,
        "paper": recipe.paper.name if recipe.paper else None,
        "dataset": recipe.data.dataset,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "size": cost.size,
        "published_cost": asdict(recipe.published_cost) if recipe.published_cost else None,
        "claims": [asdict(claim) for claim in recipe.claims],
        "results": [asdict(claim) for claim in recipe.results],
        "weights": asdict(recipe.checkpoint),
    }


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


def _first(claims: tuple[Claim, ...]) -> str:
    return _value(claims[0]) if claims else ""


def _score(claim: Claim) -> str:
    other = ", other settings" if claim.other_settings else ""
    return f"{_value(claim)} {claim.split}: {claim.protocol}{other}"


def _value(claim: Claim) -> str:
    return f"{claim.value:.2f}".removesuffix("0")
