"""What loading did, tensor by tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from segattn.contracts import cut

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` or `load_backbone` did. Printed, it is one line; `details()` names every tensor.

    Attributes:
        source: the file, or "state dict".
        naming: whose key names the source uses.
        loaded: how many tensors were copied.
        renamed: {name in the source: our name} where they differ.
        resized: {our name: (shape in the source, our shape)} of tensors that were interpolated, or, for an index of
            positions, replaced by ours.
        dropped: {name in the source: why it is not used}.
        defaulted: {our name: why the source lacks it}: these tensors keep their initial values.
        beside: entries of the file that are no weights (epoch, optimizer, ...).
        notes: further changes, in words.
    """

    source: str
    naming: str
    loaded: int
    renamed: dict[str, str] = field(repr=False)
    resized: dict[str, tuple[Shape, Shape]] = field(repr=False)
    dropped: dict[str, str] = field(repr=False)
    defaulted: dict[str, str] = field(repr=False)
    beside: tuple[str, ...] = field(repr=False)
    notes: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        parts = [f"{self.source}: {self.loaded} tensors loaded ({self.naming} names)"]
        if self.renamed:
            parts.append(f"{len(self.renamed)} renamed")
        if self.resized:
            parts.append(f"{len(self.resized)} resized")
        parts += [f"{count} left out ({reason})" for reason, count in Counter(self.dropped.values()).items()]
        parts += [f"{count} of ours kept ({reason})" for reason, count in Counter(self.defaulted.values()).items()]
        if self.beside:
            parts.append(f"not read: {listed(self.beside)}")
        return ", ".join([*parts, *self.notes])

    def details(self) -> str:
        """One line for each tensor that was not simply copied."""
        lines = [f"resized   {name}: {size(old)} to {size(new)}" for name, (old, new) in self.resized.items()]
        lines += [f"left out  {name}: {reason}" for name, reason in self.dropped.items()]
        lines += [f"kept      {name}: {reason}" for name, reason in self.defaulted.items()]
        return "\n".join(lines)


def size(shape: Shape) -> str:
    """A shape as 1x3x9x72."""
    return "x".join(map(str, shape)) or "scalar"


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names from a file as one line of bounded length."""
    shown = ", ".join(cut(name if name.isprintable() else repr(name)) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
