"""From the parameter names of released checkpoints to ours, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class KeyMap:
    """How one family of released files names its tensors.

    Attributes:
        name: for messages, e.g. "AttaNet, released".
        renames: (regular expression, replacement) pairs, applied to every key one after another; anchor them.
        dropped: (regular expression, reason) pairs for tensors that our network has no place for, matched on the
            released name.
        absent: (regular expression, reason) pairs for tensors of ours that such files may lack, matched on our name.
    """

    name: str
    renames: tuple[tuple[str, str], ...]
    dropped: tuple[tuple[str, str], ...] = ()
    absent: tuple[tuple[str, str], ...] = ()

    def translate(self, key: str) -> str:
        """Our name for a released one. Keys that no rule matches keep their name."""
        for pattern, replacement in self.renames:
            key = re.sub(pattern, replacement, key)
        return key

    def reason_to_drop(self, key: str) -> str | None:
        """Why a released tensor is left out, or None if it must find its place."""
        return next((reason for pattern, reason in self.dropped if re.search(pattern, key)), None)

    def reason_to_lack(self, key: str) -> str | None:
        """Why a file may come without our tensor `key`, or None if it must have it."""
        return next((reason for pattern, reason in self.absent if re.search(pattern, key)), None)

    def translate_all(self, keys: Iterable[str]) -> dict[str, str]:
        """{released key: our key} of everything that is not dropped."""
        return {key: self.translate(key) for key in keys if self.reason_to_drop(key) is None}
