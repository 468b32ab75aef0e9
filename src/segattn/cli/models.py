"""list, show, evaluate, predict."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from segattn.contracts import Sample
    from segattn.models.segmenter import Segmenter
    from segattn.recipes.schema import Recipe

_MODEL_HELP = """\
MODEL is one of
  a recipe's name           `segattn list` shows them; the weights come from --weights
  a recipe file             YAML, as `segattn show NAME` prints it; the weights come from --weights
  a trained model           a best.safetensors or last.safetensors of `segattn train`: recipe and weights in one

Any field of the recipe can be set: --data.root DIR, --protocol.flip true, ...
"""


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register this module's commands."""
    parser = commands.add_parser("list", help="the recipes, one a line", description="The recipes, one a line.")
    parser.add_argument("words", nargs="*", metavar="WORD", help="show only recipes whose name contains every WORD")
    parser.set_defaults(run=_list, takes_overrides=False)

    parser = commands.add_parser(
        "show",
        help="a recipe as YAML",
        description="A recipe as YAML, to read, or to edit and give to `segattn train`. What the network costs and\n"
        "what was claimed for it stand above as comments.",
    )
    parser.add_argument("model", metavar="RECIPE", help="a recipe's name or file")
    parser.set_defaults(run=_show, takes_overrides=True)

    parser = commands.add_parser(
        "evaluate",
        help="score a model on a data set",
        description="Score a model on a data set: table, JSON and an HTML report.\n\n" + _MODEL_HELP,
    )
    _add_model_options(parser, "MODEL")
    parser.add_argument("--protocol", metavar="NAME", help="a named protocol instead of the recipe's")
    parser.add_argument("--split", metavar="NAME", help="the split to score (default: the recipe's data.val_split)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write scores.json and report.html there")
    parser.add_argument("--submission", type=Path, metavar="DIR", help="write label-id PNGs for the data set's server")
    parser.set_defaults(run=_evaluate, takes_overrides=True)

    parser = commands.add_parser(
        "predict",
        help="label pictures",
        description="Label pictures: for each, NAME_labels.png (class ids), NAME_overlay.png (with a legend), and the\n"
        "share of each class on the terminal.\n\n" + _MODEL_HELP,
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="pictures, folders of pictures, or quoted globs")
    _add_model_options(parser, "--model", default="attanet_light_camvid")
    parser.add_argument("--protocol", metavar="NAME", help="a named protocol instead of one plain pass")
    parser.add_argument("--output", type=Path, default=Path("predictions"), metavar="DIR", help="default: predictions")
    parser.set_defaults(run=_predict, takes_overrides=True)


def _add_model_options(parser: argparse.ArgumentParser, name: str, default: str | None = None) -> None:
    if name.startswith("--"):
        parser.add_argument(name, dest="model", default=default, metavar="MODEL", help=f"default: {default}")
    else:
        parser.add_argument("model", metavar=name)
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help='a checkpoint, ours or released; "default" for the ones that ship with segattn',
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")


def _list(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from rich.table import Table

    from segattn.cli.screen import print_table
    from segattn.recipes.catalog import list_recipes, recipe

    table = Table("recipe", "paper", "data set", "claimed mIoU", "ours", title=None)
    names = [name for name in list_recipes() if all(word in name for word in arguments.words)]
    if not names:
        raise ValueError(f"no recipe's name contains {' and '.join(arguments.words)}; `segattn list` shows all")
    for name in names:
        row = recipe(name)
        claimed = ", ".join(f"{claim.value:g} ({claim.split})" for claim in row.claims)
        measured = ", ".join(f"{result.value:.2f} ({result.split})" for result in row.results)
        table.add_row(name, row.paper.venue if row.paper else "", row.data.dataset, claimed, measured)
    print_table(table)


def _show(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.models.describe import describe
    from segattn.recipes.serialize import to_yaml

    recipe = find_recipe(arguments.model, overrides)
    print("\n".join(f"# {line}".rstrip() for line in describe(recipe)))
    print(to_yaml(recipe), end="")


def _evaluate(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.api import open_split
    from segattn.cli.screen import print_table
    from segattn.deploy.predictor import pick_device
    from segattn.evaluation.evaluate import evaluate
    from segattn.evaluation.protocol import protocol as find_protocol
    from segattn.evaluation.report import Report
    from segattn.evaluation.submission import submission_writer

    recipe, model = open_model(arguments.model, arguments.weights, overrides)
    protocol = find_protocol(arguments.protocol) if arguments.protocol else recipe.protocol
    split = arguments.split or recipe.data.val_split
    dataset = open_split(recipe, split)
    report = Report(arguments.output, dataset.classes) if arguments.output else None
    takers: list[Callable[[Sample, NDArray[np.uint8]], None]] = [report.add] if report else []
    if arguments.submission:
        takers.append(submission_writer(arguments.submission, dataset.classes))

    def hand_on(sample: Sample, labels: NDArray[np.uint8]) -> None:
        for take in takers:
            take(sample, labels)

    scores = evaluate(model.to(pick_device(arguments.device)), dataset, protocol, progress=True, on_prediction=hand_on)
    print_table(scores.table())
    print(scores.summary())
    if arguments.submission:
        print(f"label ids for the server: {arguments.submission}")
    if report:
        print(report.write(scores, title=f"{recipe.name} on {recipe.data.dataset} {split}", protocol=protocol))


def _predict(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.deploy.predictor import find_pictures, pick_device, predict_many
    from segattn.evaluation.protocol import protocol as find_protocol

    pictures = find_pictures(arguments.sources)
    weights = arguments.weights
    if weights is None and arguments.model == "attanet_light_camvid":
        weights = "default"
    _, model = open_model(arguments.model, weights, overrides)
    protocol = find_protocol(arguments.protocol or "whole")
    for prediction in predict_many(model.to(pick_device(arguments.device)), pictures, protocol):
        files = prediction.save(arguments.output)
        shares = ", ".join(f"{name} {100 * share:.1f}%" for name, share in prediction.shares().items())
        print(f"{prediction.name}: {shares}")
        print(f"  {files.labels}  {files.overlay}")


def find_recipe(model: str, overrides: dict[str, str]) -> Recipe:
    """The recipe of a name or of a YAML file, with fields overridden."""
    from segattn.recipes.catalog import recipe as by_name
    from segattn.recipes.schema import Recipe
    from segattn.recipes.serialize import from_yaml, override

    recipe = from_yaml(Recipe, model) if model.endswith((".yaml", ".yml")) else by_name(model)
    return override(recipe, overrides) if overrides else recipe


def open_model(model: str, weights: str | None, overrides: dict[str, str]) -> tuple[Recipe, Segmenter]:
    """A recipe with its network and weights, from what the command line names."""
    from segattn.api import create_model, load_model

    if model.endswith(".safetensors"):
        if weights is not None:
            raise ValueError(f"--weights {weights}: {model} already holds the weights; name a recipe to use others")
        return load_model(model, overrides)
    recipe = find_recipe(model, overrides)
    if weights is None:
        raise ValueError(
            f"{model}: no weights given, and random ones give random labels; "
            "add --weights FILE, or name a best.safetensors that `segattn train` wrote"
        )
    return recipe, create_model(recipe, weights=weights)
