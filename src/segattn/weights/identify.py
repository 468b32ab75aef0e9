"""Which recipes a file of weights fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from segattn.contracts import Normalization
from segattn.models.networks import BACKBONE_MAPS, KEY_MAPS, Network
from segattn.recipes.catalog import RECIPES
from segattn.weights.fit_size import fit_trained_size, without_class_token
from segattn.weights.match import Match, Reading, class_counts, explain_names, match, read_names
from segattn.weights.shapes import network_shapes


@dataclass(frozen=True)
class Fit:
    """How a file fits a recipe's network.

    Attributes:
        recipe: its name.
        whole: the whole network, not the backbone alone.
        naming: whose names the file has.
        but: what does not fit as it is, in words; empty if all does.
    """

    recipe: str
    whole: bool
    naming: str
    but: str


def identify(found: Mapping[str, Tensor]) -> tuple[list[Fit], str]:
    """All recipes that a file's tensors fit, the best fits first; if none, what keeps the nearest one from fitting.

    Takes some two seconds: it builds every network, without memory for its weights.
    """
    whole_names = read_names(found, KEY_MAPS)
    backbone_tensors = without_class_token(found)
    backbone_names = [*read_names(found, BACKBONE_MAPS), *whole_names]
    fits: list[Fit] = []
    nearest: tuple[int, str, Match | None] = (0, "", None)
    known: dict[tuple[Network, int], dict[str, Tensor]] = {}
    for name, recipe in RECIPES.items():
        plain = replace(recipe.network, normalization=Normalization())
        key = (plain, recipe.data.num_classes)
        if key not in known:
            known[key] = network_shapes(plain, recipe.data.num_classes)
        target = known[key]
        result = match(whole_names, target)
        fit = _fit(name, True, result, found, target)
        if fit is None:
            if len(result.pairs) > nearest[0]:
                nearest = (len(result.pairs), name, result)
            fit = _fit_backbone(name, backbone_names, backbone_tensors, target)
        if fit is not None:
            fits.append(fit)
    fits.sort(key=lambda fit: (not fit.whole, bool(fit.but)))
    _, name, closest = nearest
    return fits, "" if fits or closest is None else f"{name}: {explain_names(closest)}"


def _fit_backbone(
    name: str, readings: list[Reading], found: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> Fit | None:
    backbone = {key: value for key, value in target.items() if key.startswith("backbone.")}
    return _fit(name, False, match(readings, backbone, heads_are_extra=True), found, backbone)


def _fit(
    name: str, whole: bool, result: Match, found: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> Fit | None:
    if not result.names_fit:
        return None
    misfits = result.misfits(found, target)
    but = ""
    if misfits:
        counts = class_counts(result, misfits, found, target)
        changed = fit_trained_size({key: found[result.pairs[key]] for key in misfits}, target)[1]
        if set(misfits) <= set(changed):
            but = "trained at another image size (--sizes-may-differ)"
        elif whole and counts is not None:
            but = f"{counts[0]} classes in the file, {counts[1]} in the recipe (--num-classes-may-differ)"
        else:
            return None
    return Fit(name, whole, result.naming.name, but)
