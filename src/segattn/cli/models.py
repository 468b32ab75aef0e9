"""show, evaluate, predict."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli import listing
from segattn.cli.weights import add_map_option

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from segattn.contracts import Sample
    from segattn.evaluation.protocol import Protocol
    from segattn.models.segmenter import Segmenter
    from segattn.recipes.schema import Recipe

_MODEL_HELP = """\
MODEL is one of
  a recipe's name           `segattn list` shows them; the weights come from --weights
  a recipe file             YAML, as `segattn show NAME` prints it; the weights come from --weights
  a trained model           a best.safetensors or last.safetensors of `segattn train`: recipe and weights in one

Fields of the recipe's data, network and protocol can be set: --data.root DIR, --protocol.flip true, ...
`segattn show RECIPE` prints them all.
"""
_USED = {"data", "network", "protocol"}
"""Sections of a recipe that scoring and predicting read."""


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register this module's commands."""
    listing.add_commands(commands)

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

    parser = commands.add_parser(
        "evaluate",
        help="score a model on a data set",
        description="Score a model on a data set: a table here, and with --output JSON and an HTML report.\n\n"
        + _MODEL_HELP,
        epilog="examples:\n"
        "  segattn evaluate runs/mine/last.safetensors --data.root /data/camvid --output report\n"
        "  segattn evaluate danet_r101_cityscapes --weights DANet101.pth.tar --data.root /data/cityscapes\n"
        "  segattn evaluate attanet_light_camvid --data.root /data/camvid --protocol multi_flip",
    )
    _add_model_options(parser, "MODEL")
    parser.add_argument("--protocol", metavar="NAME", help="a named protocol instead of the recipe's")
    parser.add_argument("--split", metavar="NAME", help="the split to score (default: the recipe's data.val_split)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write scores.json and report.html there")
    parser.add_argument("--submission", type=Path, metavar="DIR", help="write label-id PNGs for the data set's server")
    add_map_option(parser, "")
    parser.set_defaults(run=_evaluate, takes_overrides=True)

    parser = commands.add_parser(
        "predict",
        help="label pictures",
        description="Label pictures: for each, NAME_labels.png (class ids), NAME_overlay.png (with a legend), and the\n"
        "share of each class on the terminal. Two pictures of one name are refused before the first is written.\n"
        "Hidden files, tools' leftovers and folders' sub-folders are not read. Pictures that can't be labelled are\n"
        "named at the end; exit code 2 then.\n\n" + _MODEL_HELP,
        epilog="examples:\n"
        "  segattn predict photo.jpg\n"
        "  segattn predict holiday/ 'more/*.png' --output labelled\n"
        "  segattn predict photo.jpg --model runs/mine/best.safetensors --protocol multi_flip",
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
        help='a checkpoint, ours or released; "default" are the ones that ship with segattn (attanet_light_camvid)',
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument(
        "--fold",
        action="store_true",
        help="fold batch norms into convolutions: faster on the CPU, the same logits to float rounding only",
    )


def _show(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.deploy.describe import describe
    from segattn.recipes.serialize import to_yaml

    recipe = find_recipe(arguments.model, overrides)
    print("\n".join(f"# {line}".rstrip() for line in describe(recipe)))
    print(to_yaml(recipe), end="")


def _evaluate(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.api import open_split
    from segattn.cli.screen import print_table
    from segattn.data.base import require_separate_files
    from segattn.deploy.predictor import pick_device
    from segattn.evaluation.evaluate import evaluate, sum_over_processes
    from segattn.evaluation.report import Report
    from segattn.evaluation.submission import submission_writer
    from segattn.processes import working_together
    from segattn.weights.classes import fit_classes

    device = pick_device(arguments.device)
    with working_together(device) as shard:
        recipe, model = open_model(arguments.model, arguments.weights, overrides)
        protocol = _protocol(recipe, arguments.protocol, overrides)
        split = arguments.split or recipe.data.val_split
        dataset = open_split(recipe, split)
        owner = arguments.weights or arguments.model
        mapped = fit_classes(model, dataset.classes, owner, by_name=arguments.map_classes)
        report = Report(arguments.output, dataset.classes, shard=shard) if arguments.output else None
        takers: list[Callable[[Sample, NDArray[np.uint8]], None]] = [report.add] if report else []
        if arguments.submission:
            require_separate_files(dataset, arguments.submission)
            takers.append(submission_writer(arguments.submission, dataset.classes))

        def hand_on(sample: Sample, labels: NDArray[np.uint8]) -> None:
            for take in takers:
                take(sample, labels)

        model = _ready(model, arguments).to(device)
        part = evaluate(model, dataset, protocol, shard=shard, progress=shard.rank == 0, on_prediction=hand_on)
        scores = sum_over_processes(part)
        if report:
            report.gather()
    if shard.rank != 0:
        return
    title = f"{recipe.name} on {recipe.data.dataset} {split}"
    table = scores.table()
    table.title = None  # a protocol in words is wider than the table
    print(title)
    print(scores.protocol)
    if mapped:
        print(f"{owner}: {mapped}")
    print_table(table)
    print(scores.summary())
    if arguments.submission:
        print(f"label ids for the server: {arguments.submission}")
    if report:
        page = report.write(scores, title=title, protocol=protocol)
        print(page.with_name("scores.json"))
        print(page)


def _predict(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.cli.screen import error_text, is_out_of_memory, print_error
    from segattn.data.reading import read_image
    from segattn.deploy.predictor import PredictionFiles, find_pictures, pick_device, predict, unread_folders
    from segattn.files import require_unread, require_writable
    from segattn.processes import gathered, working_together
    from segattn.progress import track

    pictures = find_pictures(arguments.sources)
    require_writable(arguments.output)
    results = (file for path in pictures for file in PredictionFiles.of(path.stem, arguments.output))
    require_unread(results, pictures)
    device = pick_device(arguments.device)
    with working_together(device) as (rank, world):
        recipe, model = open_model(arguments.model, arguments.weights, overrides)
        model = _ready(model, arguments).to(device)
        protocol = _protocol(recipe, arguments.protocol or "whole", overrides)
        mine = pictures[rank::world]
        own_unread: list[Exception] = []
        own_unlabelled: list[Exception] = []
        for path in track(mine, "labelling", len(mine)) if rank == 0 else mine:
            try:
                image = read_image(path, upright=True)
            except (ValueError, OSError, MemoryError) as error:
                own_unread.append(
                    ValueError(f"{path}: {error_text(error)}") if isinstance(error, MemoryError) else error
                )
                continue
            try:
                prediction = predict(model, image, protocol, name=path.stem)
            except (ValueError, MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                    raise
                own_unlabelled.append(ValueError(f"{path}: {error_text(error)}"))
                continue
            files = prediction.save(arguments.output)
            shares = ", ".join(f"{name} {_percent(share)}" for name, share in prediction.shares().items())
            print(f"{path}: {shares}\n  {files.labels}  {files.overlay}", flush=True)
        unread = [error for part in gathered(own_unread) for error in part]
        unlabelled = [error for part in gathered(own_unlabelled) for error in part]
    if rank != 0:
        return
    for note in unread_folders(arguments.sources, arguments.output):
        print(f"note: {note}")
    failed = unread + unlabelled
    if len(pictures) == len(failed) == 1:
        raise failed[0]
    for reason in failed:
        print_error(reason)
    if failed:
        rest = "; the others are labelled" if len(failed) < len(pictures) else ""
        what = "labelled" if unlabelled else "read"
        raise ValueError(f"{len(failed)} of {len(pictures)} pictures can't be {what}{rest}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.001 else "<0.1%"


def _protocol(recipe: Recipe, name: str | None, overrides: dict[str, str]) -> Protocol:
    """The named protocol, or the recipe's, with the fields that the command line sets."""
    from segattn.evaluation.protocol import protocol as by_name
    from segattn.recipes.serialize import override

    if name is not None:
        recipe = replace(recipe, protocol=by_name(name))
    return override(recipe, {key: text for key, text in overrides.items() if key.startswith("protocol.")}).protocol


def _ready(model: Segmenter, arguments: argparse.Namespace) -> Segmenter:
    if not arguments.fold:
        return model
    from segattn.deploy.optimize import optimize_for_inference

    return optimize_for_inference(model)


def find_recipe(model: str, overrides: dict[str, str]) -> Recipe:
    """The recipe of a name or of a YAML file, with fields overridden."""
    from segattn.recipes.catalog import recipe as by_name
    from segattn.recipes.schema import Recipe
    from segattn.recipes.serialize import from_yaml, override

    try:
        recipe = from_yaml(Recipe, model) if model.endswith((".yaml", ".yml")) else by_name(model)
    except ValueError:
        _explain_path(Path(model))
        raise
    return override(recipe, overrides) if overrides else recipe


def _explain_path(path: Path) -> None:
    """Raises ValueError if what should name a recipe is a file or folder of another kind."""
    if path.is_dir():
        trained = [name for name in ("best.safetensors", "last.safetensors", "recipe.yaml") if (path / name).exists()]
        raise ValueError(f"{path}: is a folder; name a file" + (f" in it: {' or '.join(trained)}" if trained else ""))
    if path.suffix == ".safetensors":
        raise ValueError(f"{path}: a recipe's name or a .yaml file was expected here, not a file of weights")
    if path.is_file() and path.suffix not in (".yaml", ".yml"):
        raise ValueError(
            f"{path}: neither a recipe's name, nor a recipe file (.yaml), nor a trained model (.safetensors); "
            f"for a released checkpoint name its recipe and give --weights {path}"
        )


def open_model(model: str, weights: str | None, overrides: dict[str, str]) -> tuple[Recipe, Segmenter]:
    """A recipe with its network and weights, from what the command line names."""
    from segattn.api import create_model, load_model
    from segattn.recipes.schema import Recipe
    from segattn.weights.defaults import SHIPPED

    for key in overrides:
        section = key.split(".")[0]
        if section in {field.name for field in fields(Recipe)} - _USED:
            raise ValueError(f"--{key}: plays no part here; fields of {', '.join(sorted(_USED))} can be set")
    if model.endswith(".safetensors"):
        if weights is not None:
            raise ValueError(f"--weights {weights}: {model} already holds the weights; name a recipe to use others")
        return load_model(model, overrides)
    recipe = find_recipe(model, overrides)
    if weights is None and model in SHIPPED:
        weights = "default"
    if weights is None:
        raise ValueError(
            f"{model}: no weights given, and random ones give random labels; "
            "add --weights FILE, or name a best.safetensors that `segattn train` wrote"
        )
    return recipe, create_model(recipe, weights=weights)
