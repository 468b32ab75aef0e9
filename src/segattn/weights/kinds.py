"""What a file of weights is, by its first bytes, and what it is instead where it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from segattn.files import require_regular

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
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF-", "a PDF document"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<!--", b"<script")
_DOWNLOAD = (
    "what a server answers instead of the file, to a link that has expired or asks for a login: download it again"
)


def kind_of(path: Path) -> Kind:
    """How the file holds tensors, if it does; read from its content, whatever its name. What is unknown is a pickle.

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
