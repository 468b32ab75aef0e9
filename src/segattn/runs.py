"""From a recipe and the folder of somebody's own data to a trained model: all that is done around the training loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn

from segattn.api import create_model, load_teacher, open_split, open_unlabelled
from segattn.contracts import SegmentationDataset, counted, cut
from segattn.datasets.facts import facts
from segattn.datasets.folder import FolderDataset
from segattn.files import require_writable
from segattn.machine import native_bf16, settle_on, usable_cores
from segattn.models.segmenter import Segmenter
from segattn.processes import ending_together, gathered, joined, place, processes_here
from segattn.recipes.catalog import recipe as find_recipe
from segattn.recipes.own_data import Budget, Choice, DataFacts, MachineFacts, fit_recipe, table
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_yaml, override
from segattn.training.auto_batch import fit_batch
from segattn.training.continuation import continued, with_more
from segattn.training.pace import measure_pace
from segattn.training.state import RunFolder
from segattn.training.train import TrainingResult
from segattn.training.train import train as run_loop
from segattn.weights.start import Start, load_start, own_start

RUNS = Path("runs")
"""The folder of runs' folders, in the current one."""


@overload
def train(
    model: str | Recipe,
    *,
    data: str | Path | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    more: float | None = None,
    output: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> TrainingResult: ...


@overload
def train(model: nn.Module, recipe: Recipe, **options: Any) -> TrainingResult: ...


def train(model: nn.Module | str | Recipe, recipe: Recipe | None = None, **options: Any) -> TrainingResult:
    """Train a recipe on a folder of your own data, or a model of yours by a recipe.

    ``train("attanet_light_camvid", data="my_data")`` is `segattn.runs.train_recipe`: everything that the data and the
    machine decide is chosen, and printed. ``train(model, recipe, train_set=..., val_set=..., output_dir=...)`` is the
    loop alone (`segattn.training.train.train`), which trains `model` in place as the recipe says.

    Returns:
        A `TrainingResult`: steps done, the best validation, and the signal that stopped it, if one did.

    Raises:
        ValueError, OSError: as these two functions say.
    """
    if isinstance(model, nn.Module):
        if recipe is None:
            raise ValueError("a model is trained by a recipe: train(model, recipe, train_set=..., ...)")
        return run_loop(model, recipe, **options)
    if recipe is not None:
        raise ValueError("train(model, recipe, ...) takes an nn.Module first; for a recipe alone give data=")
    return train_recipe(model, **options)


@ending_together()
def train_recipe(
    recipe: str | Recipe,
    *,
    data: str | Path | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    more: float | None = None,
    output: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    start: Start | None = None,
    auto_batch: bool = False,
    say: Callable[[str], None] = print,
    resume: bool = True,
    allow_absent_classes: bool = False,
    device: torch.device | str = "auto",
    **options: Any,
) -> TrainingResult:
    """Train a recipe's network on the data that it names, or fitted to a folder of your own.

    With `data`, every choice is handed to `say` in one table before the first step, and is in the recipe.yaml of the
    run's folder; a run that continues keeps all of them.

    Args:
        recipe: a name, a YAML file, or a recipe.
        data: a folder with images, masks and a dataset.yaml (docs/own-data.md). None for the recipe's own data.
        epochs, minutes: how long to train on `data`; minutes by a pace that is measured first.
        more: epochs that a finished run in `output` goes on for, on a schedule of their own (a warm restart).
        output: the run's folder; by default runs/ and the name of `data`, or of the recipe.
        overrides: fields of the recipe by path, which no choice changes, such as {"training.batch_size": 4}.
        start: what the network starts from. By default with `data` the recipe's shipped weights but for the classifier,
            or ImageNet weights that are on this machine, else random ones.
        auto_batch: look how much of a batch fits into memory; with `data` an accelerator's is always looked at.
        resume, allow_absent_classes, device, options: as for `segattn.training.train.train`.

    Raises:
        ValueError, FileNotFoundError: as `segattn.training.train.train`; and contradictions, naming both sides.
    """
    given = {key: value if isinstance(value, str) else json.dumps(value) for key, value in (overrides or {}).items()}
    named = _find(recipe)
    budget = Budget(epochs=epochs, minutes=minutes)
    root = None if data is None else Path(data)
    _refuse_contradictions(root, budget, more, resume)
    folder = Path(output) if output is not None else RUNS / (named.name if root is None else _run_name(root))
    require_writable(folder)
    joined(cpu=settle_on(device))
    about = RunFolder(folder, named)
    augmented = options.get("augmentation") is not None
    run = _Run(named, start or Start(), given, about, resume, allow_absent_classes, device, auto_batch, augmented)
    speak = say if place().rank == 0 else _silent
    if more is not None:
        chosen, words = with_more(run.folder, root, more, given)
        speak(words)
        model, sets = run.open(chosen)
    elif root is not None and resume and run.folder.begun:
        chosen, words = continued(run.folder, root, given, budget)
        speak(words)
        model, sets = run.open(chosen)
    elif root is not None:
        chosen, model, sets = run.fit(root, budget, speak)
    else:
        chosen = override(named, given) if given else named
        model, sets = run.open(chosen)
        for line in load_start(model, chosen, run.start, sets[0].classes, own=False):
            speak(line)
        if auto_batch:
            chosen = run.fit_memory(chosen, model, sets[0], load_teacher(chosen), speak)
    result = run_loop(
        model,
        chosen,
        train_set=sets[0],
        val_set=sets[1],
        output_dir=folder,
        teacher=load_teacher(chosen),
        unlabelled_set=open_unlabelled(chosen),
        resume=resume,
        allow_absent_classes=allow_absent_classes or auto_batch,  # that has looked for them
        device=device,
        **options,
    )
    if root is not None and result.interrupted is None:
        best = (
            ""
            if result.best is None
            else f", best mIoU {result.best:.2f} on the {counted(len(sets[1]), 'image')} held out"
        )
        speak(f"{folder}: done{best}; label others: segattn predict IMAGES --model {folder}")
    return result


Sets = tuple[SegmentationDataset, SegmentationDataset]


@dataclass(frozen=True)
class _Run:
    """What was asked for."""

    named: Recipe
    start: Start
    given: Mapping[str, str]
    folder: RunFolder
    resume: bool
    allow_absent_classes: bool
    device: torch.device | str
    auto_batch: bool
    augmented: bool
    """By a callable of the caller's, in place of the recipe's transforms."""

    def open(self, recipe: Recipe) -> tuple[Segmenter, Sets]:
        """The recipe's network with random weights, and its data."""
        sets = open_split(recipe, recipe.data.train_split), open_split(recipe, recipe.data.val_split)
        torch.manual_seed(recipe.training.seed)  # of the random initial weights
        model = create_model(recipe)
        model.classes = sets[0].classes
        return model, sets

    def fit(self, root: Path, budget: Budget, speak: Callable[[str], None]) -> tuple[Recipe, Segmenter, Sets]:
        """The recipe fitted to data and machine, its network with what it starts from, and the data."""
        data, machine = _data_facts(root, self.given), _machine_facts(settle_on(self.device))
        trial = fit_recipe(self.named, data, machine, replace(budget, minutes=None), given=self.given).recipe
        model, sets = self.open(trial)
        start, row = own_start(self.start, self.named, trial)
        source = replace(trial, name=self.named.name, checkpoint=self.named.checkpoint)
        lines = load_start(model, source, start, sets[0].classes, own=True)
        if self.auto_batch or machine.device != "cpu":
            trial = self.fit_memory(trial, model, sets[0], load_teacher(trial), _silent)
            machine = replace(machine, accumulation=trial.training.accumulation)
        pace = None
        if budget.minutes is not None:
            cpu = settle_on(self.device)
            pace = gathered(measure_pace(model, trial, *sets, teacher=load_teacher(trial), cpu=cpu))[0]
        fitted = fit_recipe(self.named, data, machine, budget, given=self.given, pace=pace)
        choices = [
            choice for choice in fitted.choices if not (self.augmented and choice.field.startswith("augmentation"))
        ]
        if self.augmented:
            choices.append(Choice("augmentation", "a callable", "given, in place of the recipe's transforms and crops"))
        speak("\n".join([table((row, *choices)), *lines]))
        kept = (line for line in fitted.recipe.deviations if not (self.augmented and line.startswith("augmentation.")))
        told = (*kept, f"{row.field} {row.value}: {row.why}")
        return replace(fitted.recipe, deviations=told), model, sets

    def fit_memory(
        self,
        recipe: Recipe,
        model: Segmenter,
        train_set: SegmentationDataset,
        teacher: Segmenter | None,
        speak: Callable[[str], None],
    ) -> Recipe:
        """The recipe with the parts of a batch that fit into memory."""
        recipe, summary = fit_batch(
            model,
            recipe,
            train_set,
            output_dir=self.folder.path,
            teacher=teacher,
            resume=self.resume,
            allow_absent_classes=self.allow_absent_classes,
            device=self.device,
        )
        speak(summary)
        return recipe


def _silent(message: str) -> None:
    pass


def _find(recipe: str | Recipe) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    return from_yaml(Recipe, recipe) if recipe.endswith((".yaml", ".yml")) else find_recipe(recipe)


def _refuse_contradictions(root: Path | None, budget: Budget, more: float | None, resume: bool) -> None:
    asked = next((name for name in ("epochs", "minutes") if getattr(budget, name) is not None), None)
    if asked and root is None:
        raise ValueError(f"{asked}: for a folder of your own (--data DIR); other trainings have schedule.iterations")
    if asked and more is not None:
        raise ValueError(f"{asked} and more: more says itself how many epochs come; give one of the two")
    if more is not None and not resume:
        raise ValueError("more goes on with a run, and fresh removes it; give one of the two")


def _run_name(root: Path) -> str:
    """The name of a folder's run: its own."""
    name = "".join(letter if letter.isprintable() else "_" for letter in root.resolve().name).lstrip(".")
    while len(name.encode(errors="replace")) > 200:
        name = name[:-1]
    return name or "own_data"


def _data_facts(root: Path, given: Mapping[str, str]) -> DataFacts:
    """What is known of a folder of data, the same in every process.

    Raises:
        ValueError, FileNotFoundError: as `FolderDataset`; or both splits are the same images.
    """
    train, val = (FolderDataset(root, given.get(f"data.{split}_split", split)) for split in ("train", "val"))
    if {pair.image for pair in train.pairs} & {pair.image for pair in val.pairs}:
        raise ValueError(
            f"{train.description.path}: images {cut(train.description.images)} are the same for train and val: write"
            " `val: 0.2`, which holds that share out, or name folders with {split}"
        )
    found = gathered(facts(train) if place().rank == 0 else None)[0]
    assert found is not None
    return DataFacts(
        root=str(root),
        name=_run_name(root),
        classes=train.classes.names,
        train=len(train),
        val=len(val),
        size=found.size,
        shares=found.shares,
        masks=found.masks,
        bands=found.bands,
    )


def _machine_facts(cpu: bool) -> MachineFacts:
    device = joined(cpu=cpu).device
    return MachineFacts(
        device=device.type,
        cores=max(usable_cores() // processes_here(), 1),
        processes=place().world,
        bf16=all(gathered(native_bf16(device))),
    )
