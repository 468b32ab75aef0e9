"""The largest micro-batch that fits into memory, found before a run.

What is searched is how many of the batch's images a process computes at a time. The batch of an optimiser step stays
what the recipe says, and `training.accumulation` becomes the number of parts it is computed in. Losses and gradients
don't depend on that, but for batch norms, which see one part at a time (each process its own), OHEM, Lovasz and Dice.
"""

from __future__ import annotations

import copy
import gc
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segattn.contracts import SegmentationDataset
from segattn.datasets.absent import require_all_classes
from segattn.machine import available_memory, peak_memory, reset_peak, resident_memory, settle_on
from segattn.processes import ending_together, gathered, joined, place, processes_here
from segattn.recipes.schema import Recipe
from segattn.training.loader import Draw, TrainingSet, collate
from segattn.training.optim import EMA, build_optimizer
from segattn.training.state import RunFolder
from segattn.training.step import training_step
from segattn.training.teacher import Teacher, require_teacher

SHARE = 0.8
"""Of the main memory that is left: loading processes and validation want some too."""
RESERVE = 0.05
"""Of an accelerator's memory, which must still be free after the trial."""


class Fitted(NamedTuple):
    """A recipe whose `training.accumulation` fits, and what was found out, in words."""

    recipe: Recipe
    summary: str


@ending_together()
def fit_batch(
    model: nn.Module,
    recipe: Recipe,
    train_set: SegmentationDataset,
    *,
    output_dir: str | Path,
    teacher: nn.Module | None = None,
    resume: bool = True,
    allow_absent_classes: bool = False,
    device: torch.device | str = "auto",
) -> Fitted:
    """The recipe with the least accumulation that this machine's memory allows; `model` is left as it is.

    A candidate is tried by two forward and backward passes and optimiser steps of a copy of the model, on an image of
    the training set, in the run's precision. On an accelerator it is too large when memory runs out. Main memory is
    never filled up, as the system would end the process: what a candidate will take is told from smaller ones first.
    Several processes agree on what fits for all. Sharded parameters (fsdp) are tried whole and compiled networks
    without compiling, so for these more may fit than is found.

    Args:
        output_dir, teacher, resume, allow_absent_classes: as for `train`. A run that continues keeps its accumulation.
        device: "auto" (the accelerator that is there, if any), "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ValueError: the least part is too much, the system doesn't say how much memory it has, or a class without a
            pixel in the training masks.
    """
    batch = recipe.training.batch_size
    saved = RunFolder(output_dir, recipe).accumulation() if resume else None
    if saved is not None:
        return _fitted(recipe, saved, f"the run in {output_dir} goes on with training.accumulation {saved}")
    own = joined(cpu=settle_on(device)).device
    rank, world = place()
    if not allow_absent_classes and rank == 0:
        require_all_classes(train_set)
    require_teacher(recipe, teacher, train_set.classes)
    trial = _Trial(model, recipe, train_set, teacher, own)
    memory = MainMemory() if own.type == "cpu" else AcceleratorMemory(own)
    with torch.random.fork_rng(devices=[]):
        candidates = micro_batches(batch, world, least=trial.least())
        found = min(gathered(largest_that_fits(candidates, lambda count: memory.fits(count, trial)) or 0))
    if not found:
        raise ValueError(
            f"auto-batch: a crop of {trial.size} is too much for {memory}, {candidates[0]} at a time; take a smaller"
            " crop, training.checkpoint_activations true, training.precision bf16, or a smaller network"
        )
    parts = batch // (found * world)
    equation = f"{found} images x {parts} parts x {world} processes"
    return _fitted(
        recipe,
        parts,
        f"{found} crops of {trial.size} at a time fit into {memory};"
        f" training.batch_size {batch} = {equation}, training.accumulation {parts}",
    )


def micro_batches(batch_size: int, processes: int, *, least: int = 1) -> list[int]:
    """Numbers of images that a process can take at a time so that a whole number of times makes the batch, in order.

    Raises:
        ValueError: the batch does not divide by the processes, or leaves each fewer images than `least`.
    """
    share, rest = divmod(batch_size, processes)
    if rest or share < least:
        raise ValueError(
            f"training.batch_size {batch_size} for {processes} processes: expected a multiple of {processes}"
            f" with {least} or more images for each"
        )
    return [count for count in range(least, share + 1) if share % count == 0]


def largest_that_fits(candidates: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The largest of the growing candidates that fits, None if none does: doubling until one doesn't, then halving."""
    if not fits(candidates[0]):
        return None
    low, high = 0, len(candidates)  # candidates[low] fits, candidates[high] doesn't
    while high - low > 1:
        if high < len(candidates):
            middle = (low + high) // 2
        else:
            double = 2 * candidates[low]
            middle = next((index for index in range(low + 1, high) if candidates[index] >= double), high - 1)
        if fits(candidates[middle]):
            low = middle
        else:
            high = middle
    return candidates[low]


class MainMemory:
    """The memory of this machine, as far as it is free now, for all processes on it."""

    def __init__(self) -> None:
        room = available_memory()
        if room is None:
            raise ValueError("auto-batch: this system doesn't say how much memory it has; set training.accumulation")
        self._base = resident_memory()
        self._limit = self._base + int(SHARE * room / processes_here())
        self._seen: list[tuple[int, int]] = []

    def __str__(self) -> str:
        return f"{self._limit / 2**30:.1f} GiB of main memory"

    def fits(self, count: int, trial: Callable[[int], None]) -> bool:
        """Whether `trial(count)` stays below the limit; where it is bound not to, it isn't run."""
        if self._expected(count) > self._limit:
            return False
        reset_peak()
        try:
            trial(count)
        except (RuntimeError, MemoryError) as error:
            _only_memory(error)
            return False
        self._seen.append((count, peak_memory()))
        return self._seen[-1][1] <= self._limit

    def _expected(self, count: int) -> float:
        """The peak, from one trial in proportion, or along a line through the last two."""
        if not self._seen:
            return 0.0
        last, peak = self._seen[-1]
        before, base = self._seen[-2] if len(self._seen) > 1 else (0, self._base)
        return peak + (count - last) * (peak - base) / (last - before)


class AcceleratorMemory:
    """The memory of an accelerator, which says when it has run out."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __str__(self) -> str:
        return f"the memory of {self._device}"

    def fits(self, count: int, trial: Callable[[int], None]) -> bool:
        """Whether `trial(count)` runs through and leaves `RESERVE`."""
        try:
            trial(count)
            fits = self._has_reserve()
        except RuntimeError as error:
            _only_memory(error)
            fits = False
        if not fits:
            gc.collect()  # what the error's traceback held
        torch.get_device_module(self._device).empty_cache()
        return fits

    def _has_reserve(self) -> bool:
        try:  # torch still holds what the trial took
            free, total = torch.accelerator.get_memory_info(self._device)
        except (RuntimeError, AttributeError, NotImplementedError):  # not every kind of device says
            return True
        return free >= RESERVE * total


class _Trial:
    """The work of an optimiser step in two parts, on a copy of the model and as many copies of one image."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        train_set: SegmentationDataset,
        teacher: nn.Module | None,
        device: torch.device,
    ) -> None:
        recipe = replace(recipe, training=replace(recipe.training, compile=False))
        own = copy.deepcopy(model).to(device)
        self._step = training_step(own, recipe).to(device)
        self._teacher: Teacher | None = None
        if teacher is not None:
            plain = not recipe.training.channels_last
            self._teacher = Teacher(teacher, device=device, dtype=self._step.dtype, plain_memory=plain)
        self._ema = None if recipe.training.ema_decay is None else EMA(own, recipe.training.ema_decay)
        self._optimizer = build_optimizer(own, recipe.optimizer, recipe.parameter_rules)
        data = TrainingSet(train_set, recipe.augmentation, seed=recipe.training.seed)
        batch = collate([data[Draw(epoch=0, sample=0)]])
        self._images, self._labels = batch["image"].to(device), batch["mask"].to(device).long()
        self.size = f"{self._labels.shape[2]}x{self._labels.shape[1]}"

    def least(self) -> int:
        """1, or 2 where a batch norm sees a single value of each channel, as after pooling to one cell."""
        try:
            with torch.no_grad():
                self._losses(self._images, self._labels)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            return 2
        except RuntimeError as error:
            _only_memory(error)  # which the trials find out
        return 1

    def __call__(self, count: int) -> None:
        images, labels = self._images.repeat(count, 1, 1, 1), self._labels.repeat(count, 1, 1)
        try:
            for _ in range(2):  # in the second, gradients and the optimiser's averages are there already
                self._losses(images, labels)["total"].backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
        finally:
            self._optimizer.zero_grad()

    def _losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        answers = None if self._teacher is None else self._teacher(images)
        losses: dict[str, Tensor] = self._step(images, labels, None, answers)
        return losses


def _fitted(recipe: Recipe, accumulation: int, summary: str) -> Fitted:
    training = replace(recipe.training, accumulation=accumulation)
    return Fitted(replace(recipe, training=training), f"auto-batch: {summary}")


def _only_memory(error: Exception) -> None:
    """Raises the error again unless it says that there was too little memory."""
    if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and not re.search(
        "out of memory|can't allocate memory", str(error)
    ):
        raise error
