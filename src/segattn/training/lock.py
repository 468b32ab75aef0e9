"""One run at a time in a folder."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from types import TracebackType

from segattn.files import naming_file

LOCK = ".lock"
_ENTRY = 1 << 30
"""The byte that is locked where locks are of bytes and keep readers away (Windows); who holds it stands before."""

_open: set[int] = set()


class RunLock:
    """Within its block, no other `RunLock` of the same folder can be had, on any machine that shares the folder.

    It ends with the process that holds it, however that ends. Where the file system knows no locks nothing is locked.

    Args:
        folder: of the run; made if it isn't there.
        enabled: false in all processes of a run but the first.

    Attributes:
        works: whether a lock is held, or none was to be.

    Raises:
        ValueError: another process holds it, naming that one.
        OSError: the folder can't be written to.
    """

    def __init__(self, folder: Path, *, enabled: bool = True) -> None:
        self._path = folder / LOCK
        self._descriptor: int | None = None
        self.works = True
        if not enabled:
            return
        folder.mkdir(parents=True, exist_ok=True)
        while self._descriptor is None and self.works:
            with naming_file(self._path):
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(descriptor)
            except BlockingIOError:
                holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
                os.close(descriptor)
                raise ValueError(
                    f"{folder}: a run is going on there already, by {holder}; wait for its end, or choose another"
                    " output folder"
                ) from None
            except OSError:
                self.works = False
                os.close(descriptor)
                self._path.unlink(missing_ok=True)
                return
            if _is_at(descriptor, self._path):
                self._descriptor = descriptor
            else:  # its holder removed it after we had opened it
                os.close(descriptor)
        assert self._descriptor is not None
        _open.add(self._descriptor)
        try:
            with naming_file(self._path):
                os.ftruncate(self._descriptor, 0)
                os.write(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError:
            self._let_go()
            raise

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()

    def _let_go(self) -> None:
        if self._descriptor is None:
            return
        if sys.platform != "win32":  # there, an open file can't be removed
            self._path.unlink(missing_ok=True)
        _open.discard(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None


def _lock(descriptor: int) -> None:
    """Raises BlockingIOError if another process has it, and other errors of the system if it has no locks."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _ENTRY, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _close_all() -> None:
    """In a forked process, such as one that loads data: a lock is held for as long as any copy of it is open."""
    while _open:
        os.close(_open.pop())


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_close_all)
