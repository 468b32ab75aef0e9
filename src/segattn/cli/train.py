"""segattn train: train a recipe, or continue."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from segattn.cli.options import add_loading_options, add_map_option


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "train",
        help="train a recipe",
        description="Train a recipe. A run that was stopped continues when the same command is given again.\n\n"
        "With --data it is fitted to a folder of your own images and masks (docs/own-data.md): classes, start, crop,\n"
        "batch, length and the rest are chosen from the data and the machine, and printed before it begins.\n\n"
        "Any field of the recipe can be set: --data.root DIR, --schedule.lr 0.005, --training.batch_size 8,\n"
        "--losses.0.weight 2, ..., or a whole list: --losses '[{kind: CrossEntropy}]'. `segattn show RECIPE` prints\n"
        "them all.\n\n"
        "The output folder gets best.safetensors and last.safetensors (weights, recipe, classes and score in one),\n"
        "log.jsonl, sample predictions, and what a resumed run needs. Ctrl-C and SIGTERM save and leave with code 3.\n"
        "Several processes: torchrun --nproc-per-node 4 -m segattn train ...",
        epilog="examples:\n"
        "  segattn train attanet_light_camvid --data my_data\n"
        "  segattn train attanet_light_camvid --data my_data --minutes 30\n"
        "  segattn train attanet_light_camvid --data my_data --more 20\n"
        "  segattn train attanet_light_camvid --data.root /data/camvid\n"
        "  segattn train danet_r50_cityscapes --data.root /data/cityscapes --pretrained auto --training.batch_size 4\n"
        "  segattn train mine.yaml --output runs/mine --fresh",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a YAML file as `segattn show` prints it")
    parser.add_argument("--data", type=Path, metavar="DIR", help="train on a folder of your own images and masks")
    parser.add_argument("--epochs", type=_number, metavar="N", help="with --data: how often each image is drawn")
    parser.add_argument("--minutes", type=_number, metavar="M", help="with --data: how long, by a pace measured first")
    parser.add_argument(
        "--more",
        type=_number,
        metavar="N",
        help="let a finished run go on for N epochs on a fresh schedule (a warm restart)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: runs/RECIPE, with --data runs/ and its name"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--weights",
        metavar="FILE",
        help="start from a whole network's weights instead of random ones; with --data the default is what ships; "
        '"released" are the authors\' own, downloaded once',
    )
    start.add_argument(
        "--pretrained",
        metavar="FILE",
        help="start the backbone from ImageNet weights: a file, or auto to download what the recipe names",
    )
    add_loading_options(parser)
    add_map_option(parser, "with --weights: ")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument(
        "--fresh", action="store_true", help="begin anew: remove what an earlier run left in the folder"
    )
    parser.add_argument(
        "--auto-batch",
        action="store_true",
        help="first find how many images at a time fit into memory, and split training.batch_size accordingly "
        "(training.accumulation)",
    )
    parser.add_argument(
        "--allow-absent-classes",
        action="store_true",
        help="train on your own data although the training masks have not one pixel of some class",
    )
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard's event files")
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="segattn",
        metavar="PROJECT",
        help="also write to Weights & Biases (project segattn unless one is named; give it after RECIPE)",
    )
    parser.add_argument(
        "--samples",
        type=_count,
        default=4,
        metavar="N",
        help="validation images to draw with truth and prediction at each validation (default: 4; 0 for none)",
    )
    parser.set_defaults(run=_train, takes_overrides=True)


def _train(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    import torch.distributed as dist

    from segattn.cli.options import find_recipe
    from segattn.runs import train_recipe
    from segattn.weights.start import Start

    result = train_recipe(
        find_recipe(arguments.recipe, {}),
        data=arguments.data,
        epochs=arguments.epochs,
        minutes=arguments.minutes,
        more=arguments.more,
        output=arguments.output,
        overrides=overrides,
        start=Start(
            weights=arguments.weights,
            pretrained=arguments.pretrained,
            num_classes_may_differ=arguments.num_classes_may_differ,
            sizes_may_differ=arguments.sizes_may_differ,
            partial=arguments.partial,
            map_classes=arguments.map_classes,
        ),
        auto_batch=arguments.auto_batch,
        resume=not arguments.fresh,
        allow_absent_classes=arguments.allow_absent_classes,
        tensorboard=arguments.tensorboard,
        wandb=arguments.wandb,
        samples=arguments.samples,
        device=arguments.device,
    )
    if dist.is_initialized():
        dist.destroy_process_group()
    if result.interrupted:
        sys.exit(3)


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0 and below a million")
    return number
