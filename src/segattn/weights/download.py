"""Downloads: into the cache, resumed where they stopped, never of two files, and never a page in a file's place."""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

import torch
from filelock import FileLock

from segattn.contracts import cut
from segattn.files import UnwritableError, append, checksum, move_into_place, naming_file, read_text, write_file
from segattn.weights.archive import other_kind

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_TRIES = 3
_PAGES = 3
_LARGEST_PAGE = 1 << 20
_LARGEST = 1 << 35
"""Bytes of a file: several times the largest that is known."""

Follow = Callable[[str, str], str]
"""Given an address and the text of the page that it answered with: the address to ask instead. Raises RefusedError."""


class RefusedError(ConnectionError):
    """The server answers, and not with the file; asking again at once changes nothing."""


class _AnotherFileError(Exception):
    """What is to be continued is no part of the file that is there now."""


def cache_folder() -> Path:
    """The folder of downloads: `$SEGATTN_CACHE`, or torch.hub's folder of checkpoints, which `$TORCH_HOME` moves."""
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
        UnwritableError: the folder or the file can't be written. What has arrived is kept for the next call.
    """
    parts = urlsplit(url)
    name = Path(unquote(parts.path)).name
    if parts.scheme not in ("http", "https") or not name:
        raise ValueError(f"{url}: expected an http or https address that ends in a file's name")
    target = (folder or cache_folder()) / name
    with naming_file(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_file() and checksum(target).startswith(sha256 or ""):
            return target
        partial = fetch(url, target)
        found = checksum(partial)
        if not found.startswith(sha256 or ""):
            what = other_kind(partial)
            partial.unlink()
            raise ValueError(
                f"{url}: what arrived{f' is {what}. It' if what else ''} has the checksum (sha256) {found[:16]}..., "
                f"expected {sha256}...; it was thrown away. Something on the way changed it, or the publisher did"
            )
        move_into_place(partial, target)
    return target


def fetch(url: str, target: Path, follow: Follow | None = None) -> Path:
    """Download beside `target`, under the name that is returned, continuing what an earlier call left there.

    Args:
        follow: what to do with a page in the file's place; by default it is refused.

    Raises:
        ConnectionError: the server can't be reached, refuses, or stops midway.
        UnwritableError: it can't be written.
    """
    partial = target.with_name(f"{target.name}.partial")
    reason = ""
    for _ in range(_TRIES):
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _fetch(url, partial, target.name, follow or refuse_page)
            _facts_file(partial).unlink(missing_ok=True)
            return partial
        except _AnotherFileError as error:
            reason = str(error)
            discard(partial)
        except HTTPError as error:
            if error.code == 416 and before:  # what is here is the whole file already, or more than there is
                discard(partial)
                continue
            raise RefusedError(f"{url}: the server answered {error.code} {error.reason}; {_way_out(target)}") from None
        except RefusedError as error:
            raise RefusedError(f"{error}; {_way_out(target)}") from None
        except UnwritableError:
            raise
        except (http.client.HTTPException, OSError) as error:
            reason = str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
            if not partial.exists() or partial.stat().st_size <= before:
                break
    raise ConnectionError(f"{url}: can't be downloaded ({reason}); the same call continues. {_way_out(target)}")


def discard(partial: Path) -> None:
    """Forget what has arrived of a download."""
    partial.unlink(missing_ok=True)
    _facts_file(partial).unlink(missing_ok=True)


def _way_out(target: Path) -> str:
    return f"Without a connection, fetch it elsewhere and put it at {target}, or give a file of your own"


def refuse_page(url: str, page: str) -> str:
    """The `Follow` for addresses of files.

    Raises:
        RefusedError: always, with the page's title.
    """
    raise RefusedError(f"{url}: answered with a page{page_title(page)} in the file's place")


def page_title(page: str) -> str:
    """The title of a page in brackets, or nothing."""
    found = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    words = " ".join(found[1].split()) if found else ""
    return f" ({cut(words if words.isprintable() else repr(words))})" if words else ""


def _fetch(url: str, partial: Path, name: str, follow: Follow) -> None:
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress

    from segattn.progress import progress_columns

    start = partial.stat().st_size if partial.exists() else 0
    known = _facts(partial) if start else {}
    if start and not known:
        raise _AnotherFileError("an earlier download left a part of which nothing is known")
    headers = {"User-Agent": "segattn"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if known["version"]:
            headers["If-Range"] = known["version"]
    with _open(url, headers, follow) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        if length is None and not response.chunked:
            raise RefusedError(f"{url}: the server doesn't say how large the file is, so that a part looks like all")
        total = None if length is None else start + int(length)
        if total is not None and total > _LARGEST:
            raise RefusedError(f"{url}: {total} bytes, more than the {_LARGEST} that are taken")
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        facts = {"total": total, "version": "" if version.startswith("W/") else version}
        if resumed and facts != known:
            raise _AnotherFileError("the file changed while it was fetched in parts")
        write_file(_facts_file(partial), json.dumps(facts).encode())
        console = Console(stderr=True)
        columns = progress_columns(console, DownloadColumn(), len("1000.0/1000.0 bytes"))
        with naming_file(partial):
            opened = partial.open("ab" if resumed else "wb", buffering=0)
        with (
            opened as file,
            Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ):
            bar = progress.add_task(name, total=total, completed=start)
            arrived = start
            while chunk := response.read(_CHUNK):
                append(file, partial, chunk)
                progress.advance(bar, len(chunk))
                arrived += len(chunk)
                if arrived > _LARGEST:
                    discard(partial)
                    raise RefusedError(f"{url}: sends more than the {_LARGEST} bytes that are taken")
    if total is not None and arrived != total:
        raise http.client.IncompleteRead(b"", total - arrived)


def _open(url: str, headers: dict[str, str], follow: Follow) -> Any:
    """The answer that is a file, after following the pages before it, in one session."""
    opener = build_opener(HTTPCookieProcessor())
    asked = url
    for _ in range(_PAGES):
        response = opener.open(Request(asked, headers=headers), timeout=_TIMEOUT)
        if response.headers.get_content_type() != "text/html":
            return response
        with response:
            page = response.read(_LARGEST_PAGE).decode(errors="replace")
        asked = follow(asked, page)
    raise RefusedError(f"{url}: answered with one page after another")


def _facts_file(partial: Path) -> Path:
    """Of which file a part is: its size and the server's word for its version."""
    return partial.with_name(f"{partial.name}.json")


def _facts(partial: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(_facts_file(partial), largest=4096))
    except (OSError, ValueError):
        return {}
    is_known = isinstance(found, dict) and found.keys() == {"total", "version"} and isinstance(found["version"], str)
    return found if is_known and found["version"].isprintable() else {}
