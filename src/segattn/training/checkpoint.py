"""What a run leaves in its folder, and how it finds its way back.

`state.pt` is all that a resumed run needs: weights, averaged weights, optimiser, gradient scaler, position, best score.
Random states and the position in the data need no file: both follow from the step. `last.safetensors` and
`best.safetensors` are models to use; `recipe.yaml` is for people; `log.jsonl` is written by `log.py`. Every file is
replaced as a whole, so a kill at any moment leaves the old one or the new one.
"""

from __future__ import annotations

import pickle
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segattn.files import CheckedFile, atomic_path
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, to_dict, to_yaml
from segattn.training.ema import EMA
from segattn.training.sharding import optimizer_parts, parts, whole

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"
SAMPLES = "samples"
WANDB = "wandb_id.txt"
_STATE = "state.pt"
_RECIPE = "recipe.yaml"
_FILES = (_STATE, _RECIPE, LOG, "last.safetensors", "last.json", "best.safetensors", "best.json", WANDB)

MAY_CHANGE = frozenset(
    {
        "data.root",
        "training.workers",
        "training.parallel",
        "training.log_every",
        "training.checkpoint_every",
        "training.max_loss_growth",
    }
    | {"training.checkpoint_activations"}
    | {"paper", "claims", "results", "protocol", "deviations"}
)
"""Keys of a recipe that a resumed run may change, as neither the weights nor the choice of the best depends on them."""


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        step: optimiser steps done.
        validated: the step of the last validation.
        scores: what that gave, in percent; None where there is no such score.
        best: the best validation's mIoU in percent; None before the first.
        calm_losses: of the last steps whose loss was not suspiciously high, see `explosion.py`.
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
            averages = {"updates": self.ema.updates, "model": whole(self.ema.model.state_dict())}
        return {
            "model": whole(self.model.state_dict()),
            "optimizer": whole(self.optimizer.state_dict()),
            "scaler": self.scaler.state_dict(),
            "ema": averages,
            "progress": asdict(self.progress),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(parts(state["model"], self.model))
        self.optimizer.load_state_dict(optimizer_parts(state["optimizer"], self.optimizer))
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.updates = state["ema"]["updates"]
            self.ema.model.load_state_dict(parts(state["ema"]["model"], self.ema.model))
        self.progress = Progress(**state["progress"])


class RunFolder:
    """A run's output folder, for one recipe."""

    def __init__(self, path: str | Path, recipe: Recipe) -> None:
        self.path = Path(path)
        self.recipe = recipe

    def prepare(self, *, resume: bool) -> None:
        """Make the folder and write the recipe into it; without `resume`, first remove what an earlier run left.

        Raises:
            ValueError: the folder holds a run of another recipe; the keys that differ are named.
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
            changes = differences(_completed(saved["recipe"]), to_dict(self.recipe))
            if changes:
                raise ValueError(
                    f"{self.path} holds a run of a different recipe ({'; '.join(changes)});"
                    " choose another output folder, undo the changes, or start afresh"
                )
        with atomic_path(self.path / _RECIPE) as temporary:
            temporary.write_text(to_yaml(self.recipe), encoding="utf-8")

    def save(self, state: dict[str, Any]) -> None:
        """Replace the training state by this `TrainingState.state_dict()`."""
        content = {"recipe": to_dict(self.recipe), **state}
        with atomic_path(self.path / _STATE) as temporary:
            with temporary.open("wb") as file:
                checked = CheckedFile(file)
                torch.save(content, checked)  # type: ignore[arg-type] - it calls `write` and `flush` alone
            checked.check()

    def restore(self, state: TrainingState) -> None:
        """Continue the run whose state the folder holds; nothing to do if it holds none."""
        saved = self._read()
        if saved is not None:
            state.load_state_dict(saved)

    def accumulation(self) -> int | None:
        """The `training.accumulation` of the run that the folder holds; None if it holds none."""
        saved = self._read()
        return None if saved is None else int(saved["recipe"]["training"]["accumulation"])

    def _read(self) -> dict[str, Any] | None:
        path = self.path / _STATE
        if not path.exists():
            return None
        try:
            saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{path}: not a training state of ours ({reason}); remove it to start afresh") from None
        return saved


def _completed(recipe: Any) -> Any:
    """A recipe as plain data with all fields that there are now, as an older version knew fewer."""
    try:
        return to_dict(from_dict(Recipe, recipe))
    except ValueError:  # it also had some that are no more
        return recipe


def differences(saved: Any, wanted: Any, key: str = "") -> list[str]:
    """Where two recipes (as plain data) differ in what decides the weights: "schedule.lr: 0.01 there, 0.02 here"."""
    if key in MAY_CHANGE or saved == wanted:
        return []
    if isinstance(saved, dict) and isinstance(wanted, dict):
        pairs = [(name, saved.get(name), wanted.get(name)) for name in {**saved, **wanted}]
    elif isinstance(saved, list) and isinstance(wanted, list) and len(saved) == len(wanted):
        pairs = [(str(index), *items) for index, items in enumerate(zip(saved, wanted, strict=True))]
    else:
        return [f"{key}: {saved!r} there, {wanted!r} here"]
    prefix = f"{key}." if key else ""
    return [line for name, old, new in pairs for line in differences(old, new, prefix + name)]
