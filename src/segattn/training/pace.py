"""The time that a step and a validation take, measured before a run whose length is given in minutes."""

from __future__ import annotations

import copy
import time
from typing import cast

import torch
from torch import nn

from segattn.contracts import SegmentationDataset, SegmentationModel
from segattn.evaluation.evaluate import evaluate
from segattn.processes import joined, place
from segattn.recipes.own_data import Pace
from segattn.recipes.schema import Recipe
from segattn.training.loader import Batches, TrainingSet, training_loader
from segattn.training.optim import EMA, build_optimizer, set_rate
from segattn.training.step import training_step
from segattn.training.teacher import Teacher, require_teacher

_SECONDS = 4.0
_MOST_STEPS = 10
_IMAGES = 3
"""Scored to tell the time of a validation."""


def measure_pace(
    model: nn.Module,
    recipe: Recipe,
    train_set: SegmentationDataset,
    val_set: SegmentationDataset,
    *,
    teacher: nn.Module | None = None,
    cpu: bool = False,
) -> Pace:
    """Seconds of a step of this process's share of a batch, and of a validation, by a copy of the model.

    Of the steps the first is not counted; there are then 2 at least and as many as fit into some seconds. What several
    processes exchange is not in it.
    """
    device = joined(cpu=cpu).device
    rank, world = place()
    require_teacher(recipe, teacher, train_set.classes)
    own = copy.deepcopy(model).to(device)
    settings = recipe.training
    with torch.random.fork_rng(devices=[]):
        step = training_step(own, recipe).to(device)
        own_teacher: Teacher | None = None
        if teacher is not None:
            plain = not settings.channels_last
            own_teacher = Teacher(teacher, device=device, dtype=step.dtype, plain_memory=plain)
        optimizer = build_optimizer(own, recipe.optimizer, recipe.parameter_rules)
        set_rate(optimizer, 0.0)
        ema = None if settings.ema_decay is None else EMA(own, settings.ema_decay)
        loader = training_loader(
            TrainingSet(train_set, recipe.augmentation, seed=settings.seed),
            batch_size=settings.batch_size // (settings.accumulation * world),
            shard=(rank, world),
            workers=settings.workers,
        )
        seconds: list[float] = []
        with Batches(loader) as batches:
            while len(seconds) < 3 or (sum(seconds) < _SECONDS and len(seconds) <= _MOST_STEPS):
                start = time.perf_counter()
                for _ in range(settings.accumulation):
                    batch = next(batches)
                    images = batch["image"].to(device)
                    answers = None if own_teacher is None else own_teacher(images)
                    loss = step(images, batch["mask"].to(device).long(), None, answers)["total"]
                    loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if ema is not None:
                    ema.update(own)
                loss.item()  # an accelerator is waited for
                seconds.append(time.perf_counter() - start)
        count = len(range(0, len(val_set), max(len(val_set) // _IMAGES, 1)))
        start = time.perf_counter()
        evaluate(
            cast(SegmentationModel, own),
            val_set,
            recipe.validation,
            device=device,
            shard=(0, max(len(val_set) // _IMAGES, 1)),
        )
        validation = (time.perf_counter() - start) / count * len(val_set) / world
    return Pace(step=sum(seconds[1:]) / (len(seconds) - 1), validation=validation)
