"""segattn compare: several networks under equal conditions."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from segattn.cli.options import add_json_option, add_map_option

_OWN_TO_A_NETWORK = ("network", "pretrained", "paper", "claims", "results", "published_cost", "deviations")


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register this module's command."""
    parser = commands.add_parser(
        "compare",
        help="train and score several networks under the same conditions",
        description="Train several recipes' networks under one data set, augmentation, loss, optimiser, schedule and\n"
        "protocol, and print them side by side: parameters, multiply-accumulates, time, memory, scores.\n"
        "The conditions are those of the first recipe, or of --like; only the network is each recipe's own, with\n"
        "its auxiliary outputs. What can't be held fixed is said below the table.\n\n"
        "OUTPUT/NAME has each run, OUTPUT/comparison.json, .md and .html the table. Stopped, the same command\n"
        "continues; Ctrl-C and SIGTERM leave with exit code 3.\n\n"
        "With --score-only, models that are already trained are scored on one data set by one protocol.\n"
        "Any field of the conditions can be set: --data.root DIR, --training.batch_size 4, ...",
    )
    parser.add_argument(
        "names", nargs="+", metavar="RECIPE", help="recipes' names or files; trained models with --score-only"
    )
    parser.add_argument("--like", metavar="RECIPE", help="whose conditions to use (default: the first's)")
    parser.add_argument("--steps", type=int, metavar="N", help="train for N steps, the warm-up in proportion")
    parser.add_argument("--score-only", action="store_true", help="the names are .safetensors files of trained models")
    add_map_option(parser, "with --score-only: ")
    parser.add_argument("--split", metavar="NAME", help="the split to score (default: the conditions' data.val_split)")
    parser.add_argument("--protocol", metavar="NAME", help="a named protocol instead of the conditions' own")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/compare"), metavar="DIR", help="default: runs/compare"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument("--fresh", action="store_true", help="begin every training anew")
    parser.add_argument(
        "--allow-absent-classes",
        action="store_true",
        help="train on your own data although the training masks have not one pixel of some class",
    )
    add_json_option(parser)
    parser.set_defaults(run=_compare, takes_overrides=True)


def _compare(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    for key in overrides:
        if key.split(".")[0] in _OWN_TO_A_NETWORK:
            raise ValueError(
                f"--{key}: networks are what is compared; edit what `segattn show RECIPE` prints, and name that file"
            )
    _check_names(arguments)

    from segattn.cli.screen import print_json, print_table
    from segattn.measure.compare import Stopped
    from segattn.reports.comparison_page import write_page

    try:
        found = _scored(arguments, overrides) if arguments.score_only else _trained(arguments, overrides)
    except Stopped:
        sys.exit(3)
    files = (*found.write(arguments.output), write_page(found, arguments.output))
    if arguments.json:
        print_json({**json.loads(found.to_json()), "files": [str(file) for file in files]})
        return
    print_table(found.table())
    for line in (*found.remarks(), *files):
        print(line)


def _check_names(arguments: argparse.Namespace) -> None:
    for name in arguments.names:
        is_model = name.endswith(".safetensors")
        if arguments.score_only and not is_model:
            raise ValueError(f"{name}: --score-only takes .safetensors files of trained models")
        if is_model and not arguments.score_only:
            raise ValueError(f"{name}: is a trained model; add --score-only, or name recipes to train")
    if arguments.score_only and (arguments.steps is not None or arguments.fresh or arguments.allow_absent_classes):
        raise ValueError(
            "--steps and --fresh are for training: they mean nothing with --score-only, nor does --allow-absent-classes"
        )
    if arguments.map_classes and not arguments.score_only:
        raise ValueError(
            "--map-classes is for --score-only: networks that are trained here have the data set's classes"
        )


def _trained(arguments: argparse.Namespace, overrides: dict[str, str]) -> Any:
    from segattn.cli.options import find_recipe
    from segattn.measure.compare import compare_recipes
    from segattn.measure.controlled import with_steps

    recipes = [find_recipe(name, {}) for name in arguments.names]
    base = _adjusted(find_recipe(arguments.like or arguments.names[0], overrides), arguments)
    if arguments.steps is not None:
        base = with_steps(base, arguments.steps)
    return compare_recipes(
        recipes,
        base,
        arguments.output,
        split=arguments.split,
        device=arguments.device,
        resume=not arguments.fresh,
        allow_absent_classes=arguments.allow_absent_classes,
    )


def _scored(arguments: argparse.Namespace, overrides: dict[str, str]) -> Any:
    from segattn.api import load_model
    from segattn.cli.options import find_recipe
    from segattn.measure.compare import compare_models

    files = [Path(name) for name in arguments.names]
    base = find_recipe(arguments.like, overrides) if arguments.like else load_model(files[0], overrides)[0]
    base = _adjusted(base, arguments)
    return compare_models(
        files,
        base,
        arguments.output,
        split=arguments.split,
        device=arguments.device,
        classes_by_name=arguments.map_classes,
    )


def _adjusted(base: Any, arguments: argparse.Namespace) -> Any:
    """The conditions with `--protocol`."""
    from dataclasses import replace

    from segattn.evaluation.protocol import protocol

    return replace(base, protocol=protocol(arguments.protocol)) if arguments.protocol else base
