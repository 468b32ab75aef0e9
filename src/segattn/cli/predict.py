"""segattn predict: label images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segattn.cli.options import (
    EXPORTED_HELP,
    MODEL_HELP,
    add_engine_option,
    add_json_option,
    add_model_options,
    add_reading_size_option,
)
from segattn.cli.predict_images import add_collection_options, predict_images
from segattn.cli.predict_memory import add_memory_option
from segattn.cli.predict_raster import HELP as RASTER_HELP
from segattn.cli.predict_raster import add_raster_options, predict_rasters, takes_rasters
from segattn.cli.predict_ray import predict_on_ray
from segattn.cli.predict_video import HELP as VIDEO_HELP
from segattn.cli.predict_video import add_video_options, predict_videos, takes_videos


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "predict",
        help="label images and videos",
        description="Label images: for each, NAME_labels.png (class ids, with the classes' colours as its palette),\n"
        "NAME_overlay.png (with a legend), and the share of each class on the terminal. Two images of one name are\n"
        "refused before the first is written. Hidden files, tools' leftovers and folders' sub-folders are not read.\n"
        "Images that can't be labelled are named at the end; exit code 2 then.\n\n"
        + VIDEO_HELP
        + RASTER_HELP
        + MODEL_HELP
        + EXPORTED_HELP,
        epilog="examples:\n"
        "  segattn predict photo.jpg\n"
        "  segattn predict photo.jpg --model attanet_light_camvid    (a quarter of the parameters)\n"
        "  segattn predict holiday/ 'more/*.png' --output labelled\n"
        "  segattn predict panorama.jpg --size native --protocol slide_512\n"
        "  segattn predict photo.jpg --model runs/mine/best.safetensors --protocol multi_flip\n"
        "  segattn predict street.mp4 --smooth 0.5\n"
        "  segattn predict camera:0 --seconds 10 --video both\n"
        "  segattn predict scene.tif --raster --bands 4,3,2 --range 0,3000\n"
        "  segattn predict s3://bucket/photos --ray auto --output s3://bucket/labels",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="images, folders of images, or quoted globs, here or at addresses (s3://bucket/photos); lists (.txt) "
        "and tables (.parquet) of these; or videos",
    )
    add_model_options(parser, "--model", default="attanet_lite0_camvid")
    add_engine_option(parser)
    parser.add_argument("--protocol", metavar="NAME", help="a named protocol instead of one plain pass")
    add_reading_size_option(parser, "labels have the image's own size in any case")
    add_memory_option(parser)
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="also write NAME_confidence.png: the probability that the model gives to each label, 0..255 for 0..1",
    )
    parser.add_argument(
        "--tint-all",
        action="store_true",
        help="lay colours over background and black classes too, which overlays else leave as they are",
    )
    parser.add_argument(
        "--output", type=_folder, default=Path("predictions"), metavar="DIR", help="default: predictions"
    )
    add_collection_options(parser)
    add_video_options(parser)
    add_raster_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=_predict, takes_overrides=True)


def _folder(text: str) -> Path | str:
    from segattn.predicting.addresses import is_address, local_path

    path = local_path(text)
    return path if is_address(path) else Path(path)


def _predict(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    if arguments.ray is None:
        if arguments.ray_workers is not None:
            raise ValueError(
                f"--ray-workers {arguments.ray_workers}: of which cluster? Give --ray ADDRESS, or --ray local"
            )
        if not isinstance(arguments.output, Path):
            raise ValueError(f"--output {arguments.output}: only --ray ADDRESS (or --ray local) writes to an address")
    if takes_rasters(arguments):
        predict_rasters(arguments, overrides)
    elif takes_videos(arguments):
        predict_videos(arguments, overrides)
    elif arguments.ray is not None:
        predict_on_ray(arguments, overrides)
    else:
        predict_images(arguments, overrides)
