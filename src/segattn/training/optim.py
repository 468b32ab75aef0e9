"""Which parameters learn at what rate and decay, as data, and the optimiser over them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from segattn.recipes.schema import SGD, AdamW, ParameterRule


def parameter_groups(
    model: nn.Module, optimizer: SGD | AdamW, rules: Sequence[ParameterRule] = ()
) -> list[dict[str, Any]]:
    """The trainable parameters by learning rate factor and weight decay.

    Returns:
        Groups for a `torch.optim` optimiser in the order of their first parameter, each with `params`, their `names` in
        the model, `lr_factor` (times the schedule's rate) and `weight_decay`.

    Raises:
        ValueError: if a rule matches no parameter, or nothing is left to train.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    unused = list(rules)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        lr_factor, weight_decay = 1.0, optimizer.weight_decay
        for rule in rules:
            if matches(rule, name, parameter):
                lr_factor *= rule.lr
                weight_decay *= rule.weight_decay
                unused = [other for other in unused if other is not rule]
        group = groups.setdefault(
            (lr_factor, weight_decay),
            {"params": [], "names": [], "lr_factor": lr_factor, "weight_decay": weight_decay},
        )
        group["params"].append(parameter)
        group["names"].append(name)
    if unused:
        first = next(name for name, _ in model.named_parameters())
        raise ValueError(
            f"parameter_rules: {unused[0]} matches no trainable parameter of this model, whose first one is {first!r};"
            " correct the pattern or remove the rule"
        )
    if not groups:
        raise ValueError("the model has no trainable parameter")
    return list(groups.values())


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
