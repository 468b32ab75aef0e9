"""The report of a scoring run: `report.html`, one file that needs nothing else, and `scores.json`."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes, Sample
from segattn.evaluation.metrics import ConfusionMatrix, ImageScore, Scores, image_score
from segattn.evaluation.protocol import Protocol
from segattn.files import require_writable, write_file
from segattn.pictures import Image, mistakes, overlay
from segattn.processes import gathered
from segattn.reports.highlights import Highlights, ImageResult
from segattn.reports.scores_html import page

WIDTH = 480
"""Of the pictures, at most; pixels."""


_QUALITY = 85


class Report:
    """Collects while `evaluate` runs, then writes.

        report = Report(folder, dataset.classes)
        scores = evaluate(model, dataset, protocol, on_prediction=report.add)
        report.write(scores, title="...", protocol=protocol)

    Whatever the size of the data set, it keeps small pictures of at most `highlights.KEPT` images.

    Args:
        shard: (rank, world) as given to `evaluate`. Where several processes score, each has its own report; all call
            `gather` and one calls `write`.

    Raises:
        OSError: the folder can't be written to; better known before the scoring than after it.
    """

    def __init__(self, folder: str | Path, classes: Classes, *, shard: tuple[int, int] = (0, 1)) -> None:
        self.folder, self.classes = Path(folder), classes
        self._next, self._step = shard
        self._highlights: Highlights[ImageResult] = Highlights()
        require_writable(self.folder)

    def add(self, sample: Sample, labels: NDArray[np.uint8]) -> None:
        """One scored image and its (H, W) training ids; images without a labelled pixel are not shown.

        Raises:
            ValueError: the sample has no mask, or one that does not fit the labels.
        """
        if sample.mask is None:
            raise ValueError(f"{sample.image_path}: has no mask, so there is nothing to compare its labels with")
        counts = ConfusionMatrix(len(self.classes)).update(labels, sample.mask)
        score = image_score(counts, self._next, sample.name, str(sample.image_path))
        self._next += self._step
        if not np.isnan(score.miou):
            mask = sample.mask
            self._highlights.offer(
                score.miou, score.index, lambda: _result(score, counts, sample.image, labels, mask, self.classes)
            )

    def gather(self) -> None:
        """Take over what the reports of the other processes keep; every process calls this."""
        self._highlights = reduce(add, gathered(self._highlights))

    def write(self, scores: Scores, *, title: str, protocol: Protocol) -> Path:
        """Write `scores.json` (which `Scores.from_json` reads) and `report.html`, each whole or not at all.

        Returns:
            The path of `report.html`.

        Raises:
            ValueError: the scores are of other classes.
            OSError: the folder can't be written to.
        """
        if scores.class_names != self.classes.names:
            raise ValueError(f"scores of the classes {scores.class_names}, but the report is of {self.classes.names}")
        html = page(scores, self.classes, self._highlights.choose(), title=title, protocol=protocol.describe())
        write_file(self.folder / "scores.json", (scores.to_json() + "\n").encode())
        write_file(self.folder / "report.html", html.encode())
        return self.folder / "report.html"


def _result(
    score: ImageScore,
    counts: NDArray[np.int64],
    image: Image,
    labels: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    classes: Classes,
) -> ImageResult:
    height, width = labels.shape
    size = (min(width, WIDTH), max(1, round(height * min(1.0, WIDTH / width))))
    # Drawn at twice the size where there are the pixels: thin things survive, and the last step smooths edges.
    drawn = size if width < 2 * WIDTH else (2 * size[0], 2 * size[1])
    image = np.asarray(cv2.resize(image, drawn, interpolation=cv2.INTER_AREA), np.uint8)
    labels, mask = (
        np.asarray(cv2.resize(ids, drawn, interpolation=cv2.INTER_NEAREST), np.uint8) for ids in (labels, mask)
    )
    views = {
        "picture": image,
        "prediction": overlay(image, labels, classes),
        "truth": overlay(image, mask, classes),
        "mistakes": mistakes(image, labels, mask),
    }
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    order = [int(index) for index in np.argsort(-union, kind="stable") if union[index]]
    ious = tuple((index, float(100 * counts[index, index] / union[index])) for index in order)
    return ImageResult(score, {name: _jpeg(view, size) for name, view in views.items()}, size, ious)


def _jpeg(picture: Image, size: tuple[int, int]) -> bytes:
    if picture.shape[1::-1] != size:
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return data.tobytes()
