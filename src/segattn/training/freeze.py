"""Parts of a network that don't learn."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Parameters whose name a pattern matches (searched, as `ParameterRule`'s are) stop learning, in place.

    A batch norm whose weight and bias both match, by name, goes into evaluation mode too: it normalises by its running
    statistics and leaves them as they are. That lasts until `train` is called on it, so this comes after that call.
    Other modules, such as dropout, stay as they are.

    Raises:
        ValueError: a pattern matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise ValueError(
                f"training.frozen: {pattern!r} matches no parameter of this model, whose first one is {names[0]!r};"
                " correct the pattern or remove it"
            )

    def is_frozen(name: str) -> bool:
        return any(re.search(pattern, name) for pattern in patterns)

    for name, parameter in model.named_parameters():
        if is_frozen(name):
            parameter.requires_grad_(False)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and is_frozen(f"{name}.weight") and is_frozen(f"{name}.bias"):
            module.eval()
