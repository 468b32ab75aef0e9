"""segattn train: train a recipe, or continue."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import add_loading_options, add_map_option

if TYPE_CHECKING:
    from segattn.contracts import Classes, SegmentationDataset
    from segattn.models.segmenter import Segmenter
    from segattn.recipes.schema import Recipe


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "train",
        help="train a recipe",
        description="Train a recipe. A run that was stopped continues when the same command is given again.\n\n"
        "Any field of the recipe can be set: --data.root DIR, --schedule.lr 0.005, --training.batch_size 8,\n"
        "--losses.0.weight 2, ... `segattn show RECIPE` prints them all.\n\n"
        "The output folder gets best.safetensors and last.safetensors (weights, recipe, classes and score in one),\n"
        "log.jsonl, sample predictions, and what a resumed run needs. Ctrl-C and SIGTERM save and leave with code 3.\n"
        "Several processes: torchrun --nproc-per-node 4 -m segattn train ...",
        epilog="examples:\n"
        "  segattn train attanet_light_camvid --data.root /data/camvid\n"
        "  segattn train danet_r50_cityscapes --data.root /data/cityscapes --pretrained auto --training.batch_size 4\n"
        "  segattn train mine.yaml --output runs/mine --fresh",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a YAML file as `segattn show` prints it")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: runs/RECIPE")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--weights", metavar="FILE", help="start from a whole network's weights instead of random ones")
    start.add_argument(
        "--pretrained",
        metavar="FILE",
        help="start the backbone from ImageNet weights: a file, or auto to download what the recipe names",
    )
    add_loading_options(parser)
    add_map_option(parser, "with --weights: ")
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
    import torch
    import torch.distributed as dist

    from segattn.api import create_model, load_teacher, open_split, open_unlabelled
    from segattn.cli.options import find_recipe
    from segattn.files import require_writable
    from segattn.training.train import train

    recipe = find_recipe(arguments.recipe, overrides)
    output = arguments.output or Path("runs") / recipe.name
    require_writable(output)
    train_set, val_set = open_split(recipe, recipe.data.train_split), open_split(recipe, recipe.data.val_split)
    teacher, unlabelled = load_teacher(recipe), open_unlabelled(recipe)
    torch.manual_seed(recipe.training.seed)  # of the random initial weights
    model = create_model(recipe)
    model.classes = train_set.classes
    _start(model, recipe, arguments, train_set.classes)
    if arguments.auto_batch:
        recipe = _fit_batch(model, recipe, train_set, teacher, output, arguments)
    result = train(
        model,
        recipe,
        train_set=train_set,
        val_set=val_set,
        output_dir=output,
        teacher=teacher,
        unlabelled_set=unlabelled,
        resume=not arguments.fresh,
        tensorboard=arguments.tensorboard,
        wandb=arguments.wandb,
        samples=arguments.samples,
        allow_absent_classes=arguments.allow_absent_classes or arguments.auto_batch,  # that has looked for them
    )
    if dist.is_initialized():
        dist.destroy_process_group()
    if result.interrupted:
        sys.exit(3)


def _start(model: Segmenter, recipe: Recipe, arguments: argparse.Namespace, classes: Classes) -> None:
    from segattn.processes import place
    from segattn.weights.classes import fit_classes
    from segattn.weights.load import load_backbone, load_weights
    from segattn.weights.pretrained import default_weights

    if arguments.weights is not None:
        source = default_weights(recipe.name) if arguments.weights == "default" else arguments.weights
        report = load_weights(
            model,
            source,
            num_classes_may_differ=arguments.num_classes_may_differ,
            sizes_may_differ=arguments.sizes_may_differ,
        )
    elif arguments.pretrained is not None:
        source = recipe.pretrained if arguments.pretrained == "auto" else arguments.pretrained
        if source is None:
            raise ValueError(f"{recipe.name} names no pretrained weights; give a file: --pretrained FILE")
        report = load_backbone(model, source, sizes_may_differ=arguments.sizes_may_differ, partial=arguments.partial)
    elif recipe.starts_from is not None:
        raise ValueError(
            f"{recipe.name} goes on from the weights of {recipe.starts_from}: give them with --weights FILE, as in"
            f" `segattn show {recipe.name}`"
        )
    else:
        return
    try:
        mapped = fit_classes(model, classes, arguments.weights, by_name=arguments.map_classes)
    except ValueError as error:
        anew = "--num-classes-may-differ loads all but the classifier layers, to train these anew"
        raise ValueError(f"{error}; {anew}") from None
    if place().rank == 0:
        print(report)
        if mapped:
            print(f"{arguments.weights}: {mapped}")


def _fit_batch(
    model: Segmenter,
    recipe: Recipe,
    train_set: SegmentationDataset,
    teacher: Segmenter | None,
    output: Path,
    arguments: argparse.Namespace,
) -> Recipe:
    from segattn.processes import place
    from segattn.training.auto_batch import fit_batch

    recipe, summary = fit_batch(
        model,
        recipe,
        train_set,
        output_dir=output,
        teacher=teacher,
        resume=not arguments.fresh,
        allow_absent_classes=arguments.allow_absent_classes,
    )
    if place().rank == 0:
        print(summary, flush=True)
    return recipe


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more")
    return int(text)
