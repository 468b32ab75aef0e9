"""segattn evaluate: score a model on a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import MODEL_HELP, add_map_option, add_model_options, find_protocol, open_model, ready

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
        + MODEL_HELP,
        epilog="examples:\n"
        "  segattn evaluate runs/mine/last.safetensors --data.root /data/camvid --output report\n"
        "  segattn evaluate danet_r101_cityscapes --weights DANet101.pth.tar --data.root /data/cityscapes\n"
        "  segattn evaluate attanet_light_camvid --data.root /data/camvid --protocol multi_flip",
    )
    add_model_options(parser, "MODEL")
    parser.add_argument("--protocol", metavar="NAME", help="a named protocol instead of the recipe's")
    parser.add_argument("--split", metavar="NAME", help="the split to score (default: the recipe's data.val_split)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write scores.json and report.html there")
    parser.add_argument("--submission", type=Path, metavar="DIR", help="write label-id PNGs for the data set's server")
    add_map_option(parser, "")
    parser.set_defaults(run=_evaluate, takes_overrides=True)


def _evaluate(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.api import open_split
    from segattn.cli.screen import print_table
    from segattn.datasets.base import require_separate_files
    from segattn.evaluation.evaluate import evaluate, sum_over_processes
    from segattn.evaluation.submission import submission_writer
    from segattn.machine import pick_device
    from segattn.processes import working_together
    from segattn.reports.scores import Report
    from segattn.weights.classes import fit_classes

    device = pick_device(arguments.device)
    with working_together(device) as shard:
        recipe, model = open_model(arguments.model, arguments.weights, overrides)
        protocol = find_protocol(recipe, arguments.protocol, overrides)
        split = arguments.split or recipe.data.val_split
        dataset = open_split(recipe, split)
        owner = arguments.weights or arguments.model
        mapped = fit_classes(model, dataset.classes, owner, by_name=arguments.map_classes)
        report = Report(arguments.output, dataset, shard=shard) if arguments.output else None
        takers: list[Callable[[Sample, NDArray[np.uint8]], None]] = [report.add] if report else []
        if arguments.submission:
            require_separate_files(dataset, arguments.submission)
            takers.append(submission_writer(arguments.submission, dataset.classes))

        def hand_on(sample: Sample, labels: NDArray[np.uint8]) -> None:
            for take in takers:
                take(sample, labels)

        model = ready(model, arguments).to(device)
        part = evaluate(model, dataset, protocol, shard=shard, progress=shard.rank == 0, on_prediction=hand_on)
        scores = sum_over_processes(part)
        if report:
            report.gather(scores)
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
