"""Files from the web into a cache: checked, resumed where they stopped, and shared by processes that ask at once."""

from __future__ import annotations

import hashlib
import http.client
import os
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import torch
from filelock import FileLock

from segattn.weights.kinds import other_kind

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_TRIES = 3


def cache_folder() -> Path:
    """Where downloads are kept: `$SEGATTN_CACHE`, or torch.hub's folder of checkpoints, which `$TORCH_HOME` moves."""
    chosen = os.environ.get("SEGATTN_CACHE")
    return Path(chosen).expanduser() if chosen else Path(torch.hub.get_dir()) / "checkpoints"


def download(url: str, *, sha256: str | None = None, folder: Path | None = None) -> Path:
    """The local copy of a file, downloaded if it is not there yet.

    A download that stops is resumed by the next call. With `sha256` also a copy that was there is checked.

    Args:
        url: http or https.
        sha256: the checksum of the file, or its first digits.
        folder: instead of `cache_folder()`.

    Raises:
        ConnectionError: the server can't be reached, refuses, or stops midway.
        ValueError: not a URL of a file, or the file has another checksum.
    """
    parts = urlsplit(url)
    name = Path(unquote(parts.path)).name
    if parts.scheme not in ("http", "https") or not name:
        raise ValueError(f"{url}: expected an http or https address that ends in a file's name")
    target = (folder or cache_folder()) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_file() and checksum(target).startswith(sha256 or ""):
            return target
        partial = target.with_name(f"{target.name}.partial")
        _fetch_all(url, partial, target)
        found = checksum(partial)
        if not found.startswith(sha256 or ""):
            what = other_kind(partial)
            partial.unlink()
            raise ValueError(
                f"{url}: what arrived{f' is {what}. It' if what else ''} has the checksum (sha256) {found[:16]}..., "
                f"expected {sha256}...; it was thrown away. Something on the way changed it, or the publisher did"
            )
        partial.replace(target)
    return target


def _fetch_all(url: str, partial: Path, target: Path) -> None:
    """Download into `partial`, continuing what it holds; try again while each try brings something."""
    reason = ""
    for _ in range(_TRIES):
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _fetch(url, partial, before, target.name)
            return
        except HTTPError as error:
            if error.code == 416 and before:  # what is here is the whole file already, or more than there is
                partial.unlink()
                continue
            raise ConnectionError(
                f"{url}: the server answered {error.code} {error.reason}; {_way_out(target)}"
            ) from None
        except (http.client.HTTPException, OSError) as error:
            reason = str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
            if not partial.exists() or partial.stat().st_size <= before:
                break
    raise ConnectionError(f"{url}: can't be downloaded ({reason}); the same call continues. {_way_out(target)}")


def _way_out(target: Path) -> str:
    return f"Without a connection, fetch it elsewhere and put it at {target}, or give a file of your own"


def _fetch(url: str, partial: Path, start: int, name: str) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    headers = {"User-Agent": "segattn"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with urlopen(Request(url, headers=headers), timeout=_TIMEOUT) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        console = Console(stderr=True)
        with (
            partial.open("ab" if resumed else "wb") as file,
            Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ):
            bar = progress.add_task(name, total=total, completed=start)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                progress.advance(bar, len(chunk))
    arrived = partial.stat().st_size
    if total is not None and arrived != total:
        raise http.client.IncompleteRead(b"", total - arrived)


def checksum(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
