"""Whether a tensor's values can be copied into a network: checked for all before the first is copied."""

from __future__ import annotations

import torch
from torch import Tensor

from segattn.contracts import cut


def checked(name: str, tensor: Tensor, target: Tensor) -> Tensor:
    """A dense `tensor` in the type of `target`, on the device where it was.

    Args:
        name: of `tensor` in its file; how it ends says what values it may have.

    Raises:
        ValueError: it is of another kind of number; holds values that are NaN or infinite, or don't fit the type; is a
            variance below zero, or an index of positions unlike the network's.
    """
    name, kind = cut(name), str(tensor.dtype).removeprefix("torch.")
    if target.is_floating_point() and not tensor.is_floating_point():
        raise ValueError(f"{name} holds {kind} values, expected floating point; quantised weights can't be loaded")
    converted = tensor.detach().to(target.dtype)
    if target.is_floating_point():
        _require_finite(name, tensor, converted)
        if name.endswith("running_var") and bool((converted < 0).any()):
            raise ValueError(f"{name} holds {int((converted < 0).sum())} variances below zero; the file is damaged")
    elif not torch.equal(converted.double(), tensor.detach().double()):
        raise ValueError(f"{name} holds {kind} values that are no whole numbers")
    elif name.endswith("relative_position_index") and not torch.equal(converted.cpu(), target.cpu()):
        raise ValueError(f"{name} is not the index of positions that follows from the network's window")
    return converted


def count_not_finite(tensor: Tensor) -> int:
    """How many values are NaN or infinite."""
    if not tensor.is_floating_point():
        return 0
    values = tensor if tensor.dtype.itemsize > 1 else tensor.float()  # torch can't tell for 8 bits
    return int((~torch.isfinite(values)).sum())


def _require_finite(name: str, tensor: Tensor, converted: Tensor) -> None:
    count = count_not_finite(converted)
    if not count:
        return
    if count_not_finite(tensor) < count:
        kind = str(converted.dtype).removeprefix("torch.")
        raise ValueError(f"{name} holds {count} of {converted.numel()} values that are too large for {kind}")
    raise ValueError(
        f"{name} holds {count} of {converted.numel()} values that are NaN or infinite, as after a training that "
        "diverged or in a damaged file; take an earlier checkpoint, or download the file again"
    )
