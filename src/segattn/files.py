"""Files, read and written: only regular ones are opened, and what is written appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from unicodedata import normalize

from segattn.contracts import cut

LARGEST = 1 << 31
"""Bytes of a file that is read whole, where its kind has no smaller bound."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def require_regular(path: str | Path, what: str = "file") -> int:
    """The size in bytes of a regular file; whatever else a path names is refused without opening it.

    Args:
        what: the kind of file that was expected, for the error.

    Raises:
        FileNotFoundError: nothing is there, or a link to nothing.
        ValueError: a folder, a pipe, a device or a socket.
        OSError: the system refuses to look, or links lead in a circle.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise _unreachable(path, what, error) from None
    except ValueError:  # a null byte
        raise ValueError(f"{cut(repr(str(path)))}: no such {what}; a path holds no null byte") from None
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "something else")
        article = "an" if what[0] in "aeiou" else "a"
        raise ValueError(f"{path}: is {kind}, not a regular file; {article} {what} was expected")
    return found.st_size


def read_regular(path: str | Path, what: str = "file", *, largest: int = LARGEST) -> bytes:
    """The bytes of a regular file of at most `largest` bytes.

    Raises:
        FileNotFoundError, ValueError, OSError: as `require_regular`, or the file is larger.
    """
    size = require_regular(path, what)
    if size <= largest:
        with open(path, "rb") as file:
            data = file.read(largest + 1)  # some files of the system say that they are empty
        if len(data) <= largest:
            return data
    raise ValueError(f"{path}: {max(size, largest + 1)} bytes, more than the {largest} that are read of such a {what}")


def read_text(path: str | Path, what: str = "file", *, largest: int = LARGEST) -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark, whatever the locale.

    Raises:
        FileNotFoundError, ValueError, OSError: as `read_regular`, or it is not UTF-8.
    """
    try:
        return decoded(read_regular(path, what, largest=largest))
    except UnicodeError as error:
        raise ValueError(f"{path}: {error}") from None


def decoded(data: bytes) -> str:
    """UTF-8 as text, without its byte order mark.

    Raises:
        UnicodeError: it is none, with the line.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnicodeError(f"line {line} is not UTF-8; save the file in that encoding") from None


def link_to_nothing(path: Path) -> FileNotFoundError:
    """The error for a link whose target is not there, or that leads in a circle."""
    try:
        target = os.readlink(path)
    except OSError:
        target = "?"
    return FileNotFoundError(f"{path}: is a link to {target}, which is not there; mend the link or remove it")


def require_folder(path: str | Path, purpose: str) -> None:
    """Refuse what is no folder, saying what it is.

    Args:
        purpose: what the folder was wanted for, the end of the error.

    Raises:
        FileNotFoundError: nothing is there, or something else than a folder.
    """
    if os.path.isdir(path):
        return
    if os.path.islink(path) and not os.path.exists(path):
        raise link_to_nothing(Path(path))
    found = "is a file; give the folder that it lies in" if os.path.exists(path) else "no such folder"
    raise FileNotFoundError(f"{cut(str(path))}: {found}; {purpose}")


def same_file(name: str) -> str:
    """Equal for names that are one file on some systems: that differ in case, or in how an accent is stored."""
    return normalize("NFC", name).casefold()


def require_separate(outputs: dict[str, Path], source: Path, output: str) -> None:
    """Note in `outputs` that `output` will be made of `source`; see `same_file` for names that count as one.

    Raises:
        ValueError: another source makes a file of that name.
    """
    other = outputs.setdefault(same_file(output), source)
    if other != source:
        raise ValueError(
            f"{other} and {source} would both write {output}; rename one of them, or take them in separate calls, "
            "each with its own output folder"
        )


def require_unread(outputs: Iterable[Path], sources: Iterable[Path]) -> None:
    """Find out before work whether what will be written would replace a file that is read, under whatever name.

    Raises:
        ValueError: it would, naming the file.
    """
    read = {(found.st_dev, found.st_ino) for found in map(_stat, sources) if found is not None}
    for output in outputs:
        found = _stat(output)
        if found is not None and (found.st_dev, found.st_ino) in read:
            raise ValueError(f"{output}: would be written and is a source itself; give another output folder")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _unreachable(path: str | Path, what: str, error: OSError) -> OSError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        if os.path.islink(path):
            return link_to_nothing(Path(path))
        return FileNotFoundError(f"{path}: no such {what}; check the path")
    if error.errno == errno.ENAMETOOLONG:
        return FileNotFoundError(f"{cut(str(path))}: no such {what}; the path is too long")
    return OSError(f"{path}: can't be read ({error.strerror})")


class UnwritableError(OSError):
    """A file can't be written: the disk is full, the folder is someone else's, or the like."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which replaces it once the block ends well and the bytes are on the disk.

    After an error, or a kill at any moment, `path` holds what it held before.

    Raises:
        UnwritableError: it can't be written, naming `path`; nothing else is left behind.
    """
    with naming_file(path), _temporary(path) as temporary:
        yield temporary
        _move(temporary, path)


@contextmanager
def atomic_files(path: Path) -> Iterator[Path]:
    """A folder beside `path` for files that belong together, `path.name` among them, which move beside it in the end.

    That is once the block ends well and all bytes are on the disk, `path` itself last. After an error nothing is
    replaced; a kill between the moves can leave others than `path` replaced.

    Raises:
        UnwritableError: they can't be written, naming `path`; nothing else is left behind.
    """
    folder = path.with_name(f".{path.name}.part")
    with naming_file(path):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
            written = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
            for file in written:
                _sync(file, os.O_RDWR)
            for file in written:
                _move(file, path.with_name(file.name))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a file beside `path` that name once its bytes are on the disk: the last step of `atomic_path` alone.

    Raises:
        UnwritableError: that can't be done, naming `path`.
    """
    with naming_file(path):
        _move(temporary, path)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it; it appears whole or not at all.

    The system decides when it reaches the disk: for the many files that can be made again.

    Raises:
        UnwritableError: it can't be written, naming `path`; nothing else is left behind.
    """
    with naming_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(path) as temporary:
            temporary.write_bytes(data)
            os.replace(temporary, path)


def append(file: IO[bytes], path: Path, data: bytes) -> None:
    """Add to the end of a file that was opened unbuffered: all of it or nothing.

    Raises:
        UnwritableError: it can't be written, naming `path`.
    """
    before = os.fstat(file.fileno()).st_size
    with naming_file(path):
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


@contextmanager
def translating_save(path: Path) -> Iterator[None]:
    """Around torch.save to a path, which has its own words for a full disk and a folder that has gone: the system's.

    Raises:
        OSError: in place of torch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if "Parent directory" in str(error):
            raise OSError("its folder is not there any more") from None
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
        UnwritableError: that.
    """
    try:
        yield
    except OSError as error:
        raise UnwritableError(f"{path}: can't be written ({error.strerror or error})") from None


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


def _move(temporary: Path, path: Path) -> None:
    _sync(temporary, os.O_RDWR)
    os.replace(temporary, path)
    if os.name == "posix":  # the new name itself reaches the disk with its folder, which Windows cannot open
        _sync(path.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
