"""Names and shapes of a file's tensors against a network's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segattn.contracts import Description, cut, nearest
from segattn.models.key_map import KeyMap

NO_COUNTER = "counters, which files of old PyTorch lack; at zero"

_MAY_BE_MISSING = (
    (".num_batches_tracked", NO_COUNTER),
    (".relative_position_index", "follows from the window's size"),
)
"""(end of our name, reason) of what a file of any family may lack."""

_MAY_BE_EXTRA = ((".attn_mask", "masks are made for the image at hand"),)
"""(end of the name, reason) of what a file of any family may have beside."""


@dataclass(frozen=True)
class Match:
    """A file's tensors beside a network's, under the naming that fits best.

    Attributes:
        naming: the file's.
        pairs: {our name: name in the file} of tensors that both have.
        dropped: {name in the file: why it is not used}.
        defaulted: {our name: why the file may lack it}.
        unknown: {our form of the name: name in the file} of tensors that the network has no place for.
        missing: our tensors that the file should have.
    """

    naming: KeyMap
    pairs: dict[str, str]
    dropped: dict[str, str]
    defaulted: dict[str, str]
    unknown: dict[str, str]
    missing: tuple[str, ...]

    @property
    def names_fit(self) -> bool:
        """Every tensor on either side is paired or explained."""
        return not self.unknown and not self.missing

    def misfits(self, found: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
        """Our names of pairs whose shapes differ."""
        return [ours for ours, theirs in self.pairs.items() if not _same_shape(found[theirs], target[ours])]

    def without(self, ours: Iterable[str], reason: str) -> Match:
        """The same, but with the tensors of these names (ours) left alone on either side, for one reason."""
        names = set(ours)
        dropped = {theirs: reason for own, theirs in {**self.pairs, **self.unknown}.items() if own in names}
        kept = {own: reason for own in (*self.pairs, *self.missing) if own in names}
        return replace(
            self,
            pairs={own: theirs for own, theirs in self.pairs.items() if own not in names},
            dropped=self.dropped | dropped,
            defaulted=self.defaulted | kept,
            unknown={own: theirs for own, theirs in self.unknown.items() if own not in names},
            missing=tuple(own for own in self.missing if own not in names),
        )


def _same_shape(theirs: Tensor, ours: Tensor) -> bool:
    """Whether one can be copied into the other; a number may have one dimension or none."""
    return theirs.shape == ours.shape or (theirs.ndim, ours.shape) == (0, (1,))


@dataclass(frozen=True)
class Reading:
    """A file's tensor names under one naming: {our form of the name: name in the file}, and why others are dropped."""

    naming: KeyMap
    names: dict[str, str]
    dropped: dict[str, str]


def read_names(found: Iterable[str], namings: Sequence[KeyMap]) -> list[Reading]:
    """The names of a file's tensors under every naming that gives each a name of its own."""
    found, readings = list(found), []
    for naming in namings:
        translated = naming.translate_all(found)
        names = {ours: theirs for theirs, ours in translated.items()}
        if len(names) == len(translated):
            dropped = {key: reason for key in found if (reason := naming.reason_to_drop(key)) is not None}
            extra = {ours: reason for ours in names if (reason := _reason(ours, _MAY_BE_EXTRA)) is not None}
            dropped |= {names.pop(ours): reason for ours, reason in extra.items()}
            readings.append(Reading(naming, names, dropped))
    return readings


def match(readings: Iterable[Reading], target: Iterable[str], *, heads_are_extra: bool = False) -> Match:
    """The match of the reading that pairs most; of equals the first.

    Args:
        readings: at least one.
        target: the network's names, or those of its backbone.
        heads_are_extra: tensors that belong to a head are left out with a word rather than unknown.
    """
    ours = dict.fromkeys(target)
    return _match(max(readings, key=lambda reading: _score(reading, ours, heads_are_extra)), ours, heads_are_extra)


def _score(reading: Reading, target: Mapping[str, None], heads_are_extra: bool) -> int:
    """The number of paired names less that of unknown ones."""
    pairs = sum(1 for ours in reading.names if ours in target)
    extra = sum(1 for ours in reading.names if ours not in target and _in_head(ours)) if heads_are_extra else 0
    return 2 * pairs + extra - len(reading.names)


def _in_head(ours: str) -> bool:
    return ours.startswith(("head.", "auxiliary_head."))


def _reason(name: str, ends: Iterable[tuple[str, str]]) -> str | None:
    return next((reason for end, reason in ends if name.endswith(end)), None)


def _match(reading: Reading, target: Mapping[str, None], heads_are_extra: bool) -> Match:
    pairs = {ours: theirs for ours, theirs in reading.names.items() if ours in target}
    unknown = {ours: theirs for ours, theirs in reading.names.items() if ours not in target}
    dropped = dict(reading.dropped)
    if heads_are_extra:
        extra = [ours for ours in unknown if _in_head(ours)]
        dropped |= {unknown.pop(ours): "no part of the backbone" for ours in extra}
    defaulted, missing = {}, []
    for ours in target:
        if ours in pairs:
            continue
        reason = _reason(ours, _MAY_BE_MISSING) or reading.naming.reason_to_lack(ours)
        if reason is None:
            missing.append(ours)
        else:
            defaulted[ours] = reason
    return Match(reading.naming, pairs, dropped, defaulted, unknown, tuple(missing))


def explain_names(result: Match) -> str:
    """In words, which tensors of a match are unexplained, with the nearest names of the other side."""
    if len(result.missing) > len(result.pairs):  # nothing to compare name by name
        return (
            f"does not fit this network, it is for another: {len(result.unknown)} of its tensors have no place in "
            f"this one, and {len(result.missing)} tensors of this one are not in the file; "
            "`segattn weights inspect FILE` says which recipes it fits"
        )
    lines = [f"does not fit this network (read with {result.naming.name} names):"]
    if result.unknown:
        shown = [f"{cut(theirs)}{nearest(ours, result.missing)}" for ours, theirs in list(result.unknown.items())[:5]]
        lines.append(f"{len(result.unknown)} tensors have no place in it, e.g. {'; '.join(shown)};")
    if result.missing:
        shown = []
        for ours in result.missing[:5]:
            close = [cut(result.unknown[name]) for name in _close(ours, result.unknown)]
            shown.append(f"{ours} (nearest in the file: {', '.join(close)})" if close else ours)
        lines.append(f"{len(result.missing)} of its tensors are not in the file, e.g. {', '.join(shown)}")
    return " ".join(lines)


_MOST_COMPARED = 2000
"""Names that are looked through for the nearest ones."""


def _close(word: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(word, list(known)[:_MOST_COMPARED], n=2, cutoff=0.6)


def class_counts(
    result: Match, misfits: Sequence[str], found: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> tuple[int, int] | None:
    """(classes in the file, classes of the network) if that explains all misfits: equal but for the first dimension."""
    counts = set()
    for ours in misfits:
        theirs_shape, ours_shape = found[result.pairs[ours]].shape, target[ours].shape
        if len(theirs_shape) != len(ours_shape) or not ours_shape or theirs_shape[1:] != ours_shape[1:]:
            return None
        counts.add((theirs_shape[0], ours_shape[0]))
    return counts.pop() if len(counts) == 1 else None


def explain_shapes(
    result: Match, misfits: Sequence[str], found: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> str:
    """In words, which shapes of a match differ."""
    ours = misfits[0]
    theirs = result.pairs[ours]
    more = f" and {len(misfits) - 1} more differ" if len(misfits) > 1 else ""
    shape, wanted = tuple(found[theirs].shape), tuple(target[ours].shape)
    return f"{cut(theirs)} has shape {shape}, the network's {ours} has {wanted}{more}"


_FACTORIES = frozenset((torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn))


class _ShapesOnly(TorchFunctionMode):
    """New tensors get no memory, and initialisation does nothing: on meta tensors it would take most of the time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            return func(*args, **{**kwargs, "device": "meta"})
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.startswith("_") and name != "requires_grad_":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def without_memory(network: Description, num_classes: int) -> Any:
    """The described network with meta tensors, whatever its size; small index buffers keep their values.

    Raises:
        ValueError: it names a part that does not exist.
    """
    with _ShapesOnly():
        return network.build(num_classes)


def network_shapes(network: Description, num_classes: int) -> dict[str, Tensor]:
    """The state dict of `without_memory`; errors as there."""
    shapes: dict[str, Tensor] = without_memory(network, num_classes).state_dict()
    return shapes
