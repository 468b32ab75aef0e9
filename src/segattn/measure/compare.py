"""Several networks under one data set, augmentation, loss, schedule and protocol, side by side.

`controlled` (`measure/controlled.py`) says what is held fixed and what can't be. All models are scored as they are
after the last step, not at their best validation, so that no score is chosen by the split it is measured on.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from pathlib import Path

import torch

from segattn import __version__
from segattn.api import create_model, load_model, load_teacher, open_split, open_unlabelled
from segattn.contracts import SegmentationDataset
from segattn.evaluation.evaluate import evaluate
from segattn.files import checksum
from segattn.machine import device_in_words, machine, pick_device, provenance
from segattn.measure.benchmark import Settings, measure
from segattn.measure.comparison import Comparison, Row, known_rows
from segattn.measure.complexity import complexity
from segattn.measure.controlled import controlled
from segattn.processes import place
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import to_dict
from segattn.training.divergence import DivergedError
from segattn.training.optim import matches
from segattn.training.state import differences
from segattn.training.train import train
from segattn.weights.classes import fit_classes

_NOT_CONDITIONS = ("name", "network", "pretrained")


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """A signal stopped a training; all is saved."""


@dataclass(frozen=True)
class _Trained:
    """A network to score, or the reason why there is none."""

    recipe: Recipe
    notes: tuple[str, ...]
    file: Path | None
    steps: int | None = None
    best_validation: float | None = None
    classes_by_name: bool = False


def plan(own: Recipe, base: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """`controlled`, without the base's parameter rules that match nothing in this network.

    Raises:
        ValueError: the recipe's network names a part that does not exist.
    """
    recipe, notes = controlled(own, base)
    with torch.device("meta"):
        model = recipe.network.build(recipe.data.num_classes)
    rules = tuple(
        rule
        for rule in recipe.parameter_rules
        if recipe is base or any(matches(rule, name, parameter) for name, parameter in model.named_parameters())
    )
    dropped = [rule for rule in recipe.parameter_rules if rule not in rules]
    more = tuple(f"no rate or decay of its own for {rule.pattern!r}: no such parameter" for rule in dropped)
    return replace(recipe, parameter_rules=rules), notes + more


def compare_recipes(
    recipes: Sequence[Recipe],
    base: Recipe,
    output: Path,
    *,
    split: str | None = None,
    device: str = "auto",
    resume: bool = True,
    allow_absent_classes: bool = False,
) -> Comparison:
    """Train the network of every recipe as `base` says, then score and measure it.

    Args:
        output: each network's run is in the folder of its recipe's name there, as `segattn train` leaves it. Runs are
            continued, or taken as they are if complete; `comparison.json` and `.md` are written after every row.
        split: to score on; the base's validation split by default.
        resume: false begins every run anew.
        allow_absent_classes: as for `segattn.train`.

    Raises:
        ValueError: two recipes of one name, a folder that holds a run under other conditions, no data root, or several
            processes.
        FileNotFoundError: the data are not there.
        Stopped: by SIGTERM or SIGINT. The same call continues.
    """
    if place().world > 1:
        raise ValueError(
            "a comparison runs in one process; train the recipes one by one with several, then use --score-only"
        )
    _refuse_twins([recipe.name for recipe in recipes])
    plans = [plan(own, base) for own in recipes]
    pick_device(device)  # a name that is wrong is refused before the data is read
    train_set, val_set = open_split(base, base.data.train_split), open_split(base, base.data.val_split)
    scored = open_split(base, split or base.data.val_split)
    teacher, unlabelled = load_teacher(base), open_unlabelled(base)

    def trained(recipe: Recipe, notes: tuple[str, ...]) -> _Trained:
        folder = output / recipe.name
        torch.manual_seed(recipe.training.seed)
        model = create_model(recipe)
        model.classes = train_set.classes
        try:
            result = train(
                model,
                recipe,
                train_set=train_set,
                val_set=val_set,
                output_dir=folder,
                teacher=teacher,
                unlabelled_set=unlabelled,
                resume=resume,
                allow_absent_classes=allow_absent_classes,
                device=device,
            )
        except DivergedError as error:
            return _Trained(recipe, (*notes, f"its training failed: {error}"), None)
        if result.interrupted:
            raise Stopped
        best = None if result.best is None or isnan(result.best) else result.best
        return _Trained(recipe, notes, folder / "last.safetensors", result.step, best)

    conditions = _conditions(base, split, device) | {
        "training": f"{base.schedule.iterations} steps of {base.training.batch_size} images as in {base.name}, "
        "from random weights; the model after the last step",
    }
    return _run([partial(trained, *planned) for planned in plans], base, scored, conditions, output, device)


def compare_models(
    files: Sequence[Path],
    base: Recipe,
    output: Path,
    *,
    split: str | None = None,
    device: str = "auto",
    classes_by_name: bool = False,
) -> Comparison:
    """Score and measure trained models (`.safetensors` of ours) on the data and by the protocol of `base`.

    Args:
        output: gets `comparison.json` and `.md`; rows that are there and still hold are not computed anew.
        classes_by_name: put the outputs of a model whose classes are the data set's in another order in its order.

    Raises:
        ValueError: a model with other classes than the data set, or that does not describe itself.
        FileNotFoundError: a file, or the data, are not there.
    """
    scored = open_split(base, split or base.data.val_split)
    recipes, moved = [], {}
    for file in files:
        recipe, model = load_model(file)
        recipes.append(recipe)
        moved[file] = fit_classes(model, scored.classes, file, by_name=classes_by_name)
    names = [recipe.name for recipe in recipes]
    if len(set(names)) < len(names):
        names = [str(file) for file in files]
    _refuse_twins(names)

    def named(file: Path, name: str, recipe: Recipe) -> _Trained:
        lines = differences(to_dict(recipe), to_dict(base))
        keys = dict.fromkeys(line.split(":")[0].split(".")[0] for line in lines)
        other = [key for key in keys if key not in _NOT_CONDITIONS]
        notes: tuple[str, ...] = (f"trained under other conditions: {', '.join(other)}",) if other else ()
        done = moved[file]
        notes += () if done is None else (done,)
        return _Trained(replace(recipe, name=name), notes, file, classes_by_name=classes_by_name)

    jobs = [partial(named, *each) for each in zip(files, names, recipes, strict=True)]
    return _run(jobs, base, scored, _conditions(base, split, device), output, device)


def _refuse_twins(names: Sequence[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"{', '.join(twins)}: named more than once; rows and folders go by the name")


def _conditions(base: Recipe, split: str | None, device: str) -> dict[str, str]:
    height, width = base.data.count_at
    return {
        "data": f"{base.data.dataset}, scored on {split or base.data.val_split}",
        "protocol": base.protocol.describe(),
        "device": device_in_words(pick_device(device)),
        "cost": f"one image of {height}x{width}, float32, on {_cost_device(device)}; the peak is the whole process's",
    }


def _cost_device(device: str) -> str:
    """The device on which time and memory are measured: benchmarks know CPU and CUDA."""
    picked = pick_device(device)
    return str(picked) if picked.type == "cuda" else "cpu"


def _run(
    jobs: Sequence[Callable[[], _Trained]],
    base: Recipe,
    scored: SegmentationDataset,
    conditions: dict[str, str],
    output: Path,
    device: str,
) -> Comparison:
    known = known_rows(output)
    found = Comparison(conditions, provenance(), ())
    for job in jobs:
        trained = job()
        weights = checksum(trained.file) if trained.file else None
        key = _key(trained, weights, base, scored, conditions)
        row = known.get(key) or _row(trained, key, base, scored, device)
        # these come from the run, not from what the key covers
        row = replace(
            row,
            notes=trained.notes,
            steps=trained.steps,
            best_validation=trained.best_validation,
            file=str(trained.file) if trained.file else None,
            sha256=weights,
        )
        found = replace(found, rows=(*found.rows, row))
        found.write(output)
        gc.collect()
    return found


def _key(
    trained: _Trained, weights: str | None, base: Recipe, scored: SegmentationDataset, conditions: dict[str, str]
) -> str:
    facts = [weights, trained.recipe.name, to_dict(trained.recipe.network), to_dict(base.protocol), to_dict(base.data)]
    rest = [len(scored), scored.classes.names, conditions["data"], conditions["cost"], machine(), __version__]
    return hashlib.sha256(json.dumps([*facts, *rest], sort_keys=True).encode()).hexdigest()[:32]


def _row(trained: _Trained, key: str, base: Recipe, scored: SegmentationDataset, device: str) -> Row:
    recipe = replace(trained.recipe, data=base.data)
    with torch.device("meta"):
        network = recipe.network.build(base.data.num_classes)
    count = complexity(network, base.data.count_at)
    cost = measure(recipe, base.data.count_at, Settings(device=_cost_device(device)))
    scores = None
    if trained.file is not None:
        model = load_model(trained.file)[1]
        fit_classes(model, scored.classes, trained.file, by_name=trained.classes_by_name)
        scores = evaluate(model.to(pick_device(device)), scored, base.protocol, progress=True)
    return Row(
        name=recipe.name,
        key=key,
        parameters=count.parameters,
        parameters_without_auxiliary=count.parameters_without_auxiliary,
        macs=count.macs,
        seconds=cost.seconds,
        clock=cost.clock,
        memory=cost.memory,
        memory_built=cost.memory_built,
        steps=trained.steps,
        best_validation=trained.best_validation,
        miou=_number(scores.miou) if scores else None,
        macc=_number(scores.macc) if scores else None,
        aacc=_number(scores.aacc) if scores else None,
        per_class={
            name: {"iou": _number(score.iou), "acc": _number(score.acc), "pixels": score.pixels}
            for name, score in (scores.per_class if scores else {}).items()
        },
        notes=(),
    )


def _number(value: float) -> float | None:
    return None if isnan(value) else value
