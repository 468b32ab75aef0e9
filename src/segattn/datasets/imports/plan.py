"""Where imported images go: their splits, their names, and the ids of the classes in the masks."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from segattn.contracts import IGNORE, nearest
from segattn.datasets.imports.source import BACKGROUND, Found, Job, is_ignored, split_of
from segattn.files import same_file

MOST_CLASSES = 253
"""Beside background: ids 1 to 253, as 254 and 255 have other meanings."""

_GENERIC = ("images", "image", "imgs", "img", "jpegimages", "data", "default")
_LONGEST = 200  # bytes of one part of a name, to which a suffix and a temporary one come


def with_splits(jobs: list[Job], val: float) -> tuple[list[Job], str | None]:
    """The jobs, each with a split, and a note where the tool's own were not enough.

    Where there is no `val`, the share `val` of the training images becomes it, chosen by a hash of each one's name, so
    that it stays where it is when others come; a class is never left to `val` alone.
    """
    given = any(job.split for job in jobs)
    jobs = [replace(job, split=job.split or "train") for job in jobs]
    train = [number for number, job in enumerate(jobs) if job.split == "train"]
    if val <= 0 or len(train) < 2 or any(job.split == "val" for job in jobs):
        return jobs, None
    order = sorted(train, key=lambda number: (_fraction(jobs[number].name), jobs[number].name))
    chosen = {number for number in order if _fraction(jobs[number].name) < val} or {order[0]}
    if len(chosen) == len(order):
        chosen.discard(order[-1])
    left = Counter(label for number in train if number not in chosen for label in jobs[number].labels)
    for number in order:
        if number in chosen and len(chosen) > 1 and any(not left[label] for label in jobs[number].labels):
            chosen.discard(number)
            left.update(jobs[number].labels)
    what = "no val among the tool's splits" if given else "the tool has no splits"
    note = f"{what}: {len(chosen)} of {len(train)} images became val by a hash of their names (--val chooses the share)"
    return [replace(job, split="val") if number in chosen else job for number, job in enumerate(jobs)], note


def _fraction(name: str) -> float:
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:6], "big") / (1 << 48)


def target_names(jobs: Sequence[Job]) -> list[str]:
    """SPLIT/NAME of each job without a suffix, all different on every file system.

    Folders that all have in common or that only say what a file is (images, train) are dropped, all others are kept, so
    that equal names in several folders stay apart.
    """
    common = posixpath.commonpath([f"/{posixpath.dirname(job.name)}" for job in jobs])[1:] if jobs else ""
    candidates = [_candidates(job, f"{common}/" if common else "") for job in jobs]
    names = [first for first, *_ in candidates]
    for number in range(1, len(candidates[0]) if candidates else 0):
        twice = _repeated(names)
        names = [row[number] if same_file(name) in twice else name for name, row in zip(names, candidates, strict=True)]
    names = ["/".join(_fitting(part) for part in name.split("/")) for name in names]
    taken: set[str] = set()
    for number, name in enumerate(names):
        count, free = 1, name
        while same_file(free) in taken:
            count += 1
            free = f"{name}-{count}"
        taken.add(same_file(free))
        names[number] = free
    return names


def _repeated(names: list[str]) -> set[str]:
    return {name for name, count in Counter(map(same_file, names)).items() if count > 1}


def _candidates(job: Job, common: str) -> tuple[str, ...]:
    """Names from the shortest on, the first of which that nothing else has will do."""
    parts = job.name.removeprefix(common).split("/")
    while len(parts) > 1 and (parts[0].lower() in _GENERIC or split_of(parts[0])):
        parts = parts[1:]
    short = "/".join([*(part for part in parts[:-1] if part.lower() not in _GENERIC[:6]), parts[-1]])
    stems = [(posixpath.splitext(name)[0], posixpath.splitext(name)[1][1:].lower()) for name in (short, job.name)]
    return tuple(f"{job.split}/{name}" for stem, kind in stems for name in (stem, f"{stem}-{kind}"))


def _fitting(part: str) -> str:
    data = os.fsencode(part)
    if len(data) <= _LONGEST:
        return part
    return os.fsdecode(data[:_LONGEST]).encode("utf-8", "ignore").decode() + hashlib.sha256(data).hexdigest()[:8]


def class_ids(found: Found, ignore: Iterable[str]) -> dict[str, int]:
    """Class -> id in the masks: background 0, others 1 on in the tool's order, ignored ones 255.

    Raises:
        ValueError: `ignore` names no class, or there are more classes than masks can hold.
    """
    ignore = tuple(ignore)
    for name in ignore:
        if name not in found.classes:
            raise ValueError(
                f"--ignore {name}: no such class; there are {', '.join(list(found.classes)[:20])}."
                f"{nearest(name, found.classes)}"
            )
    dropped = {name for name in found.classes if name in ignore or is_ignored(name)}
    kept = [name for name in found.classes if name not in dropped]
    others = [name for name in kept if name != BACKGROUND]
    if len(others) > MOST_CLASSES:
        used = {label for job in found.jobs for label in job.labels}
        others = [name for name in others if name in used]
    if len(others) > MOST_CLASSES:
        raise ValueError(f"{len(others)} classes are annotated, and masks hold {MOST_CLASSES} beside background")
    ids = {BACKGROUND: 0} | {name: number for number, name in enumerate(others, 1)}
    return ids | dict.fromkeys(dropped, IGNORE)
