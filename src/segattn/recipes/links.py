"""Where a file of weights can be fetched from: what the address on a recipe's row says, without asking anybody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from segattn.recipes.schema import Checkpoint

_DRIVE_ID = re.compile(r"[\w-]{10,100}")


@dataclass(frozen=True)
class Link:
    """An address that a program can fetch a file from.

    Attributes:
        kind: "file", "drive" (Google Drive) or "hub" (Hugging Face).
        address: the URL of the file, its id on Drive, or OWNER/NAME on the hub, where the checkpoint names the file.
    """

    kind: Literal["file", "drive", "hub"]
    address: str

    def __str__(self) -> str:
        """The place, in words."""
        names = {"drive": "Google Drive", "hub": "Hugging Face"}
        return names.get(self.kind) or urlsplit(self.address).netloc


def link_of(checkpoint: Checkpoint) -> Link | None:
    """How a checkpoint's address is fetched; None where there is none, or a page that only a browser can do with.

    That are shares that ask for a code, such as Baidu's, and folders.
    """
    if checkpoint.url is None:
        return None
    parts = urlsplit(checkpoint.url)
    if parts.scheme not in ("http", "https"):
        return None
    query, steps = parse_qs(parts.query), [unquote(step) for step in parts.path.split("/") if step]
    if parts.hostname == "drive.google.com":
        number = query.get("id", [""])[0] or (steps[2] if steps[:2] == ["file", "d"] and len(steps) > 2 else "")
        return Link("drive", number) if _DRIVE_ID.fullmatch(number) else None
    if parts.hostname == "huggingface.co" and len(steps) == 2 and checkpoint.file is not None:
        return Link("hub", "/".join(steps))
    is_file = query.get("dl") == ["1"] or (bool(steps) and steps[-1] == checkpoint.file)
    return Link("file", checkpoint.url) if is_file else None
