"""Many images labelled: while one is in the network, the next are read and the results of the last are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from segattn.evaluation.protocol import Protocol
from segattn.predicting.addresses import read_address
from segattn.predicting.collection import Item
from segattn.predicting.predict import ReadingSize, predict
from segattn.predicting.prediction import Prediction
from segattn.predicting.sources import Named, read_source
from segattn.predicting.stages import StageTimes, run_stages

if TYPE_CHECKING:
    from segattn.exporting.exported import ExportedModel
    from segattn.models.segmenter import Segmenter


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
    take: Callable[[Labelled], None],
    survives: Callable[[Exception], bool],
) -> StageTimes:
    """Label images in order and hand each to `take`, which writes it, in a thread of its own.

    Args:
        model, protocol, size, confidence, max_memory: as for `predict`.
        survives: whether an error that is neither a ValueError nor of an operating system concerns its image alone.

    Raises:
        Exception: whatever `take` and the iterable raise, and errors that don't survive; nothing goes on then.
    """

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
            return Labelled(item, predict(model, found.pixels, protocol, **options))
        except Exception as error:
            if not isinstance(error, ValueError) and not survives(error):
                raise
            return Labelled(item, None, "labelled", error)

    return run_stages(read(), label, take)
