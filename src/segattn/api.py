"""The functions behind ``import segattn`` that bring recipes, networks, classes and weights together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from segattn.contracts import Classes, SegmentationDataset, cut, nearest, require_same_classes
from segattn.datasets.base import PairedDataset
from segattn.datasets.catalog import CLASSES, open_dataset
from segattn.datasets.unlabelled import UnlabelledImages
from segattn.models.segmenter import Segmenter
from segattn.recipes.catalog import RECIPES
from segattn.recipes.catalog import recipe as find_recipe
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, override
from segattn.weights.checkpoint import check_description, model_file, require_description
from segattn.weights.description import described_recipe
from segattn.weights.load import load_weights
from segattn.weights.match import network_shapes
from segattn.weights.pretrained import SHIPPED, default_weights
from segattn.weights.released import named_weights


def create_model(name: str | Recipe, *, num_classes: int | None = None, weights: str | Path | None = None) -> Segmenter:
    """The network of a recipe, in evaluation mode.

    Args:
        name: a recipe's name (`segattn.list_recipes()`), or a recipe.
        num_classes: classes of the logits instead of the recipe's own; weights for the recipe's own then don't fit.
        weights: None for random weights, "default" for the ones that ship with the package, "released" for the
            authors' own, which are downloaded once (see `segattn.weights.released`), or a file or a run's folder (see
            `load_weights`). The model's classes are those of the recipe's data set, or what a file of ours
            says.

    Raises:
        ValueError: an unknown name, no such weights for this recipe, weights that don't fit, or a file of ours that
            says that it was trained as another network, or with other classes.
        FileNotFoundError: the weights file does not exist.
        ConnectionError: released weights can't be downloaded.
    """
    recipe = find_recipe(name) if isinstance(name, str) else name
    weights = named_weights(recipe, weights)
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes {num_classes}: expected 1 or more")
    model = recipe.network.build(num_classes or recipe.data.num_classes)
    model.network, model.trained_at = recipe.network, recipe.data.trained_at
    known = CLASSES.get(recipe.data.dataset)
    if known is not None and len(known) == model.num_classes:
        model.classes = known
    if weights is not None:
        load_weights(model, weights)
        check_description(weights, recipe.network, known)
    return model.eval()


def load_model(path: str | Path, overrides: Mapping[str, str] | None = None) -> tuple[Recipe, Segmenter]:
    """A trained model of ours with the recipe it was trained by, from one safetensors file or a run's folder.

    Args:
        overrides: fields of the recipe to set by path, e.g. ``{"data.root": "/data/camvid"}``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file does not describe itself; name a recipe and give the file as its weights then.
    """
    path = model_file(path)
    description = require_description(path)
    if "module" in description:
        raise ValueError(
            f"{path}: weights of {cut(str(description['module']))}, which is not a network of this package. Make it"
            " yourself, put it in with segattn.wrap, and load the file into that with segattn.load_weights"
        )
    try:
        recipe = described_recipe(description)
        classes = from_dict(Classes, description["classes"])
    except KeyError as error:
        raise ValueError(f"{path}: its description has no {error}, which every model of ours has") from None
    except ValueError as error:
        raise ValueError(f"{path}: its description does not fit this version of segattn ({error})") from None
    recipe = override(recipe, overrides) if overrides else recipe
    if recipe.data.num_classes != len(classes):
        raise ValueError(
            f"{path}: a model for {len(classes)} classes ({', '.join(classes.names[:4])}, ...), "
            f"not for data.num_classes {recipe.data.num_classes}"
        )
    values = sum(tensor.numel() for tensor in network_shapes(recipe.network, len(classes)).values())
    if 2 * values > path.stat().st_size:  # before it takes memory: no type that weights are stored in is smaller
        raise ValueError(
            f"{path}: its description asks for a network of {values:,} values, more than the file can hold"
        )
    model = recipe.network.build(len(classes))
    model.network = recipe.network
    model.classes = classes
    load_weights(model, path)
    model.trained_at = recipe.data.trained_at
    return recipe, model.eval()


def load_teacher(recipe: Recipe) -> Segmenter | None:
    """The trained network that `recipe.training.teacher` names, in evaluation mode; None if it names none.

    Raises:
        FileNotFoundError: it names neither a file that is there nor a recipe.
        ValueError: it names a recipe whose weights don't ship, or a file that isn't a model of ours.
    """
    name = recipe.training.teacher
    if name is None:
        return None
    try:
        if name in RECIPES:
            return load_model(default_weights(name))[1]
        if not os.path.lexists(name):
            raise FileNotFoundError(
                f"{cut(name)}: no such file, nor a recipe whose weights ship ({', '.join(SHIPPED)})."
                f"{nearest(name, SHIPPED)}"
            )
        return load_model(name)[1]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"training.teacher: {error}") from None
    except ValueError as error:
        raise ValueError(f"training.teacher: {error}") from None


def open_unlabelled(recipe: Recipe) -> SegmentationDataset | None:
    """The images of the folder `recipe.data.unlabelled`, without masks; None if it names none.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    folder = recipe.data.unlabelled
    if folder is None:
        return None
    if recipe.network.normalization.stored:
        raise ValueError(
            f"data.unlabelled {cut(folder)}: its images are read as RGB, and the network takes bands as they are stored"
            " (network.in_channels, network.normalization); leave it out"
        )
    classes = CLASSES.get(recipe.data.dataset, Classes.numbered(recipe.data.num_classes))
    try:
        return UnlabelledImages(folder, classes)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"data.unlabelled: {error}") from None


def open_split(recipe: Recipe, split: str, *, owner: str = "", made_for: Classes | None = None) -> SegmentationDataset:
    """A split of the data that a recipe is about.

    Args:
        owner: the model that is scored on it, for the error, where there is one.
        made_for: the classes of that model.

    Raises:
        ValueError: the recipe has no `data.root`, or another number of classes than the data set.
        FileNotFoundError: the folder is not there or has another layout.
    """
    data = recipe.data
    if data.root is None:
        raise ValueError(f"{recipe.name}: where is {data.dataset}? Give its folder with --data.root DIR")
    dataset = open_dataset(data.dataset, data.root, split)
    if len(dataset.classes) != data.num_classes:
        if made_for is not None:
            require_same_classes(owner, made_for, dataset.classes)
        raise ValueError(
            f"{data.root}: {data.dataset} has {len(dataset.classes)} classes and the recipe {data.num_classes}; "
            f"set --data.num_classes {len(dataset.classes)}"
        )
    _require_fitting_bands(recipe, dataset)
    return dataset


def _require_fitting_bands(recipe: Recipe, dataset: PairedDataset) -> None:
    """That the images of a data set are what the recipe's network takes. Raises ValueError."""
    normalization, root = recipe.network.normalization, recipe.data.root
    takes = len(normalization.mean)
    if dataset.bands is None and normalization.stored:
        raise ValueError(
            f"{root}: its images are read as RGB of 8 bits, and the network takes {takes} bands as they are stored "
            "(network.in_channels, network.normalization); `bands` in dataset.yaml names those that are to be read"
        )
    if dataset.bands is not None and not normalization.stored:
        raise ValueError(
            f"{root}: dataset.yaml names {len(dataset.bands)} bands, and the network takes RGB of 8 bits; set "
            "network.in_channels and network.normalization with its value_range, as `segattn data stats` prints them"
        )
    if dataset.bands is not None and len(dataset.bands) != takes:
        raise ValueError(
            f"{root}: dataset.yaml names {len(dataset.bands)} bands, and the network takes {takes} "
            "(network.in_channels)"
        )
