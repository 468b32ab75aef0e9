"""The content of a file of weights, and the recipes that it fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from segattn.contracts import Normalization, cut
from segattn.models.networks import BACKBONE_MAPS, KEY_MAPS, Network
from segattn.recipes.catalog import RECIPES
from segattn.weights.archive import kind_of
from segattn.weights.checkpoint import model_file, read_description
from segattn.weights.extract import extract
from segattn.weights.fit_size import fit_trained_size, without_class_token
from segattn.weights.load import count_not_finite, listed
from segattn.weights.match import Match, Reading, class_counts, explain_names, match, network_shapes, read_names
from segattn.weights.reading import Checkpoint, ForeignObjectsError, open_checkpoint


def inspect(path: str | Path) -> str:
    """The content of a file and the recipes that it fits, as text of some lines. Nothing in the file is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tensors can be read from it.
    """
    path = model_file(path)
    checkpoint, lines = _open(path)
    tensors = checkpoint.tensors
    types = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())
    values = sum(tensor.numel() for tensor in tensors.values())
    under = f" under `{checkpoint.wrapper}`" if checkpoint.wrapper else ""
    lines.insert(0, f"{path}: {_KINDS[kind_of(path)]}, {path.stat().st_size / 2**20:.1f} MiB")
    kinds = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
    lines.append(f"tensors   {len(tensors)}{under} ({kinds}), {values:,} values")
    if checkpoint.beside:
        lines.append(f"beside    {listed(checkpoint.beside)}")
    bad = {name: count for name, tensor in tensors.items() if (count := count_not_finite(tensor))}
    if bad:
        found = f"{sum(bad.values()):,} values that are NaN or infinite, in {listed(tuple(bad))}"
        lines.append(f"damaged   {found}: it can't be loaded")
    fits, nearest = identify(tensors)
    for fit in fits:
        what = "fits" if fit.whole else "backbone"
        lines.append(f"{what:<9} {fit.recipe} ({fit.naming} names){f': {fit.but}' if fit.but else ''}")
    if not fits:
        lines.append(f"fits      no recipe{f'. Nearest: {nearest}' if nearest else ''}")
    return "\n".join(lines)


def _open(path: Path) -> tuple[Checkpoint, list[str]]:
    try:
        return open_checkpoint(path), _described(path)
    except ForeignObjectsError:
        found = extract(path)
    way_out = f"`segattn weights extract {path} OUT.safetensors` leaves them out"
    note = f"holds     {listed(found.foreign)}: refused as it is; {way_out}"
    return Checkpoint(str(path), found.tensors, None, tuple(found.left_out), {}), [note]


def _described(path: Path) -> list[str]:
    content = read_description(path)
    if content is None:
        return []
    recipe, classes = content.get("recipe", {}), content.get("classes", {})
    names = classes.get("names")
    names = tuple(map(str, names)) if isinstance(names, list) else ()
    lines = [f"ours      recipe {cut(str(recipe.get('name')))}, segattn {cut(str(content.get('version')))}"]
    lines.append(f"classes   {len(names)}: {listed(names, 256)}")
    if content.get("step") is not None:
        lines.append(f"step      {cut(str(content['step']))}")
    if (temperature := content.get("temperature")) is not None:
        lines.append(f"calibrated at temperature {temperature:.4g}")
    if scores := content.get("scores"):
        shown = listed(tuple(f"{name} {value:.2f}" for name, value in scores.items() if value is not None))
        lines.append(f"scores    {shown}")
    return lines


_KINDS = {"safetensors": "safetensors", "zip": "PyTorch (zip)", "pickle": "PyTorch (before 1.6)"}


@dataclass(frozen=True)
class Fit:
    """The fit of a file to a recipe's network.

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
