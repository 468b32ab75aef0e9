"""segattn data import and export: from the exports of labelling tools to a folder of your own, and back."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from segattn.cli.options import add_json_option

_IMPORT_HELP = """\
Draw what a labelling tool exported into DST: images, palette PNG masks and dataset.yaml, ready for
`--data.dataset folder --data.root DST`. SRC is the unpacked export with its images:

  coco          JSON with images, annotations, categories (polygons, run lengths), from any tool
  labelme       a JSON file beside each image
  cvat          "CVAT for images 1.1" (annotations.xml), or "Segmentation mask 1.1"
  yolo          data.yaml with images/ and labels/ of outlines (YOLO-seg)
  label-studio  the JSON export with its images
  rgb           images, masks in colours, and a file that names the colours (CSV, JSON, labelmap.txt)
  voc           JPEGImages, SegmentationClass, ImageSets/Segmentation

What is drawn, left out and why is printed, and in DST/import_report.json. Stopped, the same command goes on.
Exit code 2 if an image can't be imported; the others are.
"""


def add_actions(actions: argparse._SubParsersAction[Any]) -> None:
    """Register `import` and `export` among the actions of `segattn data`."""
    parser = actions.add_parser(
        "import",
        help="from a labelling tool's export to a folder of your own",
        description=_IMPORT_HELP,
        epilog="examples:\n  segattn data import coco export my_data\n"
        "  segattn data import rgb painted my_data --legend colours.csv --ignore unlabelled",
    )
    parser.add_argument("tool", metavar="TOOL", help="coco, labelme, cvat, yolo, label-studio, rgb or voc")
    parser.add_argument("source", type=Path, metavar="SRC", help="the unpacked export, with its images")
    parser.add_argument("target", type=Path, metavar="DST", help="a new or empty folder")
    parser.add_argument(
        "--val", type=float, default=0.2, metavar="SHARE", help="images for val where the tool has none (default: 0.2)"
    )
    parser.add_argument(
        "--unlabelled",
        choices=("background", "ignore"),
        default="background",
        help="what pixels without a shape are (default: background)",
    )
    parser.add_argument("--skip-empty", action="store_true", help="leave out images in which nothing is drawn")
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="CLASS",
        help="a class that becomes 255; may be repeated",
    )
    parser.add_argument(
        "--crowd",
        choices=("ignore", "class"),
        default="ignore",
        help="coco: iscrowd regions (default: ignore)",
    )
    parser.add_argument("--annotations", action="append", default=[], metavar="FILE", help="coco: read this file alone")
    parser.add_argument("--legend", type=Path, metavar="FILE", help="rgb, voc: the file of names and colours")
    add_json_option(parser)
    parser.set_defaults(run=_import, takes_overrides=False)

    parser = actions.add_parser(
        "export",
        help="labels to a labelling tool",
        description="Write a split of your own data, or what `segattn predict` labelled, as a labelling tool reads\n"
        "it, so that it can be corrected there; `segattn data import` brings it back.",
        epilog="examples:\n  segattn data export coco my_data for_cvat --split val\n"
        "  segattn data export labelme predictions to_correct --images photos --classes my_data",
    )
    parser.add_argument("tool", metavar="TOOL", help="coco (run lengths), labelme (polygons) or palette (VOC's layout)")
    parser.add_argument("source", type=Path, metavar="SRC", help="a folder with dataset.yaml, or one of predictions")
    parser.add_argument("target", type=Path, metavar="DST", help="a new or empty folder")
    parser.add_argument("--split", default="train", metavar="NAME", help="default: train")
    parser.add_argument("--images", type=Path, metavar="DIR", help="of predictions: the images that were labelled")
    parser.add_argument(
        "--classes", metavar="DATA", help="of predictions: camvid, ..., a dataset.yaml, or a file with a name a line"
    )
    parser.set_defaults(run=_export, takes_overrides=False)


def _import(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.cli.screen import print_json
    from segattn.datasets.imports.run import REPORT, Choices, import_data
    from segattn.datasets.imports.source import Options

    options = Options(tuple(arguments.annotations), arguments.legend, arguments.crowd)
    choices = Choices(arguments.val, arguments.unlabelled, arguments.skip_empty, tuple(arguments.ignore))
    report = import_data(arguments.tool, arguments.source, arguments.target, options, choices)
    if arguments.json:
        print_json(json.loads(report.to_json()))
    else:
        print(report)
        print(f"wrote {arguments.target / 'dataset.yaml'} and {arguments.target / REPORT}")
    if not report.complete:
        sys.exit(2)


def _export(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.datasets.exports.run import export_data

    print(
        export_data(
            arguments.tool,
            arguments.source,
            arguments.target,
            split=arguments.split,
            images=arguments.images,
            classes=arguments.classes,
        )
    )
