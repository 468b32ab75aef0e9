"""segattn weights: download, inspect, convert, extract and push."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import add_json_option, add_size_option, check_weights_output

if TYPE_CHECKING:
    from rich.table import Table

    from segattn.weights.released import Listed


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the commands."""
    weights = commands.add_parser("weights", help="look into, convert and publish files of weights")
    actions = weights.add_subparsers(dest="action", metavar="ACTION", required=True)

    parser = actions.add_parser(
        "download",
        help="the papers' own files, by a recipe's name",
        description="Download the authors' weights of a recipe, or find the copy in the cache, and print where it is.\n"
        "A download that stops is continued by the next call. Size and sha256 are kept when a file is first seen, and\n"
        "another file is refused ever after. What only a browser can fetch is said, with what to do.\n"
        "Commands that take --weights take --weights released for the same.",
        epilog="examples:\n  segattn weights download danet_r101_cityscapes\n"
        "  segattn weights download light_ham_van_tiny_ade20k --backbone\n  segattn weights download --list",
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a recipe's name or file")
    parser.add_argument("--list", action="store_true", help="which recipes have such a file, and how it is fetched")
    parser.add_argument(
        "--backbone", action="store_true", help="the ImageNet weights that its training starts from, for --pretrained"
    )
    add_json_option(parser)
    parser.set_defaults(run=_download, takes_overrides=False)

    parser = actions.add_parser(
        "inspect",
        help="what a file holds and which recipes it fits",
        description="What a file of weights holds and which recipes it fits. Nothing in the file is executed.",
        epilog="example:\n  segattn weights inspect DANet101.pth.tar",
    )
    parser.add_argument("file", metavar="FILE", help="a checkpoint of any kind that segattn reads")
    add_json_option(parser)
    parser.set_defaults(run=_inspect, takes_overrides=False)

    parser = actions.add_parser(
        "convert",
        help="a released file as one of ours",
        description="Load a file into a recipe's network, strictly, and write it as a safetensors file that says what\n"
        "it is: `segattn predict`, `evaluate` and `segattn.load_model` then need nothing else.\n\n"
        "Any field of the recipe can be set: --data.num_classes 2 for a file with another class list, ...",
        epilog="example:\n  segattn weights convert DANet101.pth.tar danet.safetensors --recipe danet_r101_cityscapes",
    )
    parser.add_argument("file", metavar="FILE", help="a released checkpoint")
    parser.add_argument("output", type=Path, metavar="OUT", help="ends in .safetensors")
    parser.add_argument("--recipe", required=True, metavar="RECIPE", help="a recipe's name or file")
    parser.add_argument(
        "--inplace-abn",
        action="store_true",
        help="an ACFNet file of a training with in-place activated batch norm: store its scales as |w| + 1e-5",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="store numbers as float16: half the size, and rounded to 3 digits; they are read as float32 again",
    )
    add_size_option(parser)
    parser.set_defaults(run=_convert, takes_overrides=True)

    parser = actions.add_parser(
        "extract",
        help="the tensors of a file that holds other objects too",
        description="Take the state dict out of a PyTorch file that also holds other objects, such as a pickled\n"
        "configuration. Nothing in the file is imported or executed; what is no tensor is left out.",
        epilog="example:\n  segattn weights extract full_checkpoint.pth tensors.safetensors",
    )
    parser.add_argument("file", metavar="FILE", help="a PyTorch file")
    parser.add_argument("output", type=Path, metavar="OUT", help="ends in .safetensors")
    parser.set_defaults(run=_extract, takes_overrides=False)

    parser = actions.add_parser(
        "push",
        help="publish a trained model on the Hugging Face Hub",
        description="Publish a trained model: weights, description and a model card with recipe, score and licence.\n"
        "Log in first with `hf auth login`. segattn.from_pretrained(TARGET) loads it again.",
        epilog="example:\n  segattn weights push runs/mine/best.safetensors me/mine --licence apache-2.0",
    )
    parser.add_argument("file", metavar="MODEL", help="a best.safetensors that `segattn train` wrote")
    parser.add_argument("target", metavar="TARGET", help="OWNER/NAME on the hub, or a folder such as ./card")
    parser.add_argument(
        "--licence", required=True, metavar="NAME", help="of the weights: apache-2.0, cc-by-nc-4.0, ..."
    )
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.set_defaults(run=_push, takes_overrides=False)


def _download(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.cli.options import find_recipe
    from segattn.cli.screen import print_json, print_table
    from segattn.weights.released import listed, record_of, released_file

    if arguments.list == (arguments.recipe is not None):
        raise ValueError("segattn weights download: expected a recipe's name, or --list for those that have a file")
    if arguments.list:
        rows = listed(backbone=arguments.backbone)
        if arguments.json:
            print_json([row._asdict() for row in rows])
        else:
            print_table(_table_of_files(rows))
        return
    recipe = find_recipe(arguments.recipe, {})
    file = released_file(recipe, backbone=arguments.backbone)
    seen = record_of(file)
    assert seen is not None
    checkpoint = recipe.backbone_checkpoint if arguments.backbone else recipe.checkpoint
    if arguments.json:
        from dataclasses import asdict

        print_json({"file": str(file), **asdict(seen), "licence": checkpoint.licence})
        return
    print(f"{file}\n  {seen}, first seen on {seen.date}\n  licence: {checkpoint.licence}")
    if checkpoint.note:
        print(f"  {checkpoint.note}")
    if checkpoint.holds_objects:
        print(f"  it holds more than tensors: segattn weights extract {file} OUT.safetensors takes these out")


def _table_of_files(rows: list[Listed]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=None, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("recipe", "from", "here"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(row.recipe, row.source or f"by hand: {row.url}", "yes" if row.file else "")
    return table


def _inspect(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from dataclasses import asdict

    from segattn.cli.screen import is_terminal, print_json
    from segattn.weights.inspect import inspect

    found = inspect(arguments.file)
    if arguments.json:
        print_json(asdict(found))
    else:
        print(found.text(padded=is_terminal()))


def _convert(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.api import create_model
    from segattn.cli.options import find_recipe
    from segattn.datasets.catalog import CLASSES
    from segattn.weights.checkpoint import check_description, describe_model, save_model
    from segattn.weights.load import load_weights

    check_weights_output(arguments.output)
    recipe = find_recipe(arguments.recipe, overrides)
    model = create_model(recipe)
    report = load_weights(
        model, arguments.file, sizes_may_differ=arguments.sizes_may_differ, inplace_abn=arguments.inplace_abn
    )
    check_description(arguments.file, recipe.network, CLASSES.get(recipe.data.dataset))
    description = describe_model(recipe, model.classes, temperature=model.temperature)
    description["converted_from"] = {"file": Path(arguments.file).name, "naming": report.naming, "notes": report.notes}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_model(arguments.output, model, description, half=arguments.half)
    print(report)
    if details := report.details():
        print(details)
    print(f"{arguments.output}: written, with its description beside it")


def _extract(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from safetensors.torch import save

    from segattn.files import write_file
    from segattn.weights.extract import extract

    check_weights_output(arguments.output)
    found = extract(arguments.file)
    write_file(arguments.output, save(found.tensors, metadata={"format": "pt"}))
    print(f"{arguments.output}: {len(found.tensors)} tensors")
    for name, kind in found.left_out.items():
        print(f"left out  {name}: {kind}")
    if found.foreign:
        print(f"neither imported nor run: {', '.join(found.foreign)}")


def _push(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from segattn.api import load_model
    from segattn.hub import push_to_hub
    from segattn.weights.checkpoint import read_model

    recipe, model = load_model(arguments.file)
    scores = read_model(arguments.file)[1].get("scores")
    print(
        push_to_hub(
            model, recipe, arguments.target, licence=arguments.licence, scores=scores, private=arguments.private
        )
    )
