"""segattn data: synthetic, prepare, check, stats and show; import and export are in data_import."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli import data_import
from segattn.cli.options import add_json_option
from segattn.contracts import nearest, shown

if TYPE_CHECKING:
    from segattn.contracts import SegmentationDataset
    from segattn.datasets.check import CheckReport
    from segattn.datasets.stats import DatasetStats


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the commands."""
    data = commands.add_parser("data", help="import, make, prepare, check and look at data sets")
    actions = data.add_subparsers(dest="action", metavar="ACTION", required=True)
    data_import.add_actions(actions)

    parser = actions.add_parser(
        "synthetic",
        help="make a small street data set",
        description="Make a small data set of drawn street scenes with exact labels: in the layout of\n"
        "Cityscapes with its ids, or as a folder of one's own with 8 classes and a dataset.yaml.",
        epilog="examples:\n  segattn data synthetic streets --train 64 --val 16\n"
        "  segattn data synthetic streets --layout folder",
    )
    parser.add_argument("root", type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--layout", choices=("cityscapes", "folder"), default="cityscapes", help="default: cityscapes")
    parser.add_argument("--train", type=int, default=64, metavar="N", help="training images (default: 64)")
    parser.add_argument("--val", type=int, default=16, metavar="N", help="validation images (default: 16)")
    parser.add_argument("--height", type=int, default=256, help="default: 256")
    parser.add_argument("--width", type=int, default=512, help="default: 512")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same images (default: 0)")
    parser.set_defaults(run=_synthetic, takes_overrides=False)

    parser = actions.add_parser(
        "prepare",
        help="convert a data set once",
        description="Convert a data set's annotations once into PNGs of class ids beside them. Stopped, it continues.\n"
        "Exit code 2 if a mask can't be made; the others are.",
        epilog="example:\n  segattn data prepare voc2012 --root /data/VOCdevkit",
    )
    _add_dataset(parser, split=False)
    parser.set_defaults(run=_prepare, takes_overrides=False)

    parser = actions.add_parser(
        "check",
        help="scan all images and masks",
        description="Read every image and mask of a split and report what is wrong with them and what to do about it.\n"
        "Exit code 2 if anything is. In your own data, a class without one pixel of a training split is a problem.",
        epilog="examples:\n  segattn data check camvid --root /data/camvid --split val\n"
        "  segattn data check my_data --fix",
    )
    _add_dataset(parser)
    add_json_option(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the report there, as JSON")
    parser.add_argument(
        "--fix",
        action="store_true",
        help="write the dataset.yaml that your own folder lacks; where as many ids are ignored as classes have no "
        "pixel, write the ids as these classes into it",
    )
    parser.set_defaults(run=_check, takes_overrides=False)

    parser = actions.add_parser(
        "stats",
        help="class frequencies, and weights for losses and crops",
        description="How often each class occurs in a split, and the class_weights for losses and for "
        "ClassBalancedCrop\nthat follow from it, ready to paste into a recipe.",
        epilog="example:\n  segattn data stats cityscapes --root /data/cityscapes",
    )
    _add_dataset(parser)
    add_json_option(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the figures there, as JSON")
    parser.set_defaults(run=_stats, takes_overrides=False)

    parser = actions.add_parser(
        "show",
        help="an overlay sheet",
        description="Draw some images of a split with their labels laid over them.",
        epilog="example:\n  segattn data show folder --root my_images --output sheet.png",
    )
    _add_dataset(parser)
    parser.add_argument("--count", type=int, default=12, metavar="N", help="images on the sheet (default: 12)")
    parser.add_argument("--output", type=Path, default=Path("sheet.png"), metavar="FILE", help="default: sheet.png")
    parser.set_defaults(run=_show, takes_overrides=False)


def _add_dataset(parser: argparse.ArgumentParser, *, split: bool = True) -> None:
    parser.add_argument("dataset", metavar="NAME", help="cityscapes, camvid, ade20k, ...; for your own, its folder")
    parser.add_argument("--root", metavar="DIR", help="where the data set is")
    if split:
        parser.add_argument("--split", default="train", metavar="NAME", help="default: train")


def _find(arguments: argparse.Namespace) -> None:
    """Complete what names a data set: a folder of one's own stands for its kind and its place."""
    from segattn.datasets.catalog import DATASETS

    name = arguments.dataset
    if arguments.root is not None:
        return
    if name in DATASETS:
        raise ValueError(f"where is {name}? Give its folder with --root DIR")
    if not os.path.isdir(name):
        hint = f"{nearest(name, DATASETS)} Known: {', '.join(DATASETS)}"
        raise ValueError(f"{shown(name)}: no data set and no folder of your own.{hint}")
    arguments.dataset, arguments.root = "folder", name


def _open(arguments: argparse.Namespace, output: Path | None) -> SegmentationDataset:
    """The data set that a command is for, none of whose files is the command's output."""
    from segattn.datasets.base import require_no_own_file
    from segattn.datasets.catalog import open_dataset

    _find(arguments)
    dataset = open_dataset(arguments.dataset, arguments.root, arguments.split)
    if output is not None:
        require_no_own_file(dataset, arguments.root, output)
    return dataset


def _synthetic(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.synthetic.write import write_synthetic

    size = (arguments.height, arguments.width)
    write_synthetic(
        arguments.root,
        train=arguments.train,
        val=arguments.val,
        size=size,
        seed=arguments.seed,
        layout=arguments.layout,
    )
    print(f"{arguments.root}: {arguments.train} training and {arguments.val} validation images of {size[1]}x{size[0]}")


def _prepare(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.datasets.prepare import prepare

    _find(arguments)
    report = prepare(arguments.dataset, arguments.root)
    print(report)
    if not report.complete:
        sys.exit(2)


def _check(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.datasets.absent import as_line, write_mend
    from segattn.datasets.base import require_no_own_file
    from segattn.datasets.check import check_named
    from segattn.datasets.description import DESCRIPTION
    from segattn.datasets.suggest import write_suggested

    _find(arguments)
    told = sys.stderr if arguments.json else sys.stdout
    described = os.path.join(arguments.root, DESCRIPTION)
    if arguments.fix and arguments.dataset == "folder" and not os.path.lexists(described):
        text = write_suggested(arguments.root)
        print(f"{described}: wrote\n{text}", end="", file=told)
    if arguments.output is not None:
        try:
            _open(arguments, arguments.output)
        except FileNotFoundError:  # which is the report's to say
            require_no_own_file(None, arguments.root, arguments.output)
    report = check_named(arguments.dataset, arguments.root, arguments.split)
    if arguments.fix and report.mend is not None:
        write_mend(report.mend)
        print(f"{report.mend.path}: wrote {as_line(report.mend)}", file=told)
        report = check_named(arguments.dataset, arguments.root, arguments.split)
    _give(report, arguments)
    if not report.ok:
        sys.exit(2)


def _stats(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.datasets.stats import stats

    _give(stats(_open(arguments, arguments.output)), arguments)


def _show(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.datasets.show import write_sheet

    write_sheet(_open(arguments, arguments.output), arguments.output, count=arguments.count)
    print(arguments.output)


def _give(report: CheckReport | DatasetStats, arguments: argparse.Namespace) -> None:
    """Print a report, in words or as JSON, and write it where that was asked for."""
    from segattn.cli.screen import is_terminal
    from segattn.files import write_file

    content = report.to_json()
    print(content if arguments.json else report.text(padded=is_terminal()))
    if arguments.output is not None:
        write_file(arguments.output, content.encode())
        if not arguments.json:
            print(arguments.output)
