"""Reasons why a saved training state can't be continued, found before anything is taken from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import torch
from torch import Tensor

_DECIDED = ("names", "lr_factor", "weight_decay", "momentum", "betas", "eps")
"""Of a group of parameters: what the recipe decides, where torch's other settings may change with its version."""

_AVERAGES = {"SGD": {"momentum_buffer"}, "AdamW": {"step", "exp_avg", "exp_avg_sq"}}
"""The entries that torch's optimisers keep for a parameter once it has been stepped."""


def refusal(state: Mapping[str, Any], own: Mapping[str, Any], progress: type, iterations: int) -> str | None:
    """Why a saved state can't be continued by a run whose own state dict is `own`; None if it can.

    Args:
        progress: the dataclass of a run's position.
        iterations: of the whole run.
    """
    for key in ("model", "optimizer", "scaler", "progress"):
        if not isinstance(state.get(key), Mapping):
            return f"{key!r} is missing or no mapping"
    if "ema" not in state or (state["ema"] is None) != (own["ema"] is None):
        return "'ema' does not fit training.ema_decay"
    reason = _weights("model", state["model"], own["model"])
    if reason is None and own["ema"] is not None:
        ema = state["ema"] if isinstance(state["ema"], Mapping) else {}
        if not _is_count(ema.get("updates")) or not isinstance(ema.get("model"), Mapping):
            return "'ema' holds no number of updates or no weights"
        reason = _weights("ema", ema["model"], own["ema"]["model"])
    scaler = state["scaler"]
    if own["scaler"] and (own["scaler"].keys() != scaler.keys() or not all(map(_is_factor, scaler, scaler.values()))):
        reason = reason or "'scaler' is not that of this run"
    reason = reason or _optimizer(state["optimizer"], own["optimizer"], list(own["parameters"]))
    return reason or _progress(state["progress"], progress, iterations)


def _weights(what: str, saved: Mapping[Any, Any], own: Mapping[str, Tensor]) -> str | None:
    if saved.keys() != own.keys():
        return f"{what!r} holds other tensors than this network"
    for name, tensor in own.items():
        if not _fits(saved[name], tensor.shape) or saved[name].dtype != tensor.dtype:
            return f"{what!r}: {name} is not a {tensor.dtype} tensor of shape {tuple(tensor.shape)}"
    return None


def _fits(value: Any, shape: torch.Size) -> bool:
    plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return plain and not value.is_complex() and not value.is_quantized and value.shape == shape


def _optimizer(saved: Mapping[Any, Any], own: Mapping[str, Any], shapes: list[torch.Size]) -> str | None:
    states, groups = saved.get("state"), saved.get("param_groups")
    if not isinstance(states, Mapping) or not isinstance(groups, list) or len(groups) != len(own["param_groups"]):
        return "'optimizer' is not that of this run"
    for group, mine in zip(groups, own["param_groups"], strict=True):
        if not isinstance(group, Mapping) or not _same(group.get("params"), mine["params"]):
            return "'optimizer' has other groups of parameters"
        for key, value in mine.items():
            if key in _DECIDED and key in group and not _same(group[key], value):
                return f"'optimizer': {key} is not this run's"
        if "lr_factor" not in group or not _is_number(group.get("lr")):
            return "'optimizer' lacks a rate"
    kept = _AVERAGES["AdamW" if "betas" in own["param_groups"][0] else "SGD"]
    for index, values in states.items():
        if type(index) is not int or not 0 <= index < len(shapes) or not isinstance(values, Mapping):
            return "'optimizer' is not that of this run"
        if values.keys() != kept:
            return f"'optimizer' holds other averages than {', '.join(sorted(kept))}"
        if not all(_is_average(name, value, shapes[index]) for name, value in values.items()):
            return "'optimizer' holds something that is no average of the weights"
    return None


def _is_average(name: str, value: Any, shape: torch.Size) -> bool:
    if name == "momentum_buffer" and value is None:  # before the first step
        return True
    if not _fits(value, torch.Size() if name == "step" else shape) or not value.is_floating_point():
        return False
    return name != "step" or 0 <= value.item() < float("inf")


def _progress(saved: Mapping[Any, Any], progress: type, iterations: int) -> str | None:
    known = {field.name: field for field in fields(progress)}
    missing = [name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if not set(saved) <= set(known) or not {"step", *missing} <= set(saved):
        return "'progress' holds other entries than ours"
    counts = [saved.get(name, 0) for name in ("step", "validated", "high_steps")]
    scores, best, calm = saved.get("scores"), saved.get("best"), saved.get("calm_losses", [])
    numbers = scores is None or (
        isinstance(scores, Mapping) and all(value is None or _is_number(value) for value in scores.values())
    )
    if not (all(map(_is_count, counts)) and max(counts[:2]) <= iterations and numbers):
        return "'progress' is no position in this run"
    if not (best is None or _is_number(best)) or not isinstance(calm, list) or not all(map(_is_number, calm)):
        return "'progress' is no position in this run"
    return None


def _same(saved: Any, own: Any) -> bool:
    try:
        return bool(saved == own)
    except RuntimeError:  # of tensors in it, or of depth
        return False


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_factor(name: str, value: Any) -> bool:
    return _is_number(value) and (0 < value < float("inf") or (name == "_growth_tracker" and value == 0))
