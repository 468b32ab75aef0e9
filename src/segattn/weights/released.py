"""The authors' own files of weights by a recipe's name: fetched once, and held to what was first seen of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from filelock import FileLock

from segattn.contracts import cut
from segattn.files import checksum, move_into_place, naming_file, read_text, write_file
from segattn.recipes.catalog import RECIPES
from segattn.recipes.links import Link, link_of
from segattn.recipes.schema import Checkpoint, Recipe
from segattn.weights.archive import other_kind
from segattn.weights.download import (
    RefusedError,
    cache_folder,
    discard,
    fetch,
    page_title,
)
from segattn.weights.pretrained import default_weights

DRIVE = "https://drive.google.com"
_QUOTA = ("quota exceeded", "too many users have viewed or downloaded")

Source = TypeVar("Source")


@dataclass(frozen=True)
class Seen:
    """What was seen of a file when it first arrived; kept beside it.

    Attributes:
        size: in bytes.
        sha256: in hexadecimal digits.
        date: as 2026-11-26.
        url: where its publisher links to it.
    """

    size: int
    sha256: str
    date: str
    url: str

    def __str__(self) -> str:
        return f"{self.size} bytes, sha256 {self.sha256}"


def named_weights(recipe: Recipe, weights: Source) -> Source | Path:
    """The file that "default" (what ships) or "released" (the authors') stands for; anything else as it is.

    Raises:
        ValueError: there is none for this recipe, or as `released_file`.
        ConnectionError: it can't be fetched.
    """
    if not isinstance(weights, str):
        return weights
    if weights == "default":
        return default_weights(recipe.name)
    return released_file(recipe) if weights == "released" else weights


def released_file(recipe: Recipe, *, backbone: bool = False) -> Path:
    """The local copy of the authors' weights of a recipe, downloaded if it is not there yet.

    Size and sha256 are kept beside it when it is first seen, and compared ever after.

    Args:
        backbone: the ImageNet weights that its training starts from instead.

    Raises:
        ValueError: none are known, only a browser can fetch them (with what to do), what arrived is no file of weights,
            or the file is another one than was first seen.
        ConnectionError: it can't be fetched.
        UnwritableError: the cache can't be written to.
    """
    checkpoint = _checkpoint(recipe, backbone)
    link = link_of(checkpoint)
    if link is None:
        raise ValueError(_by_hand(recipe, checkpoint, backbone))
    target = place_of(recipe, backbone=backbone)
    with naming_file(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_file():
            _hold_to_record(target, checkpoint)
            return target
        arrived = _arrived(link, checkpoint, target)
        try:
            what = other_kind(arrived)
            if what is not None:
                raise ValueError(f"{checkpoint.url}: what arrived is {what}; it was thrown away")
            _hold_to_record(target, checkpoint, arrived)
            move_into_place(arrived, target)
        finally:
            discard(arrived)
    return target


def place_of(recipe: Recipe, *, backbone: bool = False) -> Path:
    """Where the file is or will be: the same for recipes that share one.

    Raises:
        ValueError: a recipe of a stranger whose file has a path for a name.
    """
    checkpoint = _checkpoint(recipe, backbone)
    name = checkpoint.file or f"{recipe.name}{'_backbone' if backbone else ''}.pth"
    if (
        name in (".", "..")
        or Path(name).name != name
        or not name.isprintable()
        or "\\" in name
        or len(name.encode()) > 200
    ):
        raise ValueError(f"checkpoint.file {cut(repr(name))}: expected a file's name")
    digits = hashlib.sha256(str(checkpoint.url).encode()).hexdigest()[:8]
    return cache_folder() / "released" / digits / name


class Listed(NamedTuple):
    """A released file of a recipe: by whom it is given to programs, None where a browser is needed; the copy here."""

    recipe: str
    source: str | None
    url: str
    file: str | None


def listed(*, backbone: bool = False) -> list[Listed]:
    """All recipes whose authors released a file. Nobody is asked."""
    rows = []
    for recipe in RECIPES.values():
        checkpoint = _checkpoint(recipe, backbone)
        if checkpoint.url is not None:
            link, place = link_of(checkpoint), place_of(recipe, backbone=backbone)
            here = str(place) if place.is_file() else None
            rows.append(Listed(recipe.name, None if link is None else str(link), checkpoint.url, here))
    return rows


def record_of(file: Path) -> Seen | None:
    """What was first seen of a file of `released_file`; None if nothing is known of it.

    Raises:
        ValueError: what is kept beside it is no such record.
    """
    path = _record(file)
    if not path.exists():
        return None
    try:
        seen = Seen(**json.loads(read_text(path, "record", largest=1 << 16)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a record of a downloaded file ({cut(str(error))}); remove it") from None
    return seen


def _checkpoint(recipe: Recipe, backbone: bool) -> Checkpoint:
    return recipe.backbone_checkpoint if backbone else recipe.checkpoint


def _record(file: Path) -> Path:
    return file.with_name(f"{file.name}.seen.json")


def _hold_to_record(target: Path, checkpoint: Checkpoint, arrived: Path | None = None) -> None:
    """That the file is the one that was first seen, which is now if nothing is known of it."""
    file = arrived or target
    now = Seen(file.stat().st_size, checksum(file), f"{datetime.now(timezone.utc):%Y-%m-%d}", str(checkpoint.url))
    first = record_of(target)
    if first is None:
        write_file(_record(target), json.dumps(asdict(now), indent=1).encode())
    elif (first.size, first.sha256) != (now.size, now.sha256):
        if arrived is None:
            raise ValueError(
                f"{target}: changed since it was first seen on {first.date}: it was {first} and is {now}; remove it to"
                " fetch it again"
            )
        raise ValueError(
            f"{checkpoint.url}: another file than was first seen on {first.date}: that was {first}, this is {now}; it"
            f" was thrown away. If its publisher says why, remove {_record(target)} to take the new one"
        )


def _by_hand(recipe: Recipe, checkpoint: Checkpoint, backbone: bool) -> str:
    what = "ImageNet weights of the backbone" if backbone else "weights"
    note = f" ({checkpoint.note})" if checkpoint.note else ""
    if checkpoint.shipped:
        return f'{recipe.name}: its weights ship with segattn and need no download; they are called "default"'
    if backbone and recipe.pretrained is not None:
        return f"{recipe.name}: --pretrained auto gets its {what}, {recipe.pretrained}"
    if checkpoint.url is None:
        return f"{recipe.name}: no released {what} are known{note}"
    return (
        f"{recipe.name}: its {what} are on a page that needs a browser, {checkpoint.url}{note}. Download"
        f" {checkpoint.file or 'the file'} there, look into it with `segattn weights inspect FILE`, and give it as"
        f" --{'pretrained' if backbone else 'weights'} FILE"
    )


def _arrived(link: Link, checkpoint: Checkpoint, target: Path) -> Path:
    """The file under a name beside `target`."""
    if link.kind == "drive":
        return fetch(f"{DRIVE}/uc?{urlencode({'export': 'download', 'id': link.address})}", target, _follow_drive)
    if link.kind == "hub":
        from huggingface_hub import hf_hub_url  # which knows mirrors ($HF_ENDPOINT)

        return fetch(hf_hub_url(link.address, target.name), target)
    return fetch(link.address, target)


class _DownloadForm(HTMLParser):
    """The form of Drive's page "can't scan this file for viruses": where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.values: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form":
            self._inside = found.get("id") == "download-form"
            self.action = found.get("action") if self._inside else self.action
        elif tag == "input" and self._inside and found.get("type") == "hidden" and found.get("name"):
            self.values[str(found["name"])] = found.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "form"


def _follow_drive(url: str, page: str) -> str:
    if any(words in page.lower() for words in _QUOTA):
        raise RefusedError(
            f"{url}: Google Drive gives this file to nobody for now, as too many have fetched it today; try again"
            " tomorrow, or open it in a browser, signed in, and copy it to your own Drive"
        )
    form = _DownloadForm()
    form.feed(page)
    if form.action is None:
        raise RefusedError(
            f"{url}: Google Drive answered with a page{page_title(page)} in the file's place; is it still shared with"
            " everybody?"
        )
    parts = urlsplit(form.action)
    host, own = parts.hostname or "", urlsplit(DRIVE)
    if parts.netloc != own.netloc and not (
        (parts.scheme == "https" and f".{host}".endswith(".google.com"))
        or f".{host}".endswith(".googleusercontent.com")
    ):
        raise RefusedError(f"{url}: Google Drive's page leads to {cut(repr(form.action))}, which is not Google's")
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **form.values})))
