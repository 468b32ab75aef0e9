"""The parts of one run: its model, data and state, its validation and its checkpoints; `train.py` says when."""

from __future__ import annotations

import copy
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from segattn.contracts import Classes, SegmentationDataset, SegmentationModel, require_model, require_same_classes
from segattn.datasets.absent import require_all_classes
from segattn.datasets.base import PairedDataset
from segattn.evaluation.evaluate import evaluate, sum_over_processes
from segattn.machine import device_in_words, today
from segattn.processes import gathered, joined, place
from segattn.recipes.own_bands import require_bands_augmentation
from segattn.recipes.schema import Recipe
from segattn.training.loader import Batches, TrainingSet, training_loader, usual_size
from segattn.training.log import Meter, RunLog
from segattn.training.optim import EMA, build_optimizer, rate
from segattn.training.parallel import full_weights, shard, synchronize_norms
from segattn.training.pipelines import Pipeline, described
from segattn.training.samples import SampleImages
from segattn.training.signals import StopRequest
from segattn.training.state import Progress, RunFolder, TrainingState
from segattn.training.step import require_enough_images, training_step
from segattn.training.teacher import Teacher, checksum, require_teacher, require_unlabelled
from segattn.weights.checkpoint import describe_model, save_model


class Run:
    """One run of one recipe: its model, data, optimiser, folder and processes."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        train_set: SegmentationDataset,
        val_set: SegmentationDataset | None,
        output_dir: Path,
        *,
        teacher: nn.Module | None,
        unlabelled_set: SegmentationDataset | None,
        pipeline: Pipeline | None,
        resume: bool,
        cpu: bool,
        samples: int,
        allow_absent_classes: bool,
    ) -> None:
        self.train_set, self.val_set, self.unlabelled_set = train_set, val_set, unlabelled_set
        require_model(model)
        _check_classes(model, train_set.classes, val_set)
        require_teacher(recipe, teacher, train_set.classes)
        require_unlabelled(recipe, unlabelled_set)
        if pipeline is None:
            require_bands_augmentation(recipe)
        # The recipe decides the precision, not the launcher's environment: see TrainingStep.
        ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
        on_cpu = joined(cpu=cpu).device.type == "cpu"
        self.accelerator = Accelerator(mixed_precision="no", cpu=on_cpu, kwargs_handlers=[ddp])
        self.device: torch.device = self.accelerator.device
        self.place = place()
        self.micro_batch = _micro_batch(recipe, self.place.world)
        require_enough_images(model, recipe, self.place.world)
        self.pipeline = pipeline
        self.folder = RunFolder(
            output_dir,
            recipe,
            train_set.classes,
            teacher=None if teacher is None else checksum(teacher),
            augmentation=None if pipeline is None else described(pipeline),
        )
        self.recipe = recipe = self._with_precision(resume)
        settings = recipe.training
        if settings.parallel == "fsdp" and settings.precision == "fp16":
            raise ValueError("training.parallel fsdp with training.precision fp16: not supported; take bf16")
        if self.place.rank == 0:
            if not allow_absent_classes and not (resume and self.folder.begun):
                require_all_classes(train_set)
            self.folder.prepare(resume=resume)
        self.accelerator.wait_for_everyone()

        if settings.sync_norm and self.place.world > 1:
            model = synchronize_norms(model, self.device)
        self.model = model
        step = training_step(model, recipe)
        self.loss = step.loss
        self.teacher: Teacher | None = None
        if teacher is not None:
            plain = not settings.channels_last
            self.teacher = Teacher(teacher, device=self.device, dtype=step.dtype, plain_memory=plain)
        self.sharded = settings.parallel == "fsdp" and self.place.world > 1
        self.forward = step.to(self.device) if self.sharded else self.accelerator.prepare_model(step)
        ema = None if settings.ema_decay is None else EMA(model, settings.ema_decay)
        if self.sharded:
            self._skeleton = copy.deepcopy(model).cpu()
            shard(model, self.device)
            if ema is not None:
                shard(ema.model, self.device)
        self.state = TrainingState(
            model=model,
            optimizer=build_optimizer(model, recipe.optimizer, recipe.parameter_rules),
            scaler=torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16"),
            ema=ema,
            progress=Progress(),
        )
        self._saved = (0, 0)
        self.folder.restore(self.state)
        self._check_shared_folder()
        self._trained_at = recipe.data.trained_at
        if pipeline is not None:  # which may bring images to any size
            self._trained_at = None
        elif isinstance(train_set, PairedDataset):  # which may be of another size than the recipe's
            self._trained_at = usual_size(train_set, recipe.augmentation)
        self.samples: SampleImages | None = None
        if val_set is not None and samples:
            self.samples = SampleImages(output_dir, val_set.classes, len(val_set), count=samples, shard=self.place)

    def _with_precision(self, resume: bool) -> Recipe:
        """The recipe with its precision decided, the same by all processes."""
        wanted = self.folder.recipe
        decided = self.folder.with_precision(self.device, resume=resume)
        if wanted.training.precision == "auto":
            found = gathered(decided.training.precision)
            chosen = found[0] if len(set(found)) == 1 else "float32"
            decided = replace(wanted, training=replace(wanted.training, precision=chosen))
        self.folder.recipe = decided
        return decided

    def _check_shared_folder(self) -> None:
        steps = self.accelerator.gather(torch.tensor([self.state.progress.step], device=self.device)).tolist()
        if len(set(steps)) > 1:
            raise ValueError(
                f"{self.folder.path}: the processes find different states there (steps {steps});"
                " the output folder must be one that all machines share"
            )

    def batches(self) -> Batches:
        """This process's micro-batches from the current step on, for ever."""
        recipe, settings = self.recipe, self.recipe.training
        data = TrainingSet(
            self.train_set,
            recipe.augmentation if self.pipeline is None else self.pipeline,
            seed=settings.seed,
            mixing=recipe.mixing,
            unlabelled=self.unlabelled_set,
        )
        return Batches(
            training_loader(
                data,
                batch_size=self.micro_batch,
                start=self.state.progress.step * settings.batch_size,
                shard=self.place,
                unlabelled_share=recipe.data.unlabelled_share,
                workers=settings.workers,
                pin_memory=self.device.type == "cuda",
            )
        )

    def record(self, means: dict[str, Tensor], meter: Meter) -> dict[str, Any]:
        """The log's record: `means` of the loss terms over all processes, the last step's rates, speed."""
        step, schedule = self.state.progress.step, self.recipe.schedule
        names = [name for name in means if name != "total"]
        values = torch.stack([means[name] for name in ["total", *names]])
        total, *terms = self.accelerator.reduce(values, "mean").tolist()
        return {
            "kind": "train",
            "step": step,
            "loss": total,
            **{f"loss/{name}": value for name, value in zip(names, terms, strict=True)},
            "lr": rate(schedule, step - 1),
            "lr_by_group": [group["lr"] for group in self.state.optimizer.param_groups],
            "date": today(),
            "device": device_in_words(self.device),
            **meter.read(batch_size=self.recipe.training.batch_size, steps_left=schedule.iterations - step),
        }

    def _is_due(self, every: int) -> bool:
        step = self.state.progress.step
        return step > 0 and (step % every == 0 or step == self.recipe.schedule.iterations)

    def validation_is_due(self) -> bool:
        """Also after a resume, if the run was stopped between a step and its validation."""
        due = self._is_due(self.recipe.training.validate_every)
        return self.val_set is not None and due and self.state.progress.validated != self.state.progress.step

    def save_is_due(self) -> bool:
        """Before every validation too, as it takes long."""
        return self._is_due(self.recipe.training.checkpoint_every) or self.validation_is_due()

    def validate(self, log: RunLog, request: StopRequest) -> None:
        """Score the model (the averaged one if there is one) on all processes, and keep it if it is the best yet."""
        assert self.val_set is not None
        progress = self.state.progress
        model = self._model_to_use()
        if self.place.world > 1:  # running statistics that are not shared are the first process's
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)
        with request.at_once():
            part = evaluate(
                cast(SegmentationModel, model),
                self.val_set,
                self.recipe.validation,
                device=self.device,
                shard=self.place,
                on_prediction=None if self.samples is None else self.samples.writer(progress.step),
            )
            scores = sum_over_processes(part)
        values = {"miou": scores.miou, "macc": scores.macc, "aacc": scores.aacc}
        progress.scores = {name: None if isnan(value) else value for name, value in values.items()}
        classes = {f"iou/{name}": score.iou for name, score in scores.per_class.items()}
        log.write({"kind": "validation", "step": progress.step, **values, **classes})
        if self.samples is not None:
            log.show(progress.step, self.samples.files(progress.step))
        progress.validated = progress.step
        if progress.best is None or isnan(progress.best) or scores.miou > progress.best:
            progress.best = scores.miou
            self._save_model("best.safetensors")

    def save(self) -> None:
        """Write the state of the run and the model as it is, unless that is what the folder holds already."""
        progress = self.state.progress
        if self._saved == (progress.step, progress.validated):
            return  # also where a signal came to one process while all were scoring: nobody else would take part
        self._saved = (progress.step, progress.validated)
        if self.place.rank == 0 or self.sharded:
            content = self.state.state_dict()
        if self.place.rank == 0:
            self.folder.save(content)
        self._save_model("last.safetensors")

    def _save_model(self, name: str) -> None:
        if self.place.rank != 0 and not self.sharded:
            return
        model = self._model_to_use()
        if self.place.rank != 0:
            return
        progress = self.state.progress
        data = replace(self.recipe.data, trained_at=self._trained_at)
        foreign = getattr(model, "foreign", None)
        description = describe_model(
            replace(self.recipe, data=data),
            self.train_set.classes,
            scores=progress.scores,
            foreign=foreign,
            normalization=None if foreign is None else cast(Any, model).normalization,
        )
        description |= {"step": progress.step}
        if self.folder.augmentation is not None:
            description |= {"augmentation": self.folder.augmentation}
        save_model(self.folder.path / name, model, description)

    def _model_to_use(self) -> nn.Module:
        """The averaged model if there is one. Sharded weights are put together, which all processes take part in."""
        model = self.state.model if self.state.ema is None else self.state.ema.model
        if not self.sharded:
            return model
        self._skeleton.to(self.device).load_state_dict(full_weights(model))
        return self._skeleton


def _check_classes(model: nn.Module, classes: Classes, val_set: SegmentationDataset | None) -> None:
    """That model, training and validation set speak of the same classes; an unnamed model gets their names.

    Raises:
        ValueError: naming what differs.
    """
    own = getattr(model, "classes", None)
    if isinstance(own, Classes):
        require_same_classes("the model", own, classes)
        cast(Any, model).classes = classes
    if val_set is not None:
        require_same_classes("the validation set", val_set.classes, classes)


def _micro_batch(recipe: Recipe, processes: int) -> int:
    """Images per process and micro-batch."""
    settings = recipe.training
    parts = settings.accumulation * processes
    if settings.batch_size % parts:
        raise ValueError(
            f"training.batch_size {settings.batch_size} does not divide by {processes} processes"
            f" x training.accumulation {settings.accumulation}"
        )
    return settings.batch_size // parts
