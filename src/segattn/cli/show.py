"""segattn show: a recipe in words and as YAML."""

from __future__ import annotations

import argparse
from typing import Any

from segattn.cli.options import add_json_option, find_recipe


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
    add_json_option(parser)
    parser.set_defaults(run=_show, takes_overrides=True)


def _show(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.cli.screen import print_json
    from segattn.recipes.serialize import to_dict, to_yaml

    recipe = find_recipe(arguments.model, overrides)
    if arguments.json:
        print_json(to_dict(recipe))
        return

    from segattn.reports.recipe import describe

    print("\n".join(f"# {line}".rstrip() for line in describe(recipe)))
    print(to_yaml(recipe), end="")
