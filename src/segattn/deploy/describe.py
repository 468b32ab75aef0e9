"""A recipe in words: what the network costs, what was claimed and measured, and the commands that reproduce it."""

from __future__ import annotations

import torch

from segattn.deploy.reproduce import accuracies, how_to
from segattn.models.complexity import complexities
from segattn.recipes.schema import Claim, Recipe


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
