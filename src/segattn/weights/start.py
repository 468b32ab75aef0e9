"""What a training starts from: whole networks' weights, a backbone's, or random ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from segattn.contracts import Classes
from segattn.models.segmenter import Segmenter
from segattn.recipes.catalog import RECIPES
from segattn.recipes.own_bands import same_but_for_bands
from segattn.recipes.own_data import Choice
from segattn.recipes.schema import Recipe
from segattn.weights.classes import fit_classes
from segattn.weights.load import load_backbone, load_weights
from segattn.weights.pretrained import SHIPPED, found_pretrained
from segattn.weights.released import named_weights


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a network's training starts from: random weights where nothing is said.

    Attributes:
        weights: of a whole network: a file, a run's folder, or "default" for those that ship for the recipe,
            or "released" for its authors' own.
        pretrained: of the backbone: a file, a name of `PRETRAINED`, or "auto" for the recipe's.
        num_classes_may_differ, sizes_may_differ: as for `load_weights`.
        partial: as for `load_backbone`.
        map_classes: put the outputs of `weights` in the data set's order of classes.
    """

    weights: str | Path | None = None
    pretrained: str | Path | None = None
    num_classes_may_differ: bool = False
    sizes_may_differ: bool = False
    partial: bool = False
    map_classes: bool = False


def own_start(start: Start, named: Recipe, wanted: Recipe) -> tuple[Start, Choice]:
    """The start of a training on somebody's own data, and why: what ships or is on this machine.

    Args:
        named: the recipe as it is known, `wanted` that of the training.
    """
    known = RECIPES.get(named.name)
    same = known is not None and same_but_for_bands(known.network, wanted.network)
    if start.weights is not None:
        name = SHIPPED.get(named.name, "default") if start.weights == "default" else Path(start.weights).name
        own = replace(start, num_classes_may_differ=not start.map_classes)
        return own, Choice("weights", name, "given; without the classifier where classes differ")
    if start.pretrained is not None:
        return start, Choice("pretrained", str(start.pretrained), "given; of the backbone")
    if same and named.name in SHIPPED:
        own = replace(start, weights="default", num_classes_may_differ=True)
        return own, Choice("weights", SHIPPED[named.name], "they ship; without the classifier where classes differ")
    if same_but_for_bands(named.network, wanted.network) and named.pretrained is not None:
        if found_pretrained(named.pretrained) is not None:
            why = "ImageNet weights of the backbone, found on this machine"
            return replace(start, pretrained="auto"), Choice("pretrained", named.pretrained, why)
        why = f"none ship for {named.name}, and {named.pretrained} is not on this machine: --pretrained auto gets it"
        return start, Choice("weights", "random", why)
    return start, Choice("weights", "random", "none ship for this network; --weights or --pretrained FILE says others")


def load_start(model: Segmenter, recipe: Recipe, start: Start, classes: Classes, *, own: bool) -> list[str]:
    """Load what a training of `recipe` on data of these classes starts from; what happened, in lines.

    Args:
        own: the data are somebody's own, for which what a recipe goes on from says nothing.

    Raises:
        ValueError: nothing to load where the recipe goes on from something, or it doesn't fit (see `load_weights`).
        FileNotFoundError, ConnectionError: it is not there, or can't be had.
    """
    if start.weights is not None:
        report = load_weights(
            model,
            named_weights(recipe, start.weights),
            num_classes_may_differ=start.num_classes_may_differ,
            sizes_may_differ=start.sizes_may_differ,
        )
    elif start.pretrained is not None:
        backbone = recipe.pretrained if start.pretrained == "auto" else start.pretrained
        if backbone is None:
            raise ValueError(f"{recipe.name} names no pretrained weights; give a file: --pretrained FILE")
        report = load_backbone(model, backbone, sizes_may_differ=start.sizes_may_differ, partial=start.partial)
    elif recipe.starts_from is not None and not own:
        raise ValueError(
            f"{recipe.name} goes on from the weights of {recipe.starts_from}: give them with --weights FILE, as in"
            f" `segattn show {recipe.name}`"
        )
    else:
        return []
    try:
        mapped = fit_classes(model, classes, start.weights, by_name=start.map_classes)
    except ValueError as error:
        anew = "--num-classes-may-differ loads all but the classifier layers, to train these anew"
        raise ValueError(f"{error}; {anew}") from None
    return [str(report), *([f"{start.weights}: {mapped}"] if mapped else [])]
