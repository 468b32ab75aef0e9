"""The state of a run, and the folder that holds it.

`state.pt` is all that a resumed run needs: weights, averaged weights, optimiser, gradient scaler, position, best score.
Random states and the position in the data need no file: both follow from the step. `last.safetensors` and
`best.safetensors` are models to use; `recipe.yaml` is for people; `log.jsonl` is written by `log.py`. Every file is
replaced as a whole, so a kill at any moment leaves the old one or the new one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segattn.contracts import Classes, class_difference, cut
from segattn.files import atomic_path, require_regular, translating_save
from segattn.machine import automatic_precision
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, to_dict, to_yaml
from segattn.training.optim import EMA
from segattn.training.parallel import (
    full_optimizer_state,
    full_weights,
    load_full_optimizer_state,
    load_full_weights,
)
from segattn.training.refusal import refusal
from segattn.weights.checkpoint import described

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"
SAMPLES = "samples"
WANDB = "wandb_id.txt"
_STATE = "state.pt"
RECIPE = "recipe.yaml"
_FILES = (_STATE, RECIPE, LOG, "last.safetensors", "last.json", "best.safetensors", "best.json", WANDB)

NOT_REPEATABLE = "the augmentation is a pipeline of Python, so that recipe.yaml alone can't repeat this run"

MAY_CHANGE = frozenset(
    {
        "data.root",
        "data.trained_at",
        "data.unlabelled",
        "training.workers",
        "training.teacher",
        "training.parallel",
        "training.log_every",
        "training.checkpoint_every",
        "training.max_loss_growth",
    }
    | {"training.checkpoint_activations"}
    | {"paper", "claims", "results", "published_cost", "protocol", "processes", "deviations"}
)
"""Keys of a recipe that a resumed run may change, as neither the weights nor the choice of the best depends on them.

The teacher may lie elsewhere; that it is the same one is told by its weights."""


@dataclass
class Progress:
    """The position of a run.

    Attributes:
        step: optimiser steps done.
        validated: the step of the last validation.
        scores: what that gave, in percent; None where there is no such score.
        best: the best validation's mIoU in percent; None before the first.
        calm_losses: of the last steps whose loss was not suspiciously high, see `divergence.py`.
        high_steps: how many steps in a row it has been since.
    """

    step: int = 0
    validated: int = 0
    scores: dict[str, float | None] | None = None
    best: float | None = None
    calm_losses: list[float] = field(default_factory=list)
    high_steps: int = 0


@dataclass
class TrainingState:
    """Everything that changes while training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: EMA | None
    progress: Progress

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors, numbers, strings and containers of them. All processes call this if weights are sharded."""
        averages = None
        if self.ema is not None:
            averages = {"updates": self.ema.updates, "model": full_weights(self.ema.model)}
        return {
            "model": full_weights(self.model),
            "optimizer": full_optimizer_state(self.optimizer),
            "scaler": self.scaler.state_dict(),
            "ema": averages,
            "progress": asdict(self.progress),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_full_weights(self.model, state["model"])
        # rates are set before every step, and what else torch keeps of a group, such as maximize, is not the file's
        groups = self.optimizer.state_dict()["param_groups"]
        averages = {index: _owned(values) for index, values in state["optimizer"]["state"].items()}
        load_full_optimizer_state(self.optimizer, {"state": averages, "param_groups": groups})
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.updates = state["ema"]["updates"]
            load_full_weights(self.ema.model, state["ema"]["model"])
        self.progress = Progress(**state["progress"])


def _owned(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same averages, each in memory of its own, as a file may say that some share it."""
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in values.items()}


class RunFolder:
    """A run's output folder, for one recipe, the classes of its data and the checksum of its teacher.

    Args:
        augmentation: the pipeline that augments in the place of the recipe's transforms, in words; None for none.
    """

    def __init__(
        self,
        path: str | Path,
        recipe: Recipe,
        classes: Classes | None = None,
        teacher: str | None = None,
        augmentation: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.recipe = recipe
        self.classes = classes
        self.teacher = teacher
        self.augmentation = augmentation

    @property
    def begun(self) -> bool:
        """Whether a run has left its state here."""
        return os.path.lexists(self.path / _STATE)

    def prepare(self, *, resume: bool) -> None:
        """Make the folder and write the recipe into it; without `resume`, first remove what an earlier run left.

        Raises:
            ValueError: the folder holds a run of another recipe, whose keys that differ are named, on data with other
                classes, or with another teacher.
            OSError: the folder can't be made or written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not resume:
            for name in _FILES:
                (self.path / name).unlink(missing_ok=True)
            for name in (TENSORBOARD, SAMPLES):
                shutil.rmtree(self.path / name, ignore_errors=True)
        saved = self._read()
        if saved is not None:
            self._check_augmentation(saved)
            try:
                changes = differences(_completed(saved["recipe"]), to_dict(self.recipe))
            except (TypeError, AttributeError, RecursionError):
                raise self._odd("its recipe is none") from None
            if changes:
                raise ValueError(
                    f"{self.path} holds a run of a different recipe ({_bounded('; '.join(changes))});"
                    " choose another output folder, undo the changes, or start afresh"
                )
            self._check_classes(saved)
            self._check_teacher(saved)
        with atomic_path(self.path / RECIPE) as temporary:
            temporary.write_text(self._heading() + to_yaml(self.recipe), encoding="utf-8")

    def _check_classes(self, saved: dict[str, Any]) -> None:
        """Raises ValueError for a run on other classes. Older states don't say which: their last model does."""
        names, last = saved.get("classes"), self.path / "last.safetensors"
        if names is None and last.is_file():
            classes = described(last).classes
            names = None if classes is None else list(classes.names)
        if names is None or self.classes is None:
            return
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._odd("its classes are no list of names")
        theirs = replace(Classes.numbered(len(names)), names=tuple(names))
        difference = class_difference(theirs, self.classes, "the data set")
        if difference is not None:
            raise ValueError(
                f"{self.path}: holds a run on other data: {difference}; give it the data set that it was begun with,"
                " choose another output folder, or start afresh"
            )

    def _check_teacher(self, saved: dict[str, Any]) -> None:
        theirs = saved.get("teacher")
        if theirs is not None and not isinstance(theirs, str):
            raise self._odd("its teacher is no checksum")
        if theirs != self.teacher:
            raise ValueError(
                f"{self.path}: holds a run with another teacher: the checksum of its weights was"
                f" {cut(str(theirs)[:16])} and is {str(self.teacher)[:16]} here; give it the teacher that it was begun"
                " with, choose another output folder, or start afresh"
            )

    def _heading(self) -> str:
        if self.augmentation is None:
            return ""
        return f"# {NOT_REPEATABLE}:\n# {self.augmentation}\n"

    def _check_augmentation(self, saved: dict[str, Any]) -> None:
        theirs = saved.get("augmentation")
        if theirs is not None and not isinstance(theirs, str):
            raise self._odd("its augmentation is no text")
        if theirs != self.augmentation:
            was, now = (
                "that of the recipe" if text is None else f"the pipeline {cut(text)}"
                for text in (theirs, self.augmentation)
            )
            raise ValueError(
                f"{self.path}: holds a run with another augmentation: it was {was} and is {now} here; give"
                " train(augmentation=...) what it was begun with, choose another output folder, or start afresh"
            )

    def save(self, state: dict[str, Any]) -> None:
        """Replace the training state by this `TrainingState.state_dict()`."""
        classes = {} if self.classes is None else {"classes": list(self.classes.names)}
        teacher = {} if self.teacher is None else {"teacher": self.teacher}
        pipeline = {} if self.augmentation is None else {"augmentation": self.augmentation}
        content = {"recipe": to_dict(self.recipe), **classes, **teacher, **pipeline, **state}
        with atomic_path(self.path / _STATE) as temporary, translating_save(temporary):
            torch.save(content, temporary)

    def restore(self, state: TrainingState) -> None:
        """Continue the run whose state the folder holds; nothing to do if it holds none."""
        saved = self._read()
        if saved is None:
            return
        own = state.state_dict()
        shapes = [p.shape for group in state.optimizer.param_groups for p in group["params"]]
        reason = refusal(saved, {**own, "parameters": shapes}, Progress, self.recipe.schedule.iterations)
        if reason is not None:
            raise self._odd(reason)
        state.load_state_dict(saved)

    def with_precision(self, device: torch.device, *, resume: bool) -> Recipe:
        """The recipe with `training.precision` decided: as in the run that the folder holds, or by the device."""
        training = self.recipe.training
        if training.precision == "auto":
            saved = self._read() if resume else None
            chosen = _precision(saved["recipe"]) if saved is not None else None
            if chosen not in ("float32", "bf16", "fp16"):
                chosen = automatic_precision(device)
            self.recipe = replace(self.recipe, training=replace(training, precision=chosen))
        return self.recipe

    def saved(self) -> tuple[Recipe, int] | None:
        """The recipe of the run that the folder holds, and the steps that it has done; None if it holds none.

        Raises:
            ValueError: what is there is no state of ours, or its recipe is not one of this version.
        """
        content = self._read()
        if content is None:
            return None
        try:
            recipe, step = from_dict(Recipe, content["recipe"]), content["progress"]["step"]
        except (KeyError, TypeError):
            raise self._odd("it holds no position") from None
        except ValueError as error:
            reason = f"its recipe does not fit this version of segattn ({error})"
            raise ValueError(f"{self.path / _STATE}: {reason}") from None
        if type(step) is not int:
            raise self._odd("its position is no number")
        return recipe, step

    def extend(self, recipe: Recipe) -> None:
        """Let the finished run that the folder holds go on by a recipe whose schedule starts where it ended."""
        content = self._read()
        assert content is not None, "there is a run"
        assert recipe.schedule.start == content["progress"]["step"], "a fresh part begins where the run ended"
        with atomic_path(self.path / _STATE) as temporary, translating_save(temporary):
            torch.save({**content, "recipe": to_dict(recipe)}, temporary)

    def accumulation(self) -> int | None:
        """The `training.accumulation` of the run that the folder holds; None if it holds none."""
        saved = self._read()
        if saved is None:
            return None
        try:
            return int(saved["recipe"]["training"]["accumulation"])
        except (KeyError, TypeError, ValueError):
            raise self._odd("its recipe has no training.accumulation") from None

    def _read(self) -> dict[str, Any] | None:
        path = self.path / _STATE
        if not os.path.lexists(path):
            return None
        require_regular(path, "training state")
        try:
            saved: Any = torch.load(path, map_location="cpu", weights_only=True)
        except PermissionError:
            raise
        except Exception as error:  # torch raises whatever the bytes lead it to
            if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if "Weights only load failed" in reason:
                reason = "it is a pickle of other things, or text"
            raise self._odd(reason[:200]) from None
        if not isinstance(saved, dict) or not isinstance(saved.get("recipe"), dict):
            raise self._odd("it holds no recipe")
        try:
            json.dumps(saved["recipe"])
        except (TypeError, ValueError, RecursionError):
            raise self._odd("its recipe is not plain data") from None
        return saved

    def _odd(self, reason: str) -> ValueError:
        return ValueError(f"{self.path / _STATE}: not a training state of ours ({reason}); remove it to start afresh")


def _precision(recipe: dict[str, Any]) -> Any:
    training = recipe.get("training")
    return training.get("precision") if isinstance(training, dict) else None


def _bounded(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:400]}..."


def _completed(recipe: Any) -> Any:
    """A recipe as plain data with all fields that there are now, as an older version knew fewer."""
    try:
        return to_dict(from_dict(Recipe, recipe))
    except ValueError:  # it also had some that are no more
        return recipe


def differences(saved: Any, wanted: Any, key: str = "") -> list[str]:
    """The differences of two recipes (as plain data) that decide the weights: "schedule.lr: 0.01 there, 0.02 here"."""
    if key in MAY_CHANGE or saved == wanted:
        return []
    if isinstance(saved, dict) and isinstance(wanted, dict):
        pairs = [(name, saved.get(name), wanted.get(name)) for name in {**saved, **wanted}]
    elif isinstance(saved, list) and isinstance(wanted, list) and len(saved) == len(wanted):
        pairs = [(str(index), *items) for index, items in enumerate(zip(saved, wanted, strict=True))]
    else:
        return [f"{key}: {_bounded(repr(saved))} there, {_bounded(repr(wanted))} here"]
    prefix = f"{key}." if key else ""
    return [line for name, old, new in pairs for line in differences(old, new, prefix + name)]
