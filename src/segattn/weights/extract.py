"""The tensors of a PyTorch file that also holds other objects, without executing anything that the file says.

Reads the zip format (torch 1.6 and later) and the older one of pickles in a row. Tensors are known by the names of the
functions that would rebuild them and are made here from the raw bytes; everything else in the file stays inert.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from segattn.files import require_regular
from segattn.weights.inert import Built, Name, PickleReader, Pointer

WRAPPERS = ("state_dict", "model")
"""Keys under which checkpoints keep the state dict, in the order in which they are looked for."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_REBUILD = tuple(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3"))
_PARAMETER = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
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
_HARMLESS = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_\w+|torch\.(storage\.|cuda\.)?\w*Storage|torch\.[a-z]+\w*\d+\w*"
    r"|torch\.(Size|Tensor|bool|device)|torch\.nn\.parameter\.Parameter|collections\.OrderedDict|_codecs\.encode"
    r"|numpy\.(core|_core)\.multiarray\.scalar|numpy\.dtype|(__builtin__|builtins)\.(set|bytearray|complex)"
)

ReadStorage = Callable[[str, int], bytes]


@dataclass(frozen=True)
class Extract:
    """What `extract` found.

    Attributes:
        tensors: the state dict, by name; each has its own memory.
        left_out: {entry of the file: what it is} of all that lies beside the state dict.
        foreign: names of other objects that an ordinary reader would have imported and run.
    """

    tensors: dict[str, Tensor]
    left_out: dict[str, str]
    foreign: tuple[str, ...]


def extract(path: str | Path) -> Extract:
    """The state dict of a PyTorch file, and in words what else it holds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a PyTorch file, a damaged one, or one without tensors.
    """
    path = Path(path)
    require_regular(path)
    try:
        with path.open("rb") as file:
            root, names, read = _open_zip(file) if zipfile.is_zipfile(file) else _open_legacy(file)
            chosen, left_out = _choose(root)
            cache: dict[str, Tensor] = {}
            tensors = {name: _tensor(node, read, cache) for name, node in _tensors(chosen)}
    except (ValueError, OSError, zipfile.BadZipFile, struct.error, EOFError, MemoryError) as error:
        raise ValueError(f"{path}: no tensors can be taken from this file: {error or type(error).__name__}") from None
    if not tensors:
        raise ValueError(f"{path}: no tensors can be taken from this file: it holds none")
    foreign = tuple(sorted(name for name in names if not _HARMLESS.fullmatch(name)))
    return Extract(tensors, left_out, foreign)


def _open_zip(file: BinaryIO) -> tuple[Any, set[str], ReadStorage]:
    file.seek(0)
    archive = zipfile.ZipFile(file)
    entries = archive.namelist()
    found = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(found) != 1:
        raise ValueError("a zip file, but not one that torch.save wrote")
    folder = found[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in entries:
        raise ValueError("it is a TorchScript program, not a checkpoint")

    def member(name: str) -> bytes:
        if name not in entries:
            raise ValueError(f"its part {name} is missing")
        if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"its part {name} is compressed, as torch.save never does")
        return archive.read(name)

    if f"{folder}byteorder" in entries and member(f"{folder}byteorder") != b"little":
        raise ValueError("it was written on a big-endian machine")
    reader = PickleReader()
    root = reader.read(BytesIO(member(found[0])))
    return root, reader.names, lambda key, size: member(f"{folder}data/{key}")[:size]


def _open_legacy(file: BinaryIO) -> tuple[Any, set[str], ReadStorage]:
    file.seek(0)
    reader = PickleReader()
    if reader.read(file) != _LEGACY_MAGIC:
        raise ValueError("not a file that torch.save wrote")
    reader.read(file)  # protocol version
    reader.read(file)  # sizes of C types where it was written
    root = reader.read(file)
    keys = reader.read(file)
    storages = [pointer for pointer in reader.pointers if isinstance(pointer.id, tuple) and "storage" in pointer.id[:1]]
    sizes = {key: (count, dtype.itemsize) for key, count, dtype in map(_storage, storages)}
    places: dict[str, int] = {}
    position = file.tell()
    for key in keys if isinstance(keys, list) else []:
        file.seek(position)
        (count,) = struct.unpack("<q", file.read(8))
        if key not in sizes or count != sizes[key][0]:
            raise ValueError("it is cut off or has another layout than torch.save wrote")
        places[key] = position + 8
        position += 8 + count * sizes[key][1]

    def read(key: str, size: int) -> bytes:
        if key not in places:
            raise ValueError(f"the data of its storage {key} are missing")
        file.seek(places[key])
        return file.read(size)

    return root, reader.names, read


def _entries(node: Any) -> dict[Any, Any] | None:
    """What a mapping-like node holds by key; None for anything else."""
    if isinstance(node, dict):
        return node
    if not isinstance(node, Built) or _rebuilds_tensor(node):
        return None
    pairs = node.arguments[0] if node.arguments and isinstance(node.arguments[0], list) else []
    early = {
        pair[0]: pair[1] for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2 and _is_key(pair[0])
    }
    return {**early, **node.items}


def _is_key(value: Any) -> bool:
    return isinstance(value, (str, int))


def _choose(root: Any) -> tuple[Any, dict[str, str]]:
    """The state dict's node, and what lies beside it."""
    entries = _entries(root) or {}
    for wrapper in WRAPPERS:
        if isinstance(entries.get(wrapper), (dict, Built)):
            beside = {str(key): _describe(value) for key, value in entries.items() if key != wrapper}
            return entries[wrapper], beside
    plain = {str(key): _describe(value) for key, value in entries.items() if not any(_tensors(value))}
    return root, plain


def _describe(node: Any) -> str:
    count = sum(1 for _ in _tensors(node))
    kind = node.kind if isinstance(node, Built) else type(node).__name__
    return f"{kind} with {count} tensors" if count else kind


def _tensors(root: Any) -> Iterator[tuple[str, Built]]:
    """All tensors below a node with their dotted names; modules' inner dictionaries add nothing to the name."""
    waiting: list[tuple[str, Any]] = [("", root)]
    seen: set[int] = set()
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, Built) and _rebuilds_tensor(node):
            yield name or "tensor", node
            continue
        if id(node) in seen:
            continue
        children: list[tuple[Any, Any]] = []
        if isinstance(node, (list, tuple)):
            children = list(enumerate(node))
        elif (entries := _entries(node)) is not None:
            children = list(entries.items())
            if isinstance(node, Built) and isinstance(node.state, dict):
                for key, value in node.state.items():
                    hidden = key in ("_parameters", "_buffers", "_modules") and _entries(value) is not None
                    children += list((_entries(value) or {}).items()) if hidden else [(key, value)]
        if children:
            seen.add(id(node))
        waiting += [(f"{name}.{key}" if name else str(key), child) for key, child in reversed(children)]


def _rebuilds_tensor(node: Built) -> bool:
    return node.kind in _REBUILD or node.kind in _PARAMETER or node.kind == _FROM_TYPE


def _tensor(node: Any, read: ReadStorage, cache: dict[str, Tensor]) -> Tensor:
    while isinstance(node, Built) and node.kind not in _REBUILD:  # parameters and subclasses wrap a plain tensor
        if node.kind in _PARAMETER and node.arguments:
            node = node.arguments[0]
        elif node.kind == _FROM_TYPE and len(node.arguments) > 2 and isinstance(node.arguments[0], Name):
            node = Built(node.arguments[0].text, tuple(node.arguments[2]))
        else:
            break
    if not isinstance(node, Built) or node.kind not in _REBUILD or len(node.arguments) < 4:
        raise ValueError("a tensor in it is described in an unknown way")
    pointer, offset, size, stride = node.arguments[:4]
    key, count, dtype = _storage(pointer)
    if node.kind.endswith("_v3"):
        wanted = node.arguments[6].text if len(node.arguments) > 6 and isinstance(node.arguments[6], Name) else "none"
        if wanted not in _DTYPES:
            raise ValueError(f"a tensor in it has the unknown type {wanted}")
        count, dtype = count // _DTYPES[wanted].itemsize, _DTYPES[wanted]
    size, stride = _integers(size), _integers(stride)
    (offset,) = _integers((offset,))
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if 0 not in size else 0
    if reach > count or math.prod(size) > count:
        raise ValueError(f"a tensor of {size} in it does not lie within its storage of {count}")
    if key not in cache:
        raw = read(key, count * dtype.itemsize)
        if len(raw) != count * dtype.itemsize:
            raise ValueError(f"the data of its storage {key} are cut off")
        cache[key] = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
    flat = cache[key].view(dtype) if count else torch.empty(0, dtype=dtype)
    return flat.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


def _storage(pointer: Any) -> tuple[str, int, torch.dtype]:
    """Key, number of elements and type of what a pointer means."""
    parts = pointer.id if isinstance(pointer, Pointer) else None
    if (
        not isinstance(parts, tuple)
        or not 5 <= len(parts) <= 6
        or parts[0] != "storage"
        or not isinstance(parts[1], Name)
    ):
        raise ValueError("it points to data in an unknown way")
    if len(parts) == 6 and parts[5] is not None:
        raise ValueError("it has views of storages, as PyTorch before 0.4 wrote them")
    name = parts[1].text.rsplit(".", 1)[-1].removesuffix("Storage")
    if not parts[1].text.startswith("torch.") or name not in _STORAGES:
        raise ValueError(f"it has a storage of unknown type {parts[1].text}")
    (count,) = _integers((parts[4],))
    return str(parts[2]), count, _STORAGES[name]


def _integers(values: Any) -> tuple[int, ...]:
    if isinstance(values, Built) and values.kind == "torch.Size" and values.arguments:
        values = values.arguments[0]
    if not isinstance(values, (tuple, list)) or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError("a tensor in it has a size that is no row of numbers")
    return tuple(values)
