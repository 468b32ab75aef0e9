"""Writing files whole or not at all, whatever happens meanwhile: an error, a kill, a disk that is full."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which replaces it once the block ends well and the bytes are on the disk.

    After an error, or a kill at any moment, `path` holds what it held before.

    Raises:
        OSError: it can't be written, naming `path`; nothing else is left behind.
    """
    with naming_file(path):
        with _replacing(path) as temporary:
            yield temporary
            _sync(temporary, os.O_RDWR)
        if os.name == "posix":  # the new name itself reaches the disk with its folder, which Windows cannot open
            _sync(path.parent, os.O_RDONLY)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it; it appears whole or not at all.

    The system decides when it reaches the disk: for the many files that can be made again.

    Raises:
        OSError: it can't be written, naming `path`; nothing else is left behind.
    """
    with naming_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(path) as temporary:
            temporary.write_bytes(data)


def append_line(file: IO[bytes], path: Path, line: bytes) -> None:
    """Add a line to a file that was opened unbuffered for appending: all of it or nothing.

    Raises:
        OSError: it can't be written, naming `path`.
    """
    before = os.fstat(file.fileno()).st_size
    with naming_file(path):
        try:
            while line:
                line = line[file.write(line) :]
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


@contextmanager
def translating_save(path: Path) -> Iterator[None]:
    """Around torch.save to a path, which tells of a full disk as of positions in an archive: the system's own reason.

    Raises:
        OSError: in place of torch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if "inline_container" not in str(error) and "PytorchStreamWriter" not in str(error):
            raise
        with path.open("ab", buffering=0) as file:  # what stopped torch stops this too, and says why
            for _ in range(16):
                file.write(bytes(1 << 20))
        raise OSError("the file can't be written whole: is the disk full?") from None


def require_writable(folder: Path) -> None:
    """Find out before long work, and without leaving a trace, whether files could be written into a folder.

    It need not exist yet.

    Raises:
        OSError: it can't be made or written to, or is a file.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = f"{existing} is a file" if existing.is_file() else str(error.strerror)
        raise OSError(f"{folder}: nothing can be written there ({reason})") from None


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Within the block, an error of the system says that `path` can't be written, and why.

    Raises:
        OSError: that.
    """
    try:
        yield
    except OSError as error:
        raise OSError(f"{path}: can't be written ({error.strerror or error})") from None


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
