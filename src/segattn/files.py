"""Files that people hand in: only regular ones are opened, so that no reader waits for ever or reads without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
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


def require_separate(outputs: dict[str, Path], source: Path, output: str) -> None:
    """Note in `outputs` that `output` will be made of `source`.

    Names that differ only in case, or in how an accent is stored, are one file on many systems, and count as one.

    Raises:
        ValueError: another source makes a file of that name.
    """
    other = outputs.setdefault(normalize("NFC", output).casefold(), source)
    if other != source:
        raise ValueError(
            f"{other} and {source} would both write {output}; rename one of them, or take them in separate calls, "
            "each with its own output folder"
        )


def _unreachable(path: str | Path, what: str, error: OSError) -> OSError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        if os.path.islink(path):
            return link_to_nothing(Path(path))
        return FileNotFoundError(f"{path}: no such {what}; check the path")
    if error.errno == errno.ENAMETOOLONG:
        return FileNotFoundError(f"{cut(str(path))}: no such {what}; the path is too long")
    return OSError(f"{path}: can't be read ({error.strerror})")
