"""The report of a scoring run: `report.html`, one file that needs nothing else, and `scores.json`."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Sample, SegmentationDataset
from segattn.evaluation.metrics import ConfusionMatrix, ImageScore, Scores
from segattn.files import require_writable, write_file
from segattn.pictures import UNLABELLED, WRONG, resize_labels
from segattn.processes import gathered
from segattn.reports.confusion import heat_map, matrix, most_confused
from segattn.reports.highlights import Groups, Shown, choose, drawn_size, show
from segattn.reports.origin import Origin
from segattn.reports.page import write_html

_NUMBERED = 30
"""Classes up to which the confusion matrix is a table of numbers; above it is a picture."""

_PAIRS, _MORE_PAIRS = 10, 25
"""Most confused pairs at most, beside the table and beside the picture."""


class _Prediction(NamedTuple):
    """Of one image: its (height, width), its compressed training ids in that size, and `Shown.ious`."""

    shape: tuple[int, int]
    labels: bytes
    ious: tuple[tuple[int, float], ...]


class Report:
    """Takes the predictions while `evaluate` runs, then writes.

        report = Report(folder, dataset)
        scores = evaluate(model, dataset, protocol, on_prediction=report.add)
        report.write(scores, title="...", origin=Origin(split="val", protocol=scores.protocol))

    The images to show are chosen from all scores, so every prediction is kept until then, at the size in which it would
    be drawn and compressed: 9 kB an image of CamVid at 480x360, 20 kB at 960x720. The images themselves are read again.

    Args:
        dataset: that is scored.
        shard: (rank, world) as given to `evaluate`. Where several processes score, each has its own report; all call
            `gather` and one calls `write`.

    Raises:
        OSError: the folder can't be written to; better known before the scoring than after it.
    """

    def __init__(self, folder: str | Path, dataset: SegmentationDataset, *, shard: tuple[int, int] = (0, 1)) -> None:
        self.folder, self.dataset, self.classes = Path(folder), dataset, dataset.classes
        self._next, self._step = shard
        self._predictions: dict[int, _Prediction] = {}
        require_writable(self.folder)

    def add(self, sample: Sample, labels: NDArray[np.uint8]) -> None:
        """Keep the (H, W) training ids of one scored image, in the order in which `evaluate` gives them.

        Raises:
            ValueError: the sample has no mask, or one that does not fit the labels.
        """
        if sample.mask is None:
            raise ValueError(f"{sample.image_path}: has no mask, so there is nothing to compare its labels with")
        counts = ConfusionMatrix(len(self.classes)).update(labels, sample.mask)
        drawn = resize_labels(labels, drawn_size(labels.shape[1], labels.shape[0]))
        data = zlib.compress(drawn.tobytes(), level=1)
        self._predictions[self._next] = _Prediction((drawn.shape[0], drawn.shape[1]), data, _ious(counts))
        self._next += self._step

    def gather(self, scores: Scores) -> None:
        """Take over what the reports of the other processes keep of the images to show; every process calls this.

        Args:
            scores: of the whole set, from `sum_over_processes`.
        """
        chosen = {image.index for group in choose(scores.images) for image in group}
        mine = {index: prediction for index, prediction in self._predictions.items() if index in chosen}
        self._predictions = {index: kept for part in gathered(mine) for index, kept in part.items()}

    def write(self, scores: Scores, *, title: str, origin: Origin) -> Path:
        """Write `scores.json` (which `Scores.from_json` reads) and `report.html`, each whole or not at all.

        Args:
            origin: of the scores, for the page's head.

        Returns:
            The path of `report.html`.

        Raises:
            ValueError: the scores are of other classes, or an image can't be read again.
            OSError: the folder can't be written to.
        """
        if scores.class_names != self.classes.names:
            raise ValueError(f"scores of the classes {scores.class_names}, but the report is of {self.classes.names}")
        groups = Groups(*([self._shown(score) for score in group] for group in choose(scores.images)))
        write_file(self.folder / "scores.json", (scores.to_json() + "\n").encode())
        numbered = len(self.classes) <= _NUMBERED
        return write_html(
            self.folder / "report.html",
            "scores",
            title=title,
            origin=origin,
            scores=scores,
            pixels=int(scores.confusion.sum()),
            classes=self.classes,
            unlabelled=[
                name for name, score in scores.per_class.items() if math.isnan(score.acc) and not math.isnan(score.iou)
            ],
            matrix=matrix(scores.confusion) if numbered else None,
            heat_map=None if numbered else heat_map(scores.confusion),
            pairs=most_confused(scores.confusion, _PAIRS if numbered else _MORE_PAIRS),
            groups=groups,
            wrong=WRONG,
            not_labelled=UNLABELLED,
        )

    def _shown(self, score: ImageScore) -> Shown:
        shape, data, ious = self._predictions[score.index]
        labels = np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)
        return show(score, self.dataset[score.index], labels, self.classes, ious)


def _ious(counts: NDArray[np.int64]) -> tuple[tuple[int, float], ...]:
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    order = [int(index) for index in np.argsort(-union, kind="stable") if union[index]]
    return tuple((index, float(100 * counts[index, index] / union[index])) for index in order)
