"""Passes of a network beside one another on the CPU: how many, on how many threads each, and within which memory.

A small network has too little work between two barriers for all cores: two threads label AttaNet-light's images 1.19
times as fast as one (docs/scale.md). Passes of different images wait for nothing of each other. Nothing here imports
torch until memory is worked out by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import TYPE_CHECKING

from segattn.evaluation.geometry import Size
from segattn.evaluation.protocol import Protocol
from segattn.evaluation.score_array import looks_once
from segattn.exporting.exported import ExportedModel

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter

_MOST_A_PIXEL = 2500
"""Bytes that a pass takes for each pixel of its input, in any network here: Agent-Swin with UperNet takes 2326 by
`bounded.whole_bytes`, AttaNet-light 137."""

_PLANES = 1.5
"""Times the scores of all classes at the image's size: what protocols hold at most that look more than once, of all
looks together, each as coarse as the network makes it. The most is 1.3, of `danet_multi_2018` at a stride of 8."""


@dataclass(frozen=True)
class Abreast:
    """How many images go through a network at a time, and on how many threads each.

    Attributes:
        workers: how many; 1 for one after another, in the caller's thread and on all its threads.
        threads: of each.
        room: what they may take together, where they are several and that is bounded.
    """

    workers: int
    threads: int
    room: Room | None = None

    def words(self) -> str:
        """One line; empty where one image goes after another."""
        if self.workers == 1:
            return ""
        return f"{self.workers} at a time on {self.threads} thread{'s' * (self.threads != 1)} each"


@dataclass(frozen=True)
class Room:
    """Memory that several passes share: one that would not fit beside those under way waits for them.

    Attributes:
        memory: bytes for all. A pass that takes more goes alone.
        a_pixel: bytes that a pass takes for each pixel at which its image is read.
    """

    memory: int
    a_pixel: float
    _changed: Condition = field(default_factory=Condition, repr=False, compare=False)
    _under_way: list[int] = field(default_factory=list, repr=False, compare=False)

    def needed(self, size: Size) -> int:
        """Bytes of a pass of an image that is read at (height, width)."""
        return max(round(self.a_pixel * size[0] * size[1]), 1)

    @contextmanager
    def taken(self, size: Size) -> Iterator[None]:
        """For the block, a pass of an image that is read at (height, width) has its part."""
        needed = min(self.needed(size), self.memory)
        with self._changed:
            self._changed.wait_for(lambda: sum(self._under_way) + needed <= self.memory)
            self._under_way.append(needed)
        try:
            yield
        finally:
            with self._changed:
                self._under_way.remove(needed)
                self._changed.notify_all()


def abreast(
    model: Segmenter | ExportedModel,
    protocol: Protocol,
    read_at: Size,
    *,
    images: int,
    threads: int,
    memory: int | None,
    exact: bool = False,
    workers: int | None = None,
) -> Abreast:
    """As many passes abreast as there are threads, one thread each, or as fit the memory, with more threads each.

    One after another, where there are fewer images than passes, or the network draws at random, so that its labels
    would depend on which pass is first.

    Args:
        read_at: (height, width) at which images are usually read.
        images: how many there are.
        threads: of the processor, for all passes together.
        memory: bytes that all passes together may take; None for any, where `workers` are given, else not known.
        exact: work out what a pass takes even where the most that any takes would fit.
        workers: so many, whatever would be chosen.
    """
    alone = Abreast(1, threads)
    if workers is None and (threads < 2 or images < 2 or memory is None or _draws_anew(model)):
        return alone
    room = None
    if memory is not None:
        try:
            room = Room(memory, _bytes_a_pixel(model, protocol, read_at, None if exact else memory // threads))
        except ValueError:  # a network that can't be followed without values
            return alone
    if workers is None:
        assert room is not None
        workers = min(threads, room.memory // room.needed(read_at))
        workers = workers if images >= workers else 1
    workers = min(workers, images)
    return alone if workers < 2 else Abreast(workers, max(threads // workers, 1), room)


def _bytes_a_pixel(model: Segmenter | ExportedModel, protocol: Protocol, read_at: Size, enough: int | None) -> float:
    """What a pass takes for each pixel of an image that is read at a size; the most that any does, if that is `enough`.

    Raises:
        ValueError: it can't be worked out.
    """
    pixels = read_at[0] * read_at[1]
    planes = 0 if looks_once(protocol) else 4 * _PLANES * len(model.classes)
    most = _MOST_A_PIXEL + planes
    if isinstance(model, ExportedModel) or (enough is not None and most * pixels <= enough):
        return most
    from segattn.predicting.bounded import whole_bytes

    return whole_bytes(model, _seen_at(protocol, read_at)) / pixels + planes


def _seen_at(protocol: Protocol, read_at: Size) -> Size:
    """The largest (height, width) that the network sees of an image that is read at a size."""
    if protocol.windows is not None:
        return protocol.windows.crop, protocol.windows.crop
    return protocol.resize.size(*read_at, max(protocol.scales))


def _draws_anew(model: Segmenter | ExportedModel) -> bool:
    if isinstance(model, ExportedModel):
        return False
    from segattn.attention.hamburger import draws_anew

    return draws_anew(model)
