"""Runs that go on: by the choices that they began with, or with more epochs after their end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from segattn.contracts import SegmentationDataset, counted
from segattn.datasets.catalog import open_dataset
from segattn.processes import gathered, place
from segattn.recipes.own_bands import same_but_for_bands
from segattn.recipes.own_data import Budget, labelled_steps, shorter_warmup
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import override
from segattn.training.lock import RunLock
from segattn.training.state import RunFolder


def continued(folder: RunFolder, data: Path, given: Mapping[str, str], budget: Budget) -> tuple[Recipe, str]:
    """The recipe by which the run that a folder holds goes on, and in words what it is.

    Args:
        folder: with the recipe that is named now.
        data: the folder of data that is named now.
        given: fields that are set now; a run with others is refused by `RunFolder.prepare`.
        budget: minutes were measured when the run began, and say nothing now.

    Raises:
        ValueError: it is a run of another network or on other data, or of another number of epochs.
    """
    recipe, step = _saved(folder)
    recipe = _with_data(folder, recipe, data)
    _require_network(folder, recipe, given)
    recipe = override(recipe, given) if given else recipe
    schedule = recipe.schedule
    if budget.epochs is not None and not schedule.start:
        images = len(_train_set(recipe))
        steps = max(1, round(budget.epochs * labelled_steps(images, recipe)))
        if steps != schedule.iterations:
            raise ValueError(
                f"{folder.path}: holds a run of {schedule.iterations} steps, and {budget.epochs:g} epochs are {steps}:"
                " give the epochs that it began with (when it is done, --more gives it others), choose another output"
                " folder, or start afresh"
            )
    where = "is done" if step == schedule.iterations else f"goes on after step {step} of {schedule.iterations}"
    return recipe, f"{folder.path}: the run there {where}, by the recipe that was chosen when it began (recipe.yaml)"


def with_more(folder: RunFolder, data: Path | None, epochs: float, given: Mapping[str, str]) -> tuple[Recipe, str]:
    """Let the finished run that a folder holds go on for `epochs`; its recipe from now on, and in words what comes.

    The schedule begins anew, with a warm-up of its own, from the last weights, averages and optimiser state (a warm
    restart, Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983, by this recipe's decay instead of a cosine).

    Raises:
        ValueError: there is no run, or one that isn't finished, or one of another network or on other data.
    """
    if not 0 < epochs < 1e6:
        raise ValueError(f"more {epochs:g}: expected a number of epochs above 0 and below a million")
    if not folder.begun:
        raise ValueError(f"{folder.path}: no run is there to go on with; train one first, without --more")
    recipe, step = _saved(folder)
    if data is not None:
        recipe = _with_data(folder, recipe, data)
    _require_network(folder, recipe, given)
    images, before = len(_train_set(recipe)), recipe.schedule
    steps = max(1, round(epochs * labelled_steps(images, recipe)))
    if step < before.iterations:
        if before.start and before.iterations - before.start == steps:  # the same command, after it was stopped
            recipe = override(recipe, given) if given else recipe
            return recipe, f"{folder.path}: the {epochs:g} more epochs go on after step {step} of {before.iterations}"
        raise ValueError(
            f"{folder.path}: the run there is at step {step} of {before.iterations}; to finish it first give the"
            f" command that began it, or `segattn train {folder.path}/recipe.yaml --output {folder.path}`"
        )
    warmup = None if before.warmup is None else shorter_warmup(before.warmup, steps)
    schedule = replace(before, start=step, iterations=step + steps, warmup=warmup)
    recipe = replace(recipe, schedule=schedule)
    recipe = override(recipe, given) if given else recipe
    with RunLock(folder.path, enabled=place().rank == 0):
        if place().rank == 0:
            folder.extend(recipe)
    gathered(None)
    warmup = recipe.schedule.warmup
    drawn = f"{epochs:g} more {'epoch' if epochs == 1 else 'epochs'} of {counted(images, 'image')}"
    return recipe, (
        f"{folder.path}: {drawn}, {counted(steps, 'step')} after the {step} that are done: a warm restart from the last"
        f" weights, the rate from {recipe.schedule.lr:g} down again"
        + (f" after a warm-up, steps: {warmup.iterations}" if warmup else "")
    )


def _saved(folder: RunFolder) -> tuple[Recipe, int]:
    saved = folder.saved()
    assert saved is not None, "asked of a folder that holds a run"
    return saved


def _with_data(folder: RunFolder, recipe: Recipe, data: Path) -> Recipe:
    """The recipe with the place of its data, which may have moved but not be others."""
    before = recipe.data.root
    same = before is not None and (Path(before).resolve() == data.resolve() or not Path(before).exists())
    if recipe.data.dataset != "folder" or not same:
        raise ValueError(
            f"{folder.path}: holds a run on other data ({recipe.data.dataset} in {before}), not on {data}; choose"
            " another output folder, or start afresh"
        )
    return replace(recipe, data=replace(recipe.data, root=str(data)))


def _require_network(folder: RunFolder, recipe: Recipe, given: Mapping[str, str]) -> None:
    network = {key: text for key, text in given.items() if key.startswith("network.")}
    bands = ("network.in_channels", "network.normalization") if recipe.network.normalization.stored else ()
    named = override(folder.recipe, {key: text for key, text in network.items() if not key.startswith(bands)})
    same = same_but_for_bands(named.network, recipe.network) if bands else named.network == recipe.network
    if not same or override(recipe, network).network != recipe.network:
        raise ValueError(
            f"{folder.path}: holds a run of another network than {named.name}'s; choose another output folder, or start"
            " afresh"
        )


def _train_set(recipe: Recipe) -> SegmentationDataset:
    data = recipe.data
    if data.root is None:
        raise ValueError(f"{recipe.name}: where is {data.dataset}? Give its folder with --data.root DIR")
    return open_dataset(data.dataset, data.root, data.train_split)
