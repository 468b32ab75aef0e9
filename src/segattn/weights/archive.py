"""PyTorch's zip archives and older files, and other kinds of file told from them.

The zip format is that of torch 1.6 and later, the older one is a row of pickles with the storages' bytes after them.
What a file may ask for is bounded by its own size; `docs/security.md` lists the bounds.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

from segattn.contracts import cut, shown
from segattn.files import require_regular
from segattn.weights.pickle_reader import Built, PickleReader
from segattn.weights.rebuild import ReadStorage, storage_of

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_LARGEST_PROGRAM = 64 << 20
"""Bytes of the pickle in a zip archive."""

_SPARE = 64 << 20

_LARGEST_DIRECTORY = 16 << 20
"""Bytes of a zip archive's list of parts, each of which takes a hundred or so."""

_LONGEST_LINE = 1 << 16
"""Bytes of a text that a pickle of protocol 0 ends with a line break."""

_HARMLESS = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_\w+|torch\.(storage\.|cuda\.)?\w*Storage|torch\.[a-z]+\w*\d+\w*"
    r"|torch\.(Size|Tensor|bool|device|strided|per_\w+|serialization\._get_layout)|torch\.nn\.parameter\.Parameter"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode"
    r"|numpy\.(core|_core)\.multiarray\.scalar|numpy\.dtype|(__builtin__|builtins)\.(set|bytearray|complex)"
)

_NUMBERS = re.compile(r"[<>=|]?(b1|\?|[iu][1248]|f[248])")


@dataclass(frozen=True)
class Archive:
    """The content of a file of `torch.save`, inert.

    Attributes:
        root: the pickled object, of plain containers and `inert.Built`.
        foreign: names of objects that an ordinary reader would have imported and run.
        read: gives the bytes of a storage.
        most_bytes: that its tensors may take together: some may share a storage.
    """

    root: Any
    foreign: tuple[str, ...]
    read: ReadStorage
    most_bytes: int


@contextmanager
def opened(path: Path, kind: Kind) -> Iterator[Archive]:
    """The file's content, readable while the block lasts.

    Raises:
        ValueError: not a file of `torch.save`, a damaged one, or one that asks for more than it holds; the file is not
            named. Also from within the block, where it reads what is damaged.
    """
    if kind == "safetensors":
        raise ValueError("a safetensors file, not one that torch.save wrote")
    try:
        with path.open("rb") as file:
            yield _open_zip(file) if kind == "zip" else _open_legacy(file)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{cut(str(error))}: it is cut off or damaged; download or copy it again") from None
    except (struct.error, EOFError, OverflowError, MemoryError, RuntimeError, OSError) as error:
        # zipfile has RuntimeError for encrypted parts and OSError for places outside the file
        raise ValueError(cut(str(error)) or type(error).__name__) from None


def _open_zip(file: BinaryIO) -> Archive:
    size = os.fstat(file.fileno()).st_size
    _check_directory(file, size)
    archive = zipfile.ZipFile(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) != len(archive.infolist()):
        raise ValueError("it holds two parts of one name, and which of the two counts can't be known")
    if sum(entry.compress_size for entry in entries.values()) > size:
        raise ValueError("its parts lie over one another")
    found = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(found) != 1:
        arrays = bool(entries) and all(name.endswith(".npy") for name in entries)
        what = "an archive of NumPy arrays (.npz), which are not read" if arrays else "a zip file"
        raise ValueError(f"{what}, but not one that torch.save wrote")
    folder = found[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in entries:
        raise ValueError("it is a TorchScript program, not a checkpoint")

    def member(name: str) -> bytes:
        entry = entries.get(name)
        if entry is None:
            raise ValueError(f"its part {shown(name)} is missing")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ValueError(f"its part {shown(name)} is compressed, as torch.save never does")
        return archive.read(entry)  # checks the CRC-32

    if f"{folder}byteorder" in entries and member(f"{folder}byteorder") != b"little":
        raise ValueError("it was written on a big-endian machine")
    if entries[found[0]].file_size > _LARGEST_PROGRAM:
        raise ValueError(f"its pickle has {entries[found[0]].file_size:,} bytes, more than {_LARGEST_PROGRAM:,}")
    reader = PickleReader()
    root = reader.read(BytesIO(member(found[0])))

    def read(key: str, wanted: int) -> bytes:
        data = member(f"{folder}data/{key}")
        if len(data) != wanted:
            what = "are cut off" if len(data) < wanted else "are more than it says"
            raise ValueError(f"the data of its storage {shown(key)} {what}: {len(data)} bytes, {wanted} declared")
        return data

    return Archive(root, _foreign(reader), read, 4 * size + _SPARE)


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuse an archive whose list of parts alone would fill the memory."""
    file.seek(max(0, size - (1 << 16) - 128))
    tail = file.read()
    end, end64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    declared = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    if declared == 0xFFFFFFFF:
        declared = int.from_bytes(tail[end64 + 40 : end64 + 48], "little") if end64 >= 0 else 0
    if declared > _LARGEST_DIRECTORY:
        raise ValueError(f"its list of parts has {declared:,} bytes, more than {_LARGEST_DIRECTORY:,}")
    file.seek(0)


class _Clamped:
    """A file whose reads ask for no more than is there, so that a declared length takes no memory by itself."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._size - self._file.tell()))

    def readline(self) -> bytes:
        return self._file.readline(_LONGEST_LINE)


def _open_legacy(file: BinaryIO) -> Archive:
    size = os.fstat(file.fileno()).st_size
    head = file.read(16)
    file.seek(0)
    if not head.startswith(b"\x80"):
        raise ValueError(f"not a file that torch.save wrote: it begins with {shown(head)}")
    stream: Any = _Clamped(file, size)
    reader = PickleReader()
    if reader.read(stream) != _LEGACY_MAGIC:
        raise ValueError("a pickle, but not a file that torch.save wrote")
    reader.read(stream)  # protocol version
    reader.read(stream)  # sizes of C types where it was written
    root = reader.read(stream)
    keys = reader.read(stream)
    found = [storage_of(one) for one in reader.pointers if isinstance(one.id, tuple) and one.id[:1] == ("storage",)]
    sizes = {key: (count, dtype.itemsize) for key, count, dtype in found}
    places: dict[str, tuple[int, int]] = {}
    position = file.tell()
    for key in keys if isinstance(keys, list) else []:
        file.seek(position)
        (count,) = struct.unpack("<q", file.read(8))
        if not isinstance(key, str) or key not in sizes or count != sizes[key][0] or key in places:
            raise ValueError("it is cut off or has another layout than torch.save wrote")
        places[key] = (position + 8, count * sizes[key][1])
        position += 8 + count * sizes[key][1]
    if position > size:
        raise ValueError("it is cut off: its storages reach beyond its end")

    def read(key: str, wanted: int) -> bytes:
        place, there = places.get(key, (0, -1))
        if there != wanted:
            raise ValueError(f"the data of its storage {shown(key)} are missing, or not of the declared size")
        file.seek(place)
        return file.read(wanted)

    return Archive(root, _foreign(reader), read, 4 * size + _SPARE)


def _foreign(reader: PickleReader) -> tuple[str, ...]:
    names = {name for name in reader.names if not _HARMLESS.fullmatch(name)}
    # NumPy makes objects of any size, and pointers out of numbers, from the types that a file may name
    names |= {"numpy values that are no plain numbers" for one in reader.built if not _is_plain(one)}
    return tuple(sorted(names))


def _is_plain(node: Built) -> bool:
    if node.kind == "numpy.dtype":
        code = node.arguments[0] if node.arguments else None
        return isinstance(code, str) and _NUMBERS.fullmatch(code) is not None
    if node.kind.startswith("numpy.") and node.kind.endswith(".scalar"):
        dtype = node.arguments[0] if node.arguments else None
        return isinstance(dtype, Built) and dtype.kind == "numpy.dtype" and len(node.arguments) == 2
    return True


Kind = Literal["safetensors", "zip", "pickle"]

_LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors header, which is also the format's own limit."""

_BEGINNINGS = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer: `git lfs pull` fetches the file that it stands for",
    ),
    (b"/annex/objects/", "a git-annex pointer: `git annex get` fetches the file that it stands for"),
    (b"\x1f\x8b", "a gzip archive: unpack it with gunzip, or with tar if its name ends in .tar.gz or .tgz"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it first"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras or MATLAB), which is not read"),
    (b"\x93NUMPY", "a NumPy array (.npy), which is not read"),
    (b"GGUF", "a GGUF file, which is not read"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF-", "a PDF document"),
)

_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<!--", b"<script")

_DOWNLOAD = (
    "what a server answers instead of the file, to a link that has expired or asks for a login: download it again"
)


def kind_of(path: Path) -> Kind:
    """The kind of file, if it holds tensors; read from its content, whatever its name. What is unknown is a pickle.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is nothing that weights are kept in; says what it is.
    """
    size = require_regular(path, "weights file")
    with path.open("rb") as file:
        head = file.read(512)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= min(_LONGEST_HEADER, size - 8):
        return "safetensors"  # before the others: the header's length may look like the beginning of any of them
    other = _other(head)
    if other is not None:
        raise ValueError(f"{path}: is {other}")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if path.suffix == ".safetensors" and not head.startswith(b"\x80"):
        raise ValueError(f"{path}: not a whole safetensors file: cut off, or another kind of file under that name")
    return "pickle"


def other_kind(path: Path) -> str | None:
    """In words, what a file is that is no file of weights; None where that is not known."""
    with path.open("rb") as file:
        return _other(file.read(512))


def _other(head: bytes) -> str | None:
    """In words, what a file with this beginning is, if that is known and no file of weights."""
    if not head:
        return "empty: a download that did not begin?"
    for beginning, name in _BEGINNINGS:
        if head.startswith(beginning):
            return name
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first (PyTorch files before 0.1.10 were such, and are not read)"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES):
        return f"an HTML or XML page, {_DOWNLOAD}"
    if text.startswith((b"{", b"[")) and b"\x00" not in head:
        return f"JSON text, maybe {_DOWNLOAD}"
    if head.strip(b"\x00") == b"":
        return "zeros at its beginning: a download or a copy that was cut off?"
    return None
