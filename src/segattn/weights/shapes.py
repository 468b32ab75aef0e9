"""The names and shapes of a network's tensors, without memory for their values and without making any up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segattn.contracts import Description

_FACTORIES = frozenset((torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn))


class _ShapesOnly(TorchFunctionMode):
    """New tensors get no memory, and initialisation does nothing: on meta tensors it would take most of the time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            return func(*args, **{**kwargs, "device": "meta"})
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.startswith("_") and name != "requires_grad_":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def network_shapes(network: Description, num_classes: int) -> dict[str, Tensor]:
    """The state dict of the described network as meta tensors; small index buffers keep their values.

    Raises:
        ValueError: it names a part that does not exist.
    """
    with _ShapesOnly():
        shapes: dict[str, Tensor] = network.build(num_classes).state_dict()
        return shapes
