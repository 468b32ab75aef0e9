"""The content of a file of weights, and the recipes that it fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from segattn.contracts import cut
from segattn.models.networks import BACKBONE_MAPS, KEY_MAPS, Network
from segattn.normalization import Normalization
from segattn.recipes.catalog import RECIPES
from segattn.tables import table_lines
from segattn.weights.archive import kind_of
from segattn.weights.checkpoint import model_file, read_description
from segattn.weights.extract import extract
from segattn.weights.fit_size import fit_trained_size, without_class_token
from segattn.weights.load import count_not_finite, listed
from segattn.weights.match import Match, Reading, class_counts, explain_names, match, network_shapes, read_names
from segattn.weights.reading import Checkpoint, ForeignObjectsError, open_checkpoint


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


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The content of a file of weights, and the recipes that it fits.

    Attributes:
        kind: of file, in words; `size` in bytes.
        foreign: objects for which the file is refused as it is.
        description: what a file of ours says of itself, in words by topic; empty for others.
        tensors, values: their number, and that of the numbers in them; `types` counts tensors by type.
        wrapper: the key that the tensors lie under; None if there is none.
        beside: what else the file holds.
        damaged: by tensor, how many values are NaN or infinite.
        fits: the best first.
        nearest: without a fit, what keeps the nearest recipe from fitting.
    """

    file: str
    kind: str
    size: int
    foreign: tuple[str, ...]
    description: dict[str, str]
    tensors: int
    values: int
    types: dict[str, int]
    wrapper: str | None
    beside: tuple[str, ...]
    damaged: dict[str, int]
    fits: tuple[Fit, ...]
    nearest: str

    def __str__(self) -> str:
        return self.text()

    def text(self, *, padded: bool = True) -> str:
        """All of it in words, a topic and what is known of it a line; not `padded`, a tab is between the two."""
        rows: list[tuple[str, str]] = list(self.description.items())
        if self.foreign:
            way_out = f"`segattn weights extract {self.file} OUT.safetensors` leaves them out"
            rows.append(("holds", f"{listed(self.foreign)}: refused as it is; {way_out}"))
        under = f" under `{self.wrapper}`" if self.wrapper else ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.types.items())
        rows.append(("tensors", f"{self.tensors}{under} ({kinds}), {self.values:,} values"))
        if self.beside:
            rows.append(("beside", listed(self.beside)))
        if self.damaged:
            found = f"{sum(self.damaged.values()):,} values that are NaN or infinite, in {listed(tuple(self.damaged))}"
            rows.append(("damaged", f"{found}: it can't be loaded"))
        for fit in self.fits:
            but = f": {fit.but}" if fit.but else ""
            rows.append(("fits" if fit.whole else "backbone", f"{fit.recipe} ({fit.naming} names){but}"))
        if not self.fits:
            rows.append(("fits", f"no recipe{f'. Nearest: {self.nearest}' if self.nearest else ''}"))
        heading = f"{self.file}: {self.kind}, {self.size / 2**20:.1f} MiB"
        return "\n".join([heading, *table_lines(rows, left={0, 1}, padded=padded)])


def inspect(path: str | Path) -> Inspection:
    """The content of a file and the recipes that it fits. Nothing in the file is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tensors can be read from it.
    """
    path = model_file(path)
    foreign: tuple[str, ...] = ()
    try:
        checkpoint, description = open_checkpoint(path), _described(path)
    except ForeignObjectsError:
        found = extract(path)
        checkpoint = Checkpoint(str(path), found.tensors, None, tuple(found.left_out), {})
        foreign, description = tuple(found.foreign), {}
    tensors = checkpoint.tensors
    fits, nearest = identify(tensors)
    return Inspection(
        file=str(path),
        kind=_KINDS[kind_of(path)],
        size=path.stat().st_size,
        foreign=foreign,
        description=description,
        tensors=len(tensors),
        values=sum(tensor.numel() for tensor in tensors.values()),
        types=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()).most_common()),
        wrapper=checkpoint.wrapper,
        beside=tuple(checkpoint.beside),
        damaged={name: count for name, tensor in tensors.items() if (count := count_not_finite(tensor))},
        fits=tuple(fits),
        nearest=nearest,
    )


def _described(path: Path) -> dict[str, str]:
    content = read_description(path)
    if content is None:
        return {}
    recipe, classes = content.get("recipe", {}), content.get("classes", {})
    names = classes.get("names")
    names = tuple(map(str, names)) if isinstance(names, list) else ()
    topics = {"ours": f"recipe {cut(str(recipe.get('name')))}, segattn {cut(str(content.get('version')))}"}
    topics["classes"] = f"{len(names)}: {listed(names, 256)}"
    if content.get("step") is not None:
        topics["step"] = cut(str(content["step"]))
    if (temperature := content.get("temperature")) is not None:
        topics["calibrated"] = f"at temperature {temperature:.4g}"
    if scores := content.get("scores"):
        topics["scores"] = listed(tuple(f"{name} {value:.2f}" for name, value in scores.items() if value is not None))
    return topics


_KINDS = {"safetensors": "safetensors", "zip": "PyTorch (zip)", "pickle": "PyTorch (before 1.6)"}


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
