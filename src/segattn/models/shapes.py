"""What a network does, from shapes alone: a stand-in whose tensors hold no values, and the memory of a forward pass.

Nothing is computed, so that any size takes seconds and no memory, on the CPU, wherever the model is.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segattn.models.segmenter import Segmenter


@contextmanager
def stand_in(model: Segmenter) -> Generator[Segmenter]:
    """A copy of the model in evaluation, on the CPU and without values, in a mode in which all tensors are so."""
    with FakeTensorMode(), torch.no_grad():
        empty = {id(tensor): _without_values(tensor) for tensor in (*model.parameters(), *model.buffers())}
        yield copy.deepcopy(model, dict(empty)).eval()


def _without_values(tensor: Tensor) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def forward_bytes(model: Segmenter, size: tuple[int, int]) -> int:
    """The most bytes that tensors take at once from one normalised image of `size` (height, width) to coarse logits.

    The image counts, the weights do not. What kernels take for themselves comes on top, and what the heap wastes.
    """
    with stand_in(model) as shadow, _Storages() as storages:
        shadow.logits(torch.empty(1, model.in_channels, *size, dtype=model.mean.dtype))
    return int(storages.most)


class _Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operators make, from when they are made until nothing holds them.

    Attributes:
        most: bytes, the largest sum so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._held: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and id(leaf.untyped_storage()) not in given:
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._held:
            return

        def remove(_: object) -> None:
            del self._held[key]
            self._now -= size

        self._held[key] = weakref.ref(storage, remove)
        self._now += size
        self.most = max(self.most, self._now)
