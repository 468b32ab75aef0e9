"""segattn report: curves and a page of a training run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "report",
        help="draw the curves of a training run, and a page of its sample predictions",
        description="Draw loss, learning rate, score and speed of a training run as curves.png and curves.svg, and\n"
        "write training.html, one page that holds the curves and the sample predictions of the validations.",
        epilog="example:\n  segattn report runs/attanet_light_camvid",
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the folder that `segattn train` wrote")
    parser.set_defaults(run=_report, takes_overrides=False)


def _report(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.reports.curves import draw_curves
    from segattn.reports.training_page import write_page

    print(draw_curves(arguments.run_folder))
    print(write_page(arguments.run_folder))
