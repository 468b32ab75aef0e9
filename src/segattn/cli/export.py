"""segattn export: a network as a file for other runtimes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import MODEL_HELP, find_recipe, open_model, weights_file

if TYPE_CHECKING:
    from segattn.exporting.int8 import Scoring
    from segattn.recipes.schema import Recipe


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "export",
        help="write a network for ONNX Runtime, OpenVINO or torch.export",
        description="Write a network as one file for another runtime, by the name's suffix:\n"
        "  OUT.onnx    ONNX\n"
        "  OUT.xml     OpenVINO, with its weights in OUT.bin\n"
        "  OUT.pt2     torch.export\n\n"
        "The file takes `images` (batch, 3, height, width), RGB, of any batch and size unless they are given; it\n"
        "normalises them, and resizes what it gives to their size. At the end the file is run and compared with the\n"
        "model at several sizes and batches; one that disagrees is an error and is not left behind.\n\n" + MODEL_HELP,
        epilog="examples:\n"
        "  segattn export attanet_lite0_camvid street.onnx\n"
        "  segattn export runs/mine/best.safetensors mine.xml --images 'photos/*.jpg'\n"
        "  segattn export attanet_light_camvid small.onnx --input uint8 --output labels --batch 1 --size 360x480\n"
        "  segattn export attanet_light_camvid small8.onnx --int8 data/camvid/images/train --data.root data/camvid",
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("out", type=Path, metavar="OUT", help="ends in .onnx, .xml or .pt2")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--weights", metavar="FILE", help='a checkpoint, "default" or "released"')
    weights.add_argument(
        "--random-weights", action="store_true", help="export a recipe's network untrained, to measure its speed"
    )
    parser.add_argument("--input", choices=["float32", "uint8"], default="float32", help="float32: 0..1 (default)")
    parser.add_argument("--output", choices=["logits", "softmax", "labels"], default="logits", help="default: logits")
    parser.add_argument("--batch", type=int, metavar="N", help="the only number of images that the file is to take")
    parser.add_argument("--height", type=int, metavar="H", help="the only height that it is to take")
    parser.add_argument("--width", type=int, metavar="W", help="the only width")
    parser.add_argument("--size", metavar="HxW", help="both of them, as 512x1024")
    parser.add_argument("--opset", type=int, metavar="N", help="of ONNX's operators, 18 to 24 (default: 20)")
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="images to prove it on (default: painted streets)",
    )
    parser.add_argument(
        "--proof",
        nargs="+",
        default=[],
        metavar="BxHxW",
        help="batch, height and width of each comparison (default: 2x192x256 1x256x512 3x161x223)",
    )
    parser.add_argument(
        "--int8",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="quantise to 8-bit numbers, calibrated on these images, of which the last fifth is kept apart to compare"
        " on; with --data.root DIR also print the loss of mIoU on the recipe's validation split",
    )
    parser.set_defaults(run=_export, takes_overrides=True)


def _export(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    import torch

    from segattn.api import create_model
    from segattn.exporting.export import export
    from segattn.predicting.image_files import find_images

    height, width = _size(arguments)
    images = find_images(arguments.images)
    proof = [_numbers("--proof", text, "BxHxW, as 2x256x512") for text in arguments.proof]
    if arguments.random_weights:
        recipe = find_recipe(arguments.model, overrides)
        torch.manual_seed(0)  # so that two exports are equal
        model = create_model(recipe)
    else:
        recipe, model = open_model(arguments.model, arguments.weights, overrides)
    report = export(
        model,
        arguments.out,
        input=arguments.input,
        output=arguments.output,
        batch=arguments.batch,
        height=height,
        width=width,
        opset=arguments.opset,
        images=images,
        proof=[(b, h, w) for b, h, w in proof],
        int8=find_images(arguments.int8),
        scoring=_scoring(recipe) if "data.root" in overrides else None,
        description=_description(arguments, recipe, model),
    )
    print(report)


def _scoring(recipe: Recipe) -> Scoring:
    from segattn.api import open_split
    from segattn.exporting.int8 import Scoring

    split = recipe.data.val_split
    return Scoring(f"{recipe.data.dataset} {split}", open_split(recipe, split), recipe.protocol)


def _description(arguments: argparse.Namespace, recipe: Any, model: Any) -> dict[str, Any]:
    """What the file says of itself: that of the weights' own file, with their checksum."""
    from segattn.files import checksum
    from segattn.weights.checkpoint import describe_model, read_description
    from segattn.weights.pretrained import SHIPPED

    file: Path | None = None
    if arguments.model.endswith(".safetensors"):
        file = Path(arguments.model)
    elif not arguments.random_weights:
        file = weights_file(arguments, recipe)
    stored = (read_description(file) or {}) if file is not None else {}
    description = describe_model(recipe, model.classes, scores=stored.get("scores"), temperature=model.temperature)
    named = file is not None and (arguments.weights == "released" or file.name == SHIPPED.get(recipe.name))
    description["licence"] = stored.get("licence") or (recipe.checkpoint.licence if named else "not known")
    if "protocol" in stored:
        description["protocol"] = stored["protocol"]
    description["weights"] = None if file is None else {"file": file.name, "sha256": checksum(file)}
    return description


def _size(arguments: argparse.Namespace) -> tuple[int | None, int | None]:
    if arguments.size is None:
        return arguments.height, arguments.width
    if arguments.height is not None or arguments.width is not None:
        raise ValueError(f"--size {arguments.size}: give either it, or --height and --width")
    height, width = _numbers("--size", arguments.size, "HxW, as 512x1024")
    return height, width


def _numbers(option: str, text: str, form: str) -> tuple[int, ...]:
    """The numbers of 2x256x512.

    Raises:
        ValueError: another number of them than in `form`, or something else.
    """
    if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5})" + f"{{{form.split(',')[0].count('x')}}}", text):
        raise ValueError(f"{option} {text}: expected {form}")
    return tuple(int(part) for part in text.split("x"))
