"""Options that several commands share: a model, its weights, the fields of a recipe, the protocol."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from segattn.contracts import cut
from segattn.exporting.report import FORMATS

if TYPE_CHECKING:
    from segattn.contracts import Classes
    from segattn.evaluation.protocol import Protocol
    from segattn.exporting.exported import ExportedModel
    from segattn.models.segmenter import Segmenter
    from segattn.predicting.predict import ReadingSize
    from segattn.recipes.schema import Recipe

MODEL_HELP = """\
MODEL is one of
  a recipe's name           `segattn list` shows them; the weights come from --weights
  a recipe file             YAML, as `segattn show NAME` prints it; the weights come from --weights
  a trained model           a best.safetensors or last.safetensors of `segattn train`: recipe and weights in one
  a run's folder            of `segattn train`, such as runs/my_data: its best.safetensors

Fields of the recipe's data, network and protocol can be set: --data.root DIR, --protocol.flip true, ...
`segattn show RECIPE` prints them all.
"""
EXPORTED_HELP = "MODEL can also be an .onnx or .xml file that `segattn export` wrote, which runs on the CPU.\n"
EXPORTED = tuple(FORMATS)
_NAMED_CLASSES = 4
_USED = {"data", "network", "protocol"}
"""Sections of a recipe that scoring and predicting read."""


def find_recipe(model: str, overrides: dict[str, str]) -> Recipe:
    """The recipe of a name or of a YAML file, with fields overridden."""
    from segattn.recipes.catalog import recipe as by_name
    from segattn.recipes.schema import Recipe
    from segattn.recipes.serialize import from_yaml, override

    try:
        recipe = from_yaml(Recipe, model) if model.endswith((".yaml", ".yml")) else by_name(model)
    except ValueError:
        _explain_path(Path(model))
        raise
    return override(recipe, overrides) if overrides else recipe


def _explain_path(path: Path) -> None:
    """That what should name a recipe is no file or folder of another kind, nor one that isn't there.

    Raises:
        ValueError: it is one.
        FileNotFoundError: it can only be meant as a path, and nothing is there.
    """
    if path.is_dir():
        trained = [name for name in ("best.safetensors", "last.safetensors", "recipe.yaml") if (path / name).exists()]
        raise ValueError(f"{path}: is a folder; name a file" + (f" in it: {' or '.join(trained)}" if trained else ""))
    if path.suffix == ".safetensors":
        raise ValueError(f"{path}: a recipe's name or a .yaml file was expected here, not a file of weights")
    if path.is_file() and path.suffix not in (".yaml", ".yml"):
        raise ValueError(
            f"{path}: neither a recipe's name, nor a recipe file (.yaml), nor a trained model (.safetensors); "
            f"for a released checkpoint name its recipe and give --weights {path}"
        )
    if not path.exists() and (path.suffix or path.name != str(path)):  # names of recipes have no . and no /
        raise FileNotFoundError(
            f"{cut(str(path))}: no such file; expected a recipe's name, a recipe file (.yaml) or a trained model"
            " (.safetensors)"
        )


class NoWeightsError(ValueError):
    """A recipe without weights of its own, and none were named."""


def open_model(
    model: str, weights: str | None, overrides: dict[str, str], *, random: bool = False, exported: bool = False
) -> tuple[Recipe, Segmenter]:
    """A recipe with its network and weights, from what the command line names, or the same random ones each time.

    Args:
        exported: the command can do with a file of `segattn export`, in which the network can only be run.
    """
    from segattn.api import create_model, load_model
    from segattn.recipes.catalog import RECIPES
    from segattn.weights.pretrained import SHIPPED

    _check_used(overrides)
    if model not in RECIPES and Path(model).is_dir():
        model = _model_in(model)
    if random:
        if weights is not None or model.endswith(".safetensors"):
            raise ValueError(f"--random: {weights or model} holds weights; name a recipe alone to use random ones")
        import torch

        torch.manual_seed(0)
        recipe = find_recipe(model, overrides)
        return recipe, create_model(recipe)
    if exported and model.endswith(EXPORTED):
        from segattn.exporting.model import as_segmenter

        recipe, file = open_exported_model(model, weights, overrides)
        return recipe, as_segmenter(file)
    if model.endswith(".safetensors"):
        if weights is not None:
            raise ValueError(f"--weights {weights}: {model} already holds the weights; name a recipe to use others")
        return load_model(model, overrides)
    recipe = find_recipe(model, overrides)
    if weights is None and model in SHIPPED:
        weights = "default"
    if weights is None:
        raise NoWeightsError(
            f"{model}: no weights given, and random ones give random labels; "
            "add --weights FILE, or name a best.safetensors that `segattn train` wrote"
        )
    opened = create_model(recipe, weights=weights)
    if "data.trained_at" in overrides:  # rather than what the file says
        opened.trained_at = recipe.data.trained_at
    return recipe, opened


def open_exported_model(model: str, weights: str | None, overrides: dict[str, str]) -> tuple[Recipe, ExportedModel]:
    """A file of `segattn export` with the recipe in it, without PyTorch."""
    from segattn.exporting.exported import open_exported

    _check_used(overrides)
    if weights is not None:
        raise ValueError(f"--weights {weights}: {model} already holds the weights")
    return open_exported(model, overrides)


def _check_used(overrides: dict[str, str]) -> None:
    """That fields of a recipe play a part in what is done with a model."""
    from segattn.recipes.schema import Recipe

    for key in overrides:
        section = key.split(".")[0]
        if section in {field.name for field in fields(Recipe)} - _USED:
            raise ValueError(f"--{key}: plays no part here; fields of {', '.join(sorted(_USED))} can be set")


def weights_file(arguments: argparse.Namespace, recipe: Recipe) -> Path:
    """The file whose weights `open_model` has opened for these arguments."""
    from segattn.recipes.catalog import RECIPES
    from segattn.weights.checkpoint import model_file
    from segattn.weights.pretrained import default_weights
    from segattn.weights.released import named_weights

    is_file = arguments.model.endswith((".safetensors", *EXPORTED))
    file = arguments.model if is_file else arguments.weights
    if arguments.model not in RECIPES and Path(arguments.model).is_dir():
        file = arguments.model
    file = default_weights(recipe.name) if file in (None, "default") else named_weights(recipe, file)
    return model_file(file)


def _model_in(folder: str) -> str:
    """The model's file in a run's folder, which is told."""
    from segattn.processes import place
    from segattn.weights.checkpoint import MODELS, model_file

    file = model_file(folder)
    if place().rank == 0:
        which = "the best on its validation split" if file.name == MODELS[0] else "the last; none was validated"
        print(f"{folder}: {file.name}, {which}", file=sys.stderr, flush=True)  # beside a document of --json
    return str(file)


def made_for(recipe: Recipe, classes: Classes) -> str:
    """One line: what the weights of a recipe were made for."""
    from segattn.datasets.catalog import SOURCES

    source = SOURCES.get(recipe.data.dataset)
    what = source.shows if source is not None else "images such as those that it was trained on"
    names = ", ".join(classes.names[:_NAMED_CLASSES]) + (", ..." if len(classes) > _NAMED_CLASSES else "")
    return f"{recipe.name}: made for {what}, {len(classes)} classes: {names}"


def add_model_options(parser: argparse.ArgumentParser, name: str, default: str | None = None) -> None:
    """The options of commands that run a model; `name` is that of the argument for it."""
    if name.startswith("--"):
        parser.add_argument(name, dest="model", default=default, metavar="MODEL", help=f"default: {default}")
    else:
        parser.add_argument("model", metavar=name)
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help='a checkpoint, ours or released, or a run\'s folder; "default" are those that ship with segattn '
        '(attanet_lite0_camvid and attanet_light_camvid), "released" the authors\' own, downloaded once',
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument(
        "--fold",
        action="store_true",
        help="fold batch norms into convolutions: faster on the CPU, the same logits to float rounding only",
    )


def add_reading_size_option(parser: argparse.ArgumentParser, then: str) -> None:
    """The option of commands that bring an image to the size that the model knows; `then` is what comes of it."""
    parser.add_argument(
        "--size",
        type=_reading_size,
        default="trained",
        metavar="SIZE",
        help="at which images are read: trained (the default: as they are where that is near the size that the model "
        f"was trained at, else brought to it), native (as they are), or the long side in pixels; {then}",
    )


def _reading_size(text: str) -> ReadingSize:
    words: dict[str, ReadingSize] = {"trained": "trained", "native": "native"}
    try:
        return words[text] if text in words else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{cut(text)}: expected trained, native, or the long side in pixels") from None


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """The option of commands that print a table."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead, and nothing else, on the standard output"
    )


def device_name(arguments: argparse.Namespace) -> str:
    """What `--device` says, or the CPU, on which exported files run."""
    if not arguments.model.endswith(EXPORTED):
        return str(arguments.device)
    if arguments.device not in ("auto", "cpu"):
        raise ValueError(f"--device {arguments.device}: an exported file such as {arguments.model} runs on the cpu")
    return "cpu"


def find_protocol(recipe: Recipe, name: str | None, overrides: dict[str, str]) -> Protocol:
    """The named protocol, or the recipe's, with the fields that the command line sets."""
    from segattn.evaluation.protocol import protocol as by_name
    from segattn.recipes.serialize import override

    if name is not None:
        recipe = replace(recipe, protocol=by_name(name))
    changes = {key: text for key, text in overrides.items() if key.startswith("protocol.")}
    return override(recipe, changes).protocol if changes else recipe.protocol


def ready(model: Segmenter, arguments: argparse.Namespace) -> Segmenter:
    """The model, folded where that was asked for."""
    if not arguments.fold:
        return model
    check_fold(arguments)
    from segattn.models.fold import optimize_for_inference

    return optimize_for_inference(model)


def check_fold(arguments: argparse.Namespace) -> None:
    """That `--fold` plays a part with the model. Raises ValueError."""
    if arguments.fold and arguments.model.endswith(EXPORTED):
        raise ValueError(f"--fold: {arguments.model} is an exported file, which its engine has optimised already")


def add_engine_option(parser: argparse.ArgumentParser) -> None:
    """The option of commands that only run a model."""
    parser.add_argument(
        "--engine",
        choices=("torch", "onnxruntime", "openvino", "auto"),
        default="torch",
        help="what runs the network: torch as it is (the default), onnxruntime or openvino (pip install "
        "'segattn[export]'), exported and proved once, or auto: the fastest of these and of torch's folded and "
        "compiled forms, measured once for the weights, the size and this machine; logits are the same to rounding",
    )


def on_engine(
    model: Segmenter, arguments: argparse.Namespace, recipe: Recipe, protocol: Protocol, *, workers: int = 1
) -> Segmenter:
    """The model, on its device, as `--engine` runs it for so many threads, which is told on the standard error."""
    check_engine(arguments)
    if arguments.engine == "torch":
        return model
    from segattn.exporting import fastest
    from segattn.processes import place

    def say(text: str) -> None:
        if place().rank == 0:
            print(text, file=sys.stderr, flush=True)

    running = fastest.on_engine(model, arguments.engine, usual_size(recipe, protocol), say=say, workers=workers)
    say(running.words)
    return running.model


def check_engine(arguments: argparse.Namespace) -> None:
    """That `--engine` plays a part with the other options. Raises ValueError."""
    if arguments.engine == "torch":
        return
    if arguments.model.endswith(EXPORTED):
        raise ValueError(f"--engine {arguments.engine}: {arguments.model} is an exported file, which has its engine")
    if arguments.fold:
        raise ValueError(f"--fold: is of torch, and --engine {arguments.engine} chooses another form; give one of both")


def usual_size(recipe: Recipe, protocol: Protocol) -> tuple[int, int]:
    """The (height, width) at which the network usually sees images."""
    if protocol.windows is not None:
        return protocol.windows.crop, protocol.windows.crop
    height, width = recipe.data.trained_at or recipe.data.count_at
    return protocol.resize.size(height, width, 1.0)


def add_loading_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that start from weights made for something a little different."""
    parser.add_argument(
        "--num-classes-may-differ",
        action="store_true",
        help="with --weights: load a file for other classes, or another number of them, but for the classifier layers",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="with --pretrained: leave a ResNet's stem and gates as they are where the file's are of another kind",
    )
    add_size_option(parser)


def add_map_option(parser: argparse.ArgumentParser, when: str) -> None:
    """The option of commands in which a model meets a data set."""
    parser.add_argument(
        "--map-classes",
        action="store_true",
        help=f"{when}put the outputs in the data set's order of classes, where it has the same names in another order",
    )


def add_size_option(parser: argparse.ArgumentParser) -> None:
    """The option of commands that read weights of networks with sizes of their own."""
    parser.add_argument(
        "--sizes-may-differ",
        action="store_true",
        help="resize position embeddings and agent biases that were trained at another image size",
    )


def check_weights_output(path: Path) -> None:
    """That a file of weights of ours can be written there.

    Raises:
        ValueError: the name is of another kind of file.
        OSError: no file can be written there.
    """
    from segattn.files import require_writable

    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a name that ends in .safetensors")
    if path.is_dir():
        raise OSError(f"{path}: is a folder; a file's name was expected")
    require_writable(path.parent)
