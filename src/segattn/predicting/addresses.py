"""Images and results at addresses (s3://bucket/photos, gs://, ...), which fsspec and its drivers read and write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segattn.contracts import cut
from segattn.datasets.headers import IMAGE_SUFFIXES
from segattn.datasets.images import is_leftover
from segattn.files import LARGEST, write_file

_SCHEME = re.compile(r"([a-zA-Z][\w+.-]*)://")
_REFUSED = re.compile(r"credential|forbidden|denied|unauthorized|\b40[13]\b|permission|anonymous", re.IGNORECASE)
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
"""What file systems of fsspec call the time at which a file was written, the first that one has."""


def is_address(text: str) -> bool:
    """Whether a text is a URL rather than a path. `local_path` comes first: file:// is a path."""
    return _SCHEME.match(text) is not None


def local_path(text: str) -> str:
    """The path of a file:// URL; anything else as it is."""
    return text.removeprefix("file://") if text.lower().startswith("file://") else text


def join(address: str, name: str) -> str:
    """The address of a name below another."""
    return f"{address.rstrip('/')}/{name}"


def file_system(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and its path there.

    Raises:
        OSError: there is no such kind of address, its driver is not installed, or needs what it doesn't find.
    """
    from fsspec.core import url_to_fs

    try:
        found: tuple[Any, str] = url_to_fs(address)
    except ImportError as error:
        package = re.search(r"[Ii]nstall[ '\"]+([\w.\[\]-]+)", str(error))
        what = f"pip install {package[1]}" if package and package[1] != "pip" else cut(str(error))
        raise OSError(f"{cut(address)}: needs a package that is not installed: {what}") from None
    except Exception as error:  # of the driver's own kinds
        raise _failed(address, "used", error) from None
    return found


def read_address(address: str) -> bytes:
    """The bytes at an address, of which at most 2 GiB are read.

    Raises:
        OSError: nothing is there or it can't be read, saying why.
    """
    fs, path = file_system(address)
    with naming_address(address, "read"):
        size = fs.size(path)
        if size is not None and size > LARGEST:
            raise OSError(f"{size} bytes, more than the {LARGEST} that are read")
        return bytes(fs.cat_file(path))


def find_addresses(address: str) -> list[str]:
    """The images that an address names, sorted: itself, those of a folder without its sub-folders, or of a pattern.

    Raises:
        FileNotFoundError: it names none.
        OSError: it can't be looked at.
    """
    fs, path = file_system(address)
    with naming_address(address, "read"):
        if any(sign in path for sign in "*?["):
            paths = [each for each in fs.glob(path) if not is_leftover(each.rpartition("/")[2])]
        elif fs.isfile(path):
            return [address]
        elif fs.isdir(path):
            entries = [entry["name"] for entry in fs.ls(path, detail=True) if entry["type"] == "file"]
            paths = [
                each
                for each in entries
                if each.lower().endswith(tuple(IMAGE_SUFFIXES)) and not is_leftover(each.rpartition("/")[2])
            ]
        else:
            raise FileNotFoundError("no such file or folder")
        if not paths:
            raise FileNotFoundError("no images there")
        return sorted(str(fs.unstrip_protocol(each)) for each in paths)


class Store:
    """A folder of results, here or at an address.

    Args:
        root: the folder's path or address; it is made when something is written.

    Raises:
        OSError: as `file_system`.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = str(root)
        self._folder = root if isinstance(root, Path) else None
        self._fs, self._path = file_system(str(root.absolute()) if isinstance(root, Path) else root)

    def write(self, name: str, data: bytes) -> None:
        """Write a file; it appears whole or not at all.

        Raises:
            OSError: it can't be written, naming it.
        """
        if self._folder is not None:
            write_file(self._folder / name, data)
            return
        with naming_address(join(self.root, name), "written"):
            path = join(self._path, name)
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, data)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None where it isn't there. Raises OSError."""
        with naming_address(join(self.root, name), "read"):
            try:
                return bytes(self._fs.cat_file(join(self._path, name)))
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. Raises OSError."""
        with naming_address(join(self.root, name), "removed"):
            if self._fs.exists(join(self._path, name)):
                self._fs.rm_file(join(self._path, name))

    def files(self) -> dict[str, float]:
        """All files below, by their names from here, and the time of each in seconds, 0 where it is not known."""
        with naming_address(self.root, "read"):
            self._fs.invalidate_cache()
            found: dict[str, dict[str, Any]] = self._fs.find(self._path, detail=True)
        return {name[len(self._path.rstrip("/")) + 1 :]: _time(info) for name, info in found.items()}


def _time(info: dict[str, Any]) -> float:
    value = next((info[key] for key in _TIMES if info.get(key) is not None), 0.0)
    return float(value.timestamp() if hasattr(value, "timestamp") else value)


@contextmanager
def naming_address(address: str, what: str) -> Iterator[None]:
    """Within the block, whatever a driver raises says that the address can't be read (or so), and why."""
    try:
        yield
    except Exception as error:  # drivers raise what their libraries do
        raise _failed(address, what, error) from None


def _failed(address: str, what: str, error: Exception) -> OSError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    if isinstance(error, FileNotFoundError):
        said = reason if reason.startswith("no ") else "no such file"
        return FileNotFoundError(f"{cut(address)}: {said}; check the address")
    if isinstance(error, PermissionError) or _REFUSED.search(f"{type(error).__name__} {reason}"):
        reason += "; it needs credentials, which its driver takes from the environment of each machine that reads it"
    return OSError(f"{cut(address)}: can't be {what} ({cut(reason)})")
