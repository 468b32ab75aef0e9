"""Which parameters learn at what rate and decay, as data, and the optimiser over them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from segattn.recipes.schema import SGD, AdamW, ParameterRule
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
