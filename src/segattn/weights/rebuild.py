"""Plain tensors from an inert pickle's records of how to rebuild them, and from raw bytes; nothing else is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segattn.contracts import shown
from segattn.weights.pickle_reader import Built, Name, Pointer

ReadStorage = Callable[[str, int], bytes]
"""(key of a storage, its declared size in bytes) -> exactly that many bytes."""

_REBUILD = tuple(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3"))
_PARAMETER = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_OTHERS = {
    "_rebuild_qtensor": "quantised",
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_meta_tensor_no_storage": "a meta tensor, without values",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_wrapper_subclass": "of a subclass",
    "_rebuild_device_tensor_from_numpy": "of a device that is no processor or GPU",
    "_rebuild_device_tensor_from_cpu_tensor": "of a device that is no processor or GPU",
}
_STORAGES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "Untyped": torch.uint8,
}
_DTYPES = {
    str(dtype): dtype
    for dtype in (
        *_STORAGES.values(),
        torch.uint16,
        torch.uint32,
        torch.uint64,
        torch.float8_e4m3fn,
        torch.float8_e4m3fnuz,
        torch.float8_e5m2,
        torch.float8_e5m2fnuz,
    )
}
_MOST_DIMENSIONS = 32
_LARGEST_NUMBER = 1 << 48
"""Of sizes, strides and offsets, which torch keeps in 64 bits and multiplies."""


def rebuilds_tensor(node: Any) -> bool:
    """Whether a record is one of a tensor, of a kind that `Tensors` makes or of another."""
    return isinstance(node, Built) and (node.kind in _REBUILD or node.kind in _PARAMETER or node.kind == _FROM_TYPE)


def other_tensor(node: Any) -> str | None:
    """In words, which kind of tensor a node is, or a record is of, that has no dense real values; None for all else."""
    if isinstance(node, Tensor):
        return _other_kind(node)
    return _OTHERS.get(node.kind.removeprefix("torch._utils.")) if isinstance(node, Built) else None


def _other_kind(tensor: Tensor) -> str | None:
    if tensor.is_nested:
        return "nested"
    if tensor.is_meta:
        return "a meta tensor, without values"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided:
        return "sparse"
    return "complex" if tensor.is_complex() else None


class Tensors:
    """Makes the tensors of one file, each with memory of its own.

    Args:
        read: gives the bytes of a storage.
        most_bytes: of all tensors together, as many tensors may share one storage.
    """

    def __init__(self, read: ReadStorage, most_bytes: int) -> None:
        self._read, self._left, self._most = read, most_bytes, most_bytes
        self._storages: dict[str, Tensor] = {}
        self._handed_out: set[str] = set()

    def make(self, node: Any) -> Tensor:
        """The tensor of a record.

        Raises:
            ValueError: it is of a kind that can't be read, lies outside its storage, or its data are damaged.
        """
        kind, arguments = _plain(node)
        pointer, offset, size, stride = arguments[:4]
        key, count, dtype = storage_of(pointer)
        if kind.endswith("_v3"):
            wanted = arguments[6].text if len(arguments) > 6 and isinstance(arguments[6], Name) else "none"
            if wanted not in _DTYPES:
                raise ValueError(f"a tensor in it has the unknown type {shown(wanted)}")
            storage_bytes, dtype = count, _DTYPES[wanted]
            count //= dtype.itemsize
        else:
            storage_bytes = count * dtype.itemsize
        size, stride, (offset,) = _integers(size), _integers(stride), _integers((offset,))
        if len(size) != len(stride):
            raise ValueError(f"a tensor in it has {len(size)} dimensions and {len(stride)} strides")
        reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if 0 not in size else 0
        if reach > count or math.prod(size) > count:
            raise ValueError(f"a tensor of {size} in it does not lie within its storage of {count}")
        self._left -= math.prod(size) * dtype.itemsize
        if self._left < 0:
            raise ValueError(f"its tensors share storages, and would take more than {self._most:,} bytes")
        if 0 in size:
            return torch.empty(size, dtype=dtype)
        flat = self._storage(key, storage_bytes)[: count * dtype.itemsize].view(dtype)
        view = flat.as_strided(size, stride, offset)
        if view.is_contiguous() and view.numel() == count and key not in self._handed_out:
            self._handed_out.add(key)
            return flat.view(size)
        return view.clone(memory_format=torch.contiguous_format)

    def _storage(self, key: str, size: int) -> Tensor:
        known = self._storages.get(key)
        if known is None:
            known = self._storages[key] = torch.frombuffer(bytearray(self._read(key, size)), dtype=torch.uint8)
        if len(known) != size:
            raise ValueError(f"its storage {shown(key)} has {len(known)} bytes for one tensor and {size} for another")
        return known


def _plain(node: Any) -> tuple[str, tuple[Any, ...]]:
    """The function and the arguments of the plain tensor that parameters and subclasses wrap."""
    for _ in range(_MOST_DIMENSIONS):
        if not isinstance(node, Built) or node.kind in _REBUILD:
            break
        if node.kind in _PARAMETER and node.arguments:
            node = node.arguments[0]
        elif (
            node.kind == _FROM_TYPE
            and len(node.arguments) > 2
            and isinstance(node.arguments[0], Name)
            and isinstance(node.arguments[2], tuple)
        ):
            node = Built(node.arguments[0].text, node.arguments[2])
        else:
            break
    if not isinstance(node, Built) or node.kind not in _REBUILD or len(node.arguments) < 4:
        other = other_tensor(node)
        raise ValueError(f"a tensor in it is {other}" if other else "a tensor in it is described in an unknown way")
    return node.kind, node.arguments


def storage_of(pointer: Any) -> tuple[str, int, torch.dtype]:
    """Key, number of elements and type of what a pointer means.

    Raises:
        ValueError: it is no pointer to a storage, or to one of another kind.
    """
    parts = pointer.id if isinstance(pointer, Pointer) else None
    if (
        not isinstance(parts, tuple)
        or not 5 <= len(parts) <= 6
        or parts[0] != "storage"
        or not isinstance(parts[1], Name)
        or not isinstance(parts[2], (str, int))
    ):
        raise ValueError("it points to data in an unknown way")
    if len(parts) == 6 and parts[5] is not None:
        raise ValueError("it has views of storages, as PyTorch before 0.4 wrote them")
    name = parts[1].text.rsplit(".", 1)[-1].removesuffix("Storage")
    if not parts[1].text.startswith("torch.") or name not in _STORAGES:
        raise ValueError(f"it has a storage of unknown type {shown(parts[1].text)}")
    (count,) = _integers((parts[4],))
    return str(parts[2]), count, _STORAGES[name]


def _integers(values: Any) -> tuple[int, ...]:
    if isinstance(values, Built) and values.kind == "torch.Size" and values.arguments:
        values = values.arguments[0]
    if (
        not isinstance(values, (tuple, list))
        or len(values) > _MOST_DIMENSIONS
        or not all(type(value) is int and 0 <= value < _LARGEST_NUMBER for value in values)
    ):
        raise ValueError("a tensor in it has a size that is no row of numbers, or one that is too large")
    return tuple(values)
