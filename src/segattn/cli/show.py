"""segattn show: a recipe in words and as YAML."""

from __future__ import annotations

import argparse
from typing import Any

from segattn.cli.options import find_recipe


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "show",
        help="a recipe as YAML",
        description="A recipe as YAML, to read, or to edit and give to `segattn train`. What the network costs and\n"
        "what was claimed for it stand above as comments.",
        epilog="examples:\n  segattn show danet_r101_cityscapes\n"
        "  segattn show attanet_light_camvid --schedule.lr 0.005 > mine.yaml",
    )
    parser.add_argument("model", metavar="RECIPE", help="a recipe's name or file")
    parser.set_defaults(run=_show, takes_overrides=True)


def _show(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.recipes.serialize import to_yaml
    from segattn.reports.recipe import describe

    recipe = find_recipe(arguments.model, overrides)
    print("\n".join(f"# {line}".rstrip() for line in describe(recipe)))
    print(to_yaml(recipe), end="")
