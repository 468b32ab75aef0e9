"""Many images labelled: while one is in the network, the next are read and the results of the last are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from segattn.evaluation.protocol import Protocol
from segattn.machine import limited_threads, use_threads
from segattn.predicting.abreast import Abreast
from segattn.predicting.addresses import read_address
from segattn.predicting.collection import Item
from segattn.predicting.predict import ReadingSize, predict, size_to_read
from segattn.predicting.prediction import Prediction
from segattn.predicting.sources import Named, read_source
from segattn.predicting.stages import StageTimes, as_it_is, run_stages

if TYPE_CHECKING:
    from segattn.exporting.exported import ExportedModel
    from segattn.models.segmenter import Segmenter

Encoded = TypeVar("Encoded")


class Labelled(NamedTuple):
    """An image and its labels, or why it has none: it can't be read, or the network can't take it."""

    item: Item
    prediction: Prediction | None
    failed: Literal["read", "labelled"] | None = None
    error: Exception | None = None


def label_many(
    model: Segmenter | ExportedModel,
    items: Iterable[Item],
    protocol: Protocol,
    *,
    size: ReadingSize,
    confidence: bool,
    max_memory: int | None = None,
    encode: Callable[[Labelled], Encoded] = as_it_is,
    take: Callable[[Encoded], None],
    survives: Callable[[Exception], bool],
    passes: Abreast | None = None,
) -> StageTimes:
    """Label images and hand each in order to `take`, which writes it, in a thread of its own.

    Args:
        model, protocol, size, confidence, max_memory: as for `predict`.
        encode: makes of a labelled image what `take` is given, in whatever order and thread.
        survives: whether an error that is neither a ValueError nor of an operating system concerns its image alone.
        passes: how many go through the network at a time; by default one, in the caller's thread. A model that is an
            engine's has to be opened for as many.

    Raises:
        Exception: what `encode`, `take` and the iterable raise, and errors that don't survive; nothing goes on then.
    """
    room = None if passes is None else passes.room

    def read() -> Iterator[tuple[Item, Named | Exception]]:
        for item in items:
            if isinstance(item.source, ValueError):
                yield item, item.source
                continue
            try:
                source = read_address(item.source) if isinstance(item.source, str) else item.source
                yield item, read_source(source, item.where, normalization=model.normalization)
            except Exception as error:
                if not isinstance(error, (ValueError, OSError)) and not survives(error):
                    raise
                yield item, error

    def label(one: tuple[Item, Named | Exception]) -> Labelled:
        item, found = one
        if isinstance(found, Exception):
            return Labelled(item, None, "read", found)
        options: dict[str, Any] = {
            "size": size,
            "confidence": confidence,
            "max_memory": max_memory,
            "name": item.name,
        }
        try:
            height, width = found.pixels.shape[:2]
            with nullcontext() if room is None else room.taken(size_to_read(model, (height, width), protocol, size)):
                return Labelled(item, predict(model, found.pixels, protocol, **options))
        except Exception as error:
            if not isinstance(error, ValueError) and not survives(error):
                raise
            return Labelled(item, None, "labelled", error)

    if passes is None or passes.workers == 1:
        return run_stages(read(), label, take, encode=encode)
    begin = partial(use_threads, passes.threads)
    with limited_threads(passes.threads):
        return run_stages(read(), label, take, encode=encode, workers=passes.workers, begin=begin)
