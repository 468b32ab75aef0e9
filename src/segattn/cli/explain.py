"""segattn explain: what a network looked at for one pixel of an image."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from segattn.cli.options import (
    MODEL_HELP,
    NoWeightsError,
    add_model_options,
    add_reading_size_option,
    find_protocol,
    open_model,
    ready,
    weights_file,
)


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "explain",
        help="show what a network looked at for one pixel of an image",
        description="Show what a network looked at for one pixel of an image: NAME_explain.html, one page on which\n"
        "a click changes the pixel; NAME_explain.npz, all arrays; and a PNG for each thing that the network can show.\n"
        "Every network shows class scores, margin and evidence; the others depend on its ideas.\n\n" + MODEL_HELP,
        epilog="examples:\n"
        "  segattn explain photo.jpg\n"
        "  segattn explain photo.jpg --at 180,240 --output explained\n"
        "  segattn explain photo.jpg --show strip,fusion\n"
        "  segattn explain photo.jpg --show strip --sheet strip_attention_pixel,strip_attention\n"
        "  segattn explain photo.jpg --model runs/mine/best.safetensors\n"
        "  segattn explain photo.jpg --model light_ham_van_tiny_ade20k --random    (what untrained ones look like)",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="an image file")
    add_model_options(parser, "--model", default="attanet_lite0_camvid")
    parser.add_argument("--random", action="store_true", help="random weights, always the same; the title says so")
    parser.add_argument(
        "--at", type=_pixel, metavar="Y,X", help="the pixel, from 0,0 at the top left; default: the middle"
    )
    add_reading_size_option(parser, "attention and --at are of the image's own pixels")
    parser.add_argument("--show", metavar="NAMES", help="what to show, separated by commas; default: all that it can")
    parser.add_argument(
        "--sheet",
        metavar="PANELS",
        help="also write NAME_sheet.jpg, one picture with the image, its labels and up to 6 panels beside one another:"
        " names as in the files NAME_PANEL.png, separated by commas",
    )
    parser.add_argument("--protocol", metavar="NAME", help="a named protocol that looks once at the whole image")
    parser.add_argument("--output", type=Path, default=Path("explained"), metavar="DIR", help="default: explained")
    parser.set_defaults(run=_explain, takes_overrides=True)


def _pixel(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"-?\d{1,9},-?\d{1,9}", text):  # one below 0 is refused with the image's size
        raise argparse.ArgumentTypeError(f"{text!r}: expected Y,X, two whole numbers such as 180,240")
    y, x = text.split(",")
    return int(y), int(x)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _explain(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.explaining.explain import can_show, explain
    from segattn.files import require_writable, write_file
    from segattn.machine import pick_device
    from segattn.reports.origin import WeightsFile

    require_writable(arguments.output)
    device = pick_device(arguments.device)
    try:
        recipe, model = open_model(arguments.model, arguments.weights, overrides, random=arguments.random)
    except NoWeightsError as error:
        _, model = open_model(arguments.model, None, overrides, random=True)
        raise ValueError(f"{error}, or --random to see what untrained ones look like. {can_show(model)}") from error
    model = ready(model, arguments).to(device)
    protocol = find_protocol(recipe, arguments.protocol or "whole", overrides)
    weights = ", with random weights," if arguments.random else ""
    view = explain(
        model,
        arguments.image,
        arguments.at,
        size=arguments.size,
        show=_words(arguments.show) if arguments.show is not None else None,
        protocol=protocol,
        title=f"What {recipe.name}{weights} looked at in {arguments.image.name}",
    )
    weights_files = () if arguments.random else (WeightsFile.of(weights_file(arguments, recipe)),)
    view = replace(view, origin=replace(view.origin, recipe=recipe.name + weights.rstrip(","), weights=weights_files))
    sheet = view.sheet(_words(arguments.sheet)) if arguments.sheet is not None else None
    files = view.save(arguments.output)
    if sheet is not None:
        write_file(arguments.output / f"{view.name}_sheet.jpg", sheet)
    y, x = view.at
    print(f"{arguments.image}: pixel y {y}, x {x} is {view.label}{weights.rstrip(',')}")
    for panel in view.panels:
        print(f"  {panel.title}: {panel.text}")
    beside = f"  {arguments.output / f'{view.name}_sheet.jpg'}" if sheet is not None else ""
    print(f"  {files[0]}  {files[1]}{beside}  and {len(files) - 2} figures")
