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
    weights_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from segattn.contracts import Sample


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
        "  segattn evaluate runs/my_data --data more_data --split test\n"
        "  segattn evaluate danet_r101_cityscapes --weights DANet101.pth.tar --data.root /data/cityscapes\n"
        "  segattn evaluate attanet_light_camvid --data.root /data/camvid --protocol multi_flip\n"
        "  segattn evaluate runs/mine/last.safetensors --data.root /data/camvid --calibrate mine.safetensors",
    )
    add_model_options(parser, "MODEL")
    add_engine_option(parser)
    parser.add_argument("--data", type=Path, metavar="DIR", help="score on a folder of your own images and masks")
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
    from segattn.machine import device_in_words, pick_device
    from segattn.measure.calibrate import Fitting
    from segattn.processes import working_together
    from segattn.reports.origin import Fact, Origin, WeightsFile, data_name
    from segattn.reports.scores import Report
    from segattn.weights.classes import fit_classes

    device = pick_device(device_name(arguments))
    if arguments.data is not None:
        overrides = {"data.dataset": "folder", "data.root": str(arguments.data), **overrides}
    with working_together(device) as shard:
        recipe, model = open_model(arguments.model, arguments.weights, overrides, exported=True)
        protocol = find_protocol(recipe, arguments.protocol, overrides)
        split = arguments.split or recipe.data.val_split
        owner = arguments.weights or arguments.model
        dataset = open_split(recipe, split, owner=owner, made_for=model.classes)
        mapped = fit_classes(model, dataset.classes, owner, by_name=arguments.map_classes)
        fitting = None
        if arguments.calibrate:
            if arguments.model.endswith(EXPORTED):
                raise ValueError(f"--calibrate: {arguments.model} is an exported file; name its .safetensors")
            changed = next((key for key in overrides if key.startswith("network.")), None)
            if changed is not None:
                raise ValueError(f"--{changed}: a temperature is for the network as its file describes it")
            check_weights_output(arguments.calibrate)
            source = weights_file(arguments, recipe)
            fitting = Fitting(
                source,
                arguments.calibrate,
                recipe=recipe,
                trained_split=_trained_split(source),
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
    page = None
    if report:
        engine = _engine(arguments)
        origin = Origin(
            recipe=recipe.name,
            weights=(WeightsFile.of(weights_file(arguments, recipe)),),
            data=data_name(recipe.data),
            split=split,
            protocol=scores.protocol,
            device=device_in_words(device) + (f", run by {engine}" if engine else ""),
            more=(Fact("classes", mapped),) if mapped else (),
        )
        page = report.write(scores, title=title, origin=origin)
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


def _engine(arguments: argparse.Namespace) -> str:
    """What runs the network, where that is not torch."""
    if arguments.model.endswith(EXPORTED):
        return {".onnx": "onnxruntime", ".xml": "openvino"}.get(Path(arguments.model).suffix, "torch.export")
    return "" if arguments.engine == "torch" else f"engine {arguments.engine}"


def _trained_split(file: Path) -> str:
    """The split that a model of ours was trained on."""
    from segattn.weights.checkpoint import require_description
    from segattn.weights.description import described_recipe

    try:
        return described_recipe(require_description(file)).data.train_split
    except KeyError:
        raise ValueError(f"{file}: its description has no recipe, which every model of ours has") from None
