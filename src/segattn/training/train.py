"""The training loop: any model, any recipe, one process or many.

Everything random in a step follows from (seed, step, process) and everything random in an image from (seed, epoch,
index), so a run that was stopped continues from its step alone, bit for bit on a CPU, with any number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from segattn.contracts import SegmentationDataset, require_dataset
from segattn.machine import SLOW_BF16, native_bf16, settle_on
from segattn.processes import ending_together, joined, place
from segattn.recipes.schema import Recipe
from segattn.training.divergence import LossGrowth, StepWatch
from segattn.training.loader import Batch, lost_worker
from segattn.training.lock import RunLock
from segattn.training.log import LossMeans, Meter, RunLog
from segattn.training.loggers import Logger, require_loggers
from segattn.training.optim import rate, set_rate
from segattn.training.pipelines import Pipeline, with_augmentation
from segattn.training.run import Run
from segattn.training.signals import Interrupted, StopRequest
from segattn.training.sinks import require_installed
from segattn.training.state import NOT_REPEATABLE
from segattn.transforms.compose import Transform

_AGAIN = "the same call or command continues"


@dataclass(frozen=True)
class TrainingResult:
    """The end of a call of `train`.

    Attributes:
        step: optimiser steps done in all.
        best: the best validation's mIoU in percent, None without validation.
        interrupted: the name of the signal that stopped the run, None if it is complete.
    """

    step: int
    best: float | None
    interrupted: str | None


@ending_together()
def train(
    model: nn.Module,
    recipe: Recipe,
    *,
    train_set: SegmentationDataset,
    val_set: SegmentationDataset | None,
    output_dir: str | Path,
    teacher: nn.Module | None = None,
    unlabelled_set: SegmentationDataset | None = None,
    augmentation: Sequence[Transform] | Pipeline | None = None,
    loggers: Sequence[Logger] = (),
    resume: bool = True,
    tensorboard: bool = False,
    wandb: str | None = None,
    samples: int = 4,
    allow_absent_classes: bool = False,
    device: torch.device | str = "auto",
) -> TrainingResult:
    """Train `model` in place as the recipe says, and leave checkpoints and a log in `output_dir`.

    Under `torchrun` or `accelerate launch` every process calls this with the same arguments and one writes the files.

    Args:
        model: an `nn.Module` that is a `SegmentationModel`; moved to the device that is used.
        val_set: scored every `recipe.training.validate_every` steps and at the end; None for no validation.
        output_dir: shared by all processes. Gets `best.safetensors`, `last.safetensors`, `log.jsonl`, `recipe.yaml` and
            the state of the run.
        teacher: a trained model of the same classes, whose answers a Distillation term of the recipe learns: what
            `recipe.training.teacher` names. Moved to the device and put into evaluation mode.
        unlabelled_set: images for the share of every batch that `recipe.data.unlabelled_share` says: what
            `recipe.data.unlabelled` names. Masks that it has are not looked at.
        augmentation: what augments instead of the recipe's transforms: a list of transforms, which become the recipe's,
            or a callable of the form ``augment(image=..., mask=...)`` that gives a mapping with both, such as an
            albumentations pipeline. All that it draws from is seeded for each sample (`segattn.training.pipelines`), so
            that a run that continues draws the same; recipe.yaml alone can't repeat such a run, and says so. A run that
            continues needs the same one, as far as its `repr` tells.
        loggers: trackers of your own, each a `segattn.Logger`.
        resume: continue the run that the folder holds; otherwise what it left is removed.
        tensorboard: write event files too.
        wandb: the Weights & Biases project to write to as well; the same run there after a resume.
        samples: validation images that are written to `samples/` with truth and prediction at each validation.
        allow_absent_classes: train although the training masks have not one pixel of a class. Otherwise, before
            the first step of a run on data of your own, one process reads masks until it has seen every class.
        device: "auto" (the accelerator that is there, if any), "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ValueError: a class without a pixel in the training masks, a run is going on in the folder or it holds one of
            another recipe or teacher, the batch does not divide, a loss term or parameter rule does not fit the model,
            a teacher or unlabelled images are missing or idle, the teacher's classes are others, something asked for is
            not installed, or the loss diverges (`DivergedError`, naming the images).
        OSError: a file can't be written, a loading process was killed, or another process failed; it says what that
            one said. What was saved before is whole.
    """
    require_installed(tensorboard=tensorboard, wandb=wandb)
    require_loggers(loggers)
    for data in (train_set, *([] if val_set is None else [val_set])):
        require_dataset(data)
    recipe, pipeline = with_augmentation(recipe, augmentation)
    folder = Path(output_dir)
    with StopRequest() as request:
        cpu = settle_on(device)
        joined(cpu=cpu)
        with RunLock(folder, enabled=place().rank == 0) as lock:
            run = Run(
                model,
                recipe,
                train_set,
                val_set,
                folder,
                teacher=teacher,
                unlabelled_set=unlabelled_set,
                pipeline=pipeline,
                resume=resume,
                cpu=cpu,
                samples=samples,
                allow_absent_classes=allow_absent_classes,
            )
            log = RunLog(
                folder,
                run.recipe,
                run.state.progress,
                tensorboard=tensorboard,
                wandb=wandb,
                loggers=loggers,
                enabled=run.place.rank == 0,
            )
            try:
                with log:
                    if not lock.works:
                        log.say(f"{folder}: its file system has no locks, so a second run there would go unnoticed")
                    return _steps(run, log, request)
            except RuntimeError as error:
                lost = lost_worker(error)
                if lost is None:
                    raise
                saved = f"the run is safe as it was at its last checkpoint: {_AGAIN}"
                raise ChildProcessError(f"{folder}: {lost}; {saved}") from None


def _steps(run: Run, log: RunLog, request: StopRequest) -> TrainingResult:
    """All steps that are left, with their validations, records and checkpoints."""
    recipe, progress, settings = run.recipe, run.state.progress, run.recipe.training
    if settings.precision == "bf16" and not native_bf16(run.device):
        log.say(f"training.precision {SLOW_BF16}")
    if run.pipeline is not None:
        log.say(NOT_REPEATABLE)
    if progress.step:
        log.say(f"continuing {run.folder.path} after step {progress.step}")
    watch = StepWatch(run.accelerator, request, LossGrowth(progress, settings.max_loss_growth))
    meter, means = Meter(run.device), LossMeans()
    try:
        watch.begin()
        with run.batches() as batches:
            while True:
                if run.validation_is_due():
                    run.validate(log, request)
                    run.save()
                    meter.restart()
                if progress.step == recipe.schedule.iterations:
                    break
                with meter.waiting():
                    micro_batches = [next(batches) for _ in range(settings.accumulation)]
                losses = _optimizer_step(run, micro_batches)
                watch.add(
                    progress.step, [part["total"] for part in losses], [batch["names"] for batch in micro_batches]
                )
                means.add(losses)
                meter.steps += 1
                log.advance(progress.step)
                if progress.step % settings.log_every == 0 or progress.step == recipe.schedule.iterations:
                    watch.flush()
                    log.write(run.record(means.read(), meter))
                    means.clear()
                    meter.restart()
                if watch.stop:
                    watch.flush()
                    raise Interrupted
                if run.save_is_due():
                    watch.flush()
                    run.save()
    except Interrupted:
        run.save()
        name = request.received or "a signal in another process"
        kept = f"all is saved in {run.folder.path}" if progress.step else "there is nothing to save yet"
        log.say(f"stopped by {name} after step {progress.step} of {recipe.schedule.iterations}; {kept}: {_AGAIN}")
        return TrainingResult(progress.step, progress.best, name)
    return TrainingResult(progress.step, progress.best, None)


def _optimizer_step(run: Run, micro_batches: list[Batch]) -> list[dict[str, Tensor]]:
    """One optimiser step; the loss terms of each micro-batch."""
    settings, state, progress = run.recipe.training, run.state, run.state.progress
    torch.manual_seed(_mix(settings.seed, progress.step, run.place.rank))
    set_rate(state.optimizer, rate(run.recipe.schedule, progress.step))
    inputs = [
        (
            batch["image"].to(run.device, non_blocking=True),
            batch["mask"].to(run.device, non_blocking=True).long(),
        )
        for batch in micro_batches
    ]
    divisors = torch.stack([run.loss.divisors(labels) for _, labels in inputs]).mean(0)
    divisors = run.accelerator.reduce(divisors, "mean")
    losses: list[dict[str, Tensor]] = []
    for images, labels in inputs:
        last = len(losses) == len(inputs) - 1
        answers = None if run.teacher is None else run.teacher(images)
        with nullcontext() if last else run.accelerator.no_sync(run.forward):
            losses.append(run.forward(images, labels, divisors, answers))
            state.scaler.scale(losses[-1]["total"] / len(inputs)).backward()  # type: ignore[no-untyped-call]
    if settings.clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if state.ema is not None:
        state.ema.update(state.model)
    progress.step += 1
    return losses


def _mix(*numbers: int) -> int:
    """One seed for torch from several numbers, unrelated for any two choices of them."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7], "big")
