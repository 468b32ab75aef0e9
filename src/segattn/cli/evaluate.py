"""segattn evaluate: score a model on a data set."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import (
    EXPORTED,
    EXPORTED_HELP,
    MODEL_HELP,
    add_engine_option,
    add_json_option,
    add_map_option,
    add_model_options,
    check_weights_output,
    device_name,
    find_protocol,
    on_engine,
    open_model,
    ready,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from segattn.contracts import Sample
    from segattn.recipes.schema import Recipe


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "evaluate",
        help="score a model on a data set",
        description="Score a model on a data set: a table here, and with --output JSON and an HTML report.\n\n"
        + MODEL_HELP
        + EXPORTED_HELP,
        epilog="examples:\n"
        "  segattn evaluate runs/mine/last.safetensors --data.root /data/camvid --output report\n"
        "  segattn evaluate danet_r101_cityscapes --weights DANet101.pth.tar --data.root /data/cityscapes\n"
        "  segattn evaluate attanet_light_camvid --data.root /data/camvid --protocol multi_flip\n"
        "  segattn evaluate runs/mine/last.safetensors --data.root /data/camvid --calibrate mine.safetensors",
    )
    add_model_options(parser, "MODEL")
    add_engine_option(parser)
    parser.add_argument("--protocol", metavar="NAME", help="a named protocol instead of the recipe's")
    parser.add_argument("--split", metavar="NAME", help="the split to score (default: the recipe's data.val_split)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write scores.json and report.html there")
    parser.add_argument("--submission", type=Path, metavar="DIR", help="write label-id PNGs for the data set's server")
    parser.add_argument(
        "--calibration",
        action="store_true",
        help="also report how far confidences can be believed: expected calibration error (ECE) and likelihood (NLL)",
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="OUT",
        help="fit the temperature that makes confidences honest on this split, which the model must not have been "
        "trained on, and write the model with it to OUT (ends in .safetensors); labels stay the same",
    )
    add_map_option(parser, "")
    add_json_option(parser)
    parser.set_defaults(run=_evaluate, takes_overrides=True)


def _evaluate(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.api import open_split
    from segattn.cli.screen import print_json, print_table
    from segattn.datasets.base import require_separate_files
    from segattn.evaluation.evaluate import evaluate, sum_over_processes
    from segattn.evaluation.submission import submission_writer
    from segattn.machine import pick_device
    from segattn.measure.calibrate import Fitting
    from segattn.processes import working_together
    from segattn.reports.scores import Report
    from segattn.weights.classes import fit_classes

    device = pick_device(device_name(arguments))
    with working_together(device) as shard:
        recipe, model = open_model(arguments.model, arguments.weights, overrides, exported=True)
        protocol = find_protocol(recipe, arguments.protocol, overrides)
        split = arguments.split or recipe.data.val_split
        dataset = open_split(recipe, split)
        owner = arguments.weights or arguments.model
        mapped = fit_classes(model, dataset.classes, owner, by_name=arguments.map_classes)
        fitting = None
        if arguments.calibrate:
            if arguments.model.endswith(EXPORTED):
                raise ValueError(f"--calibrate: {arguments.model} is an exported file; name its .safetensors")
            changed = next((key for key in overrides if key.startswith("network.")), None)
            if changed is not None:
                raise ValueError(f"--{changed}: a temperature is for the network as its file describes it")
            check_weights_output(arguments.calibrate)
            source, trained_split = _weights_file(arguments, recipe)
            fitting = Fitting(
                source,
                arguments.calibrate,
                recipe=recipe,
                trained_split=trained_split,
                split=split,
                dataset=dataset,
                protocol=protocol,
            )
        report = Report(arguments.output, dataset, shard=shard) if arguments.output else None
        takers: list[Callable[[Sample, NDArray[np.uint8]], None]] = [report.add] if report else []
        if arguments.submission:
            require_separate_files(dataset, arguments.submission)
            takers.append(submission_writer(arguments.submission, dataset.classes))

        def hand_on(sample: Sample, labels: NDArray[np.uint8]) -> None:
            for take in takers:
                take(sample, labels)

        model = on_engine(ready(model, arguments).to(device), arguments, recipe, protocol)
        part = evaluate(
            model,
            dataset,
            protocol,
            shard=shard,
            progress=shard.rank == 0,
            on_prediction=hand_on,
            calibration=arguments.calibration or fitting is not None,
            on_scores=None if fitting is None else fitting.take,
        )
        scores = sum_over_processes(part)
        if fitting:
            fitting.gather()
        if report:
            report.gather(scores)
    if shard.rank != 0:
        return
    title = f"{recipe.name} on {recipe.data.dataset} {split}"
    page = report.write(scores, title=title, protocol=protocol) if report else None
    files = [page.with_name("scores.json"), page] if page else []
    fitted = str(fitting.finish(model.temperature)) if fitting else None
    if arguments.json:
        about = {"recipe": recipe.name, "model": owner, "dataset": recipe.data.dataset, "split": split}
        written = {"files": [str(file) for file in (*files, *([arguments.submission] if arguments.submission else []))]}
        print_json({**about, "mapped": mapped or None, "calibrated": fitted, **json.loads(scores.to_json()), **written})
        return
    table = scores.table()
    table.title = None  # a protocol in words is wider than the table
    print(title)
    print(scores.protocol)
    if mapped:
        print(f"{owner}: {mapped}")
    print_table(table)
    print(scores.summary())
    if fitted:
        print(fitted)
    if arguments.submission:
        print(f"label ids for the server: {arguments.submission}")
    for file in files:
        print(file)


def _weights_file(arguments: argparse.Namespace, recipe: Recipe) -> tuple[Path, str]:
    """The file that the model came from, and the split that it was trained on."""
    from segattn.recipes.catalog import RECIPES
    from segattn.weights.checkpoint import described_recipe, model_file, require_description
    from segattn.weights.pretrained import default_weights
    from segattn.weights.released import named_weights

    file = arguments.model if arguments.model.endswith(".safetensors") else arguments.weights
    if arguments.model not in RECIPES and Path(arguments.model).is_dir():
        file = model_file(arguments.model)
    file = default_weights(recipe.name) if file in (None, "default") else named_weights(recipe, file)
    try:
        return Path(file), described_recipe(require_description(Path(file))).data.train_split
    except KeyError:
        raise ValueError(f"{file}: its description has no recipe, which every model of ours has") from None
