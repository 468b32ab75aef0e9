"""Optimiser, parameter groups, learning rate schedule and averaged weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from segattn.recipes.schema import SGD, AdamW, ExponentialWarmup, LinearWarmup, ParameterRule, Schedule
from segattn.training.blocks import parameter_depths


def parameter_groups(
    model: nn.Module, optimizer: SGD | AdamW, rules: Sequence[ParameterRule] = ()
) -> list[dict[str, Any]]:
    """The trainable parameters by learning rate factor and weight decay.

    The factor is the product of all rules that match, and with `optimizer.layer_decay` of its power to the number of
    layers between the parameter and the top: see `blocks.py`. Frozen parameters count as layers and for rules.

    Returns:
        Groups for a `torch.optim` optimiser in the order of their first parameter, each with `params`, their `names` in
        the model, `lr_factor` (times the schedule's rate) and `weight_decay`.

    Raises:
        ValueError: if a rule matches no parameter, nothing is left to train, or a depth can't be told.
    """
    named = list(model.named_parameters())
    factors = _layer_factors(model, optimizer.layer_decay)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    unused = list(rules)
    for name, parameter in named:
        lr_factor, weight_decay = factors[name], optimizer.weight_decay
        for rule in rules:
            if matches(rule, name, parameter):
                lr_factor *= rule.lr
                weight_decay *= rule.weight_decay
                unused = [other for other in unused if other is not rule]
        if not parameter.requires_grad:
            continue
        group = groups.setdefault(
            (lr_factor, weight_decay),
            {"params": [], "names": [], "lr_factor": lr_factor, "weight_decay": weight_decay},
        )
        group["params"].append(parameter)
        group["names"].append(name)
    if unused:
        raise ValueError(
            f"parameter_rules: {unused[0]} matches no parameter of this model, whose first one is {named[0][0]!r};"
            " correct the pattern or remove the rule"
        )
    if not groups:
        raise ValueError("the model has no trainable parameter")
    return list(groups.values())


def _layer_factors(model: nn.Module, decay: float | None) -> dict[str, float]:
    if decay is None:
        return dict.fromkeys((name for name, _ in model.named_parameters()), 1.0)
    depths = parameter_depths(model)
    top = max(depths.values())
    return {name: decay ** (top - depth) for name, depth in depths.items()}


def matches(rule: ParameterRule, name: str, parameter: nn.Parameter) -> bool:
    """Whether a rule is about the parameter of that name."""
    fits = rule.max_ndim is None or parameter.ndim <= rule.max_ndim
    return fits and re.search(rule.pattern, name) is not None


def build_optimizer(
    model: nn.Module, optimizer: SGD | AdamW, rules: Sequence[ParameterRule] = ()
) -> torch.optim.Optimizer:
    """SGD or AdamW over `parameter_groups`. Its rate is zero until `set_rate` is called, before every step."""
    groups = parameter_groups(model, optimizer, rules)
    if isinstance(optimizer, SGD):
        return torch.optim.SGD(groups, lr=0.0, momentum=optimizer.momentum)
    return torch.optim.AdamW(groups, lr=0.0, betas=optimizer.betas, eps=optimizer.eps)


def set_rate(optimizer: torch.optim.Optimizer, base: float) -> None:
    """Give every group the base rate times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = base * group["lr_factor"]


class EMA:
    """A second model whose weights trail those of a first one.

    Parameters and floating buffers (running statistics of norms) are averaged; other buffers (counters) are copied. The
    n-th update, from 1, uses the decay min(decay, n / (n + 9)), so that the random start is soon forgotten and short
    runs profit too.

    Args:
        model: is deep-copied; `EMA.model` is that copy, in eval mode.
        decay: of the average, 0 < decay < 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"ema_decay {decay}: expected a number between 0 and 1")
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights of `model`."""
        self.updates += 1
        weight = 1 - min(self.decay, self.updates / (self.updates + 9))
        averages, values = [], []
        for mine, theirs in zip(_tensors(self.model), _tensors(model), strict=True):
            if mine.is_floating_point():
                averages.append(mine)
                values.append(theirs)
            else:
                mine.copy_(theirs)
        torch._foreach_lerp_(averages, values, weight)


def _tensors(model: nn.Module) -> list[Tensor]:
    """Parameters (this process's parts where they are sharded) and buffers, each once even if two modules share it."""
    tensors = [*model.parameters(), *model.buffers()]
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def rate(schedule: Schedule, iteration: int) -> float:
    """The base learning rate in force for the optimiser step `iteration`, counted from 0.

    Poly decay, ``lr * (1 - iteration / iterations) ** power``, in all five papers' code. AttaNet's exponential warm-up
    comes before it, the linear warm-up of VAN and Agent Attention scales its first iterations.

    Raises:
        ValueError: if the iteration lies outside schedule.start..schedule.iterations.
    """
    if not schedule.start <= iteration <= schedule.iterations:
        raise ValueError(f"iteration {iteration} lies outside the schedule's {schedule.start}..{schedule.iterations}")
    done, total = iteration - schedule.start, schedule.iterations - schedule.start
    warmup = schedule.warmup
    if isinstance(warmup, ExponentialWarmup):
        if done <= warmup.iterations:
            return float(warmup.start_lr * (schedule.lr / warmup.start_lr) ** (done / warmup.iterations))
        return _poly(schedule, done - warmup.iterations, total - warmup.iterations)
    value = _poly(schedule, done, total)
    if isinstance(warmup, LinearWarmup) and done < warmup.iterations:
        value *= 1 - (1 - done / warmup.iterations) * (1 - warmup.ratio)
    return value


def _poly(schedule: Schedule, done: int, total: int) -> float:
    return float(schedule.lr * (1 - done / total) ** schedule.power)
