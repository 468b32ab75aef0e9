"""Exact counts and the scores made of them. All scores are in percent, 0 to 100, as the field's tables print them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, counted
from segattn.evaluation.calibration import Calibration
from segattn.evaluation.display import data_frame, html_table

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

Absent = Literal["left out", "zero", "nan"]
"""Ways in which a class that never occurs enters a mean: `Protocol.absent`."""


class ConfusionMatrix:
    """Pixels counted by true class (rows) and predicted class (columns), exactly, over any number of images.

    Counts are int64. `a + b` is what one matrix would have counted over the images of both.

    Attributes:
        counts: (K, K).
    """

    counts: NDArray[np.int64]

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes <= IGNORE:
            raise ValueError(f"{num_classes} classes: expected 1 to {IGNORE}")
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, predicted: NDArray[Any] | Tensor, truth: NDArray[Any] | Tensor) -> NDArray[np.int64]:
        """Count one image or batch, pixels whose truth is `IGNORE` left out; returns what this call added, (K, K).

        Args:
            predicted: class ids 0..K-1, of an integer type.
            truth: class ids 0..K-1 or `IGNORE`, of the same shape.

        Raises:
            ValueError: shapes differ, or an id is none of these.
        """
        predicted, truth = _as_uint8(predicted, "predicted"), _as_uint8(truth, "true")
        if predicted.shape != truth.shape:
            raise ValueError(
                f"predictions of shape {predicted.shape} and labels of shape {truth.shape}: expected equal"
            )
        pairs = truth.astype(np.uint16)
        pairs <<= 8
        pairs |= predicted
        table = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
        known = len(self.counts)
        self._check(table.sum(1), known, "true", f"0..{known - 1} or {IGNORE} (ignored)", allowed=IGNORE)
        self._check(table[:known].sum(0), known, "predicted", f"0..{known - 1}")
        added = table[:known, :known].astype(np.int64)
        self.counts += added
        return added

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if self.counts.shape != other.counts.shape:
            raise ValueError(f"matrices of {len(self.counts)} and {len(other.counts)} classes can't be added")
        total = ConfusionMatrix(len(self.counts))
        total.counts = self.counts + other.counts
        return total

    @staticmethod
    def _check(pixels: NDArray[Any], known: int, what: str, expected: str, allowed: int | None = None) -> None:
        for value in np.flatnonzero(pixels[known:]) + known:
            if value != allowed:
                raise ValueError(f"{what} class {value} at {pixels[value]} pixels: expected {expected}")


def _as_uint8(labels: NDArray[Any] | Tensor, what: str) -> NDArray[np.uint8]:
    array = labels if isinstance(labels, np.ndarray) else labels.detach().cpu().numpy()
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{what} classes of type {array.dtype}: expected integers")
    if array.size and (array.min() < 0 or array.max() > 255):
        raise ValueError(f"{what} classes from {array.min()} to {array.max()}: expected 0 to 255")
    return array.astype(np.uint8)


@dataclass(frozen=True)
class ClassScore:
    """One class: `iou` and `acc` (the share of its pixels that were found) in percent, NaN where 0/0.

    `pixels` are those labelled as it.
    """

    iou: float
    acc: float
    pixels: int


@dataclass(frozen=True)
class ImageScore:
    """One image: its place in the data set, its own mIoU (over the classes in its labels or prediction) and aAcc."""

    index: int
    name: str
    path: str
    miou: float
    aacc: float


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """The scores of a model on a data set, in percent. Everything follows from the confusion matrix of the whole set.

    ``a + b`` are the scores over the images of both: shards of one set add up to the set.

    Attributes:
        confusion: (K, K) int64 pixels; rows are the truth, columns the prediction.
        class_names: in the order of the matrix.
        absent: how classes that never occur enter the means, see `Protocol.absent`.
        protocol: how it was scored, in words.
        images: each image's own score, in the order of the data set.
        calibration: how far the confidences can be believed; None where that was not asked for.
    """

    confusion: NDArray[np.int64]
    class_names: tuple[str, ...]
    absent: Absent = "left out"
    protocol: str = ""
    images: tuple[ImageScore, ...] = ()
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        expected = (len(self.class_names),) * 2
        if self.confusion.shape != expected:
            raise ValueError(f"a confusion matrix of shape {self.confusion.shape} for {expected[0]} class names")
        if self.absent not in get_args(Absent):
            raise ValueError(f"absent {self.absent!r}: expected one of {', '.join(get_args(Absent))}")

    @property
    def miou(self) -> float:
        """The mean over classes of true positives / (labelled + predicted - true positives)."""
        return _mean((score.iou for score in self.per_class.values()), self.absent)

    @property
    def macc(self) -> float:
        """The mean over classes of true positives / labelled."""
        return _mean((score.acc for score in self.per_class.values()), self.absent)

    @property
    def aacc(self) -> float:
        """Right pixels / labelled pixels."""
        return _percent(int(np.trace(self.confusion)), int(self.confusion.sum()))

    @property
    def ece(self) -> float | None:
        """The expected calibration error over `calibration.BINS` bins; None where that was not asked for."""
        return None if self.calibration is None else self.calibration.ece

    @cached_property
    def per_class(self) -> dict[str, ClassScore]:
        """By class name, in the order of the matrix."""
        found, labelled = np.diag(self.confusion).tolist(), self.confusion.sum(1).tolist()
        union = (self.confusion.sum(0) + self.confusion.sum(1) - np.diag(self.confusion)).tolist()
        return {
            name: ClassScore(_percent(found[i], union[i]), _percent(found[i], labelled[i]), labelled[i])
            for i, name in enumerate(self.class_names)
        }

    @property
    def absent_classes(self) -> tuple[str, ...]:
        """Classes that are neither in the labels nor in the predictions."""
        return tuple(name for name, score in self.per_class.items() if np.isnan(score.iou))

    def __add__(self, other: Scores) -> Scores:
        for what in ("class_names", "absent", "protocol"):
            if getattr(self, what) != getattr(other, what):
                raise ValueError(f"scores with {what} {getattr(self, what)!r} and {getattr(other, what)!r} don't add")
        twice = {image.index for image in self.images} & {image.index for image in other.images}
        if twice:
            raise ValueError(f"images {sorted(twice)[:5]} were scored on both sides")
        images = tuple(sorted(self.images + other.images, key=lambda image: image.index))
        if self.calibration is None or other.calibration is None:
            if self.calibration is not other.calibration:
                raise ValueError("scores with and without calibration don't add")
            calibration = None
        else:
            calibration = self.calibration + other.calibration
        confusion = self.confusion + other.confusion
        return Scores(confusion, self.class_names, self.absent, self.protocol, images, calibration)

    def summary(self) -> str:
        """One line, and one more where a class never occurs."""
        text = f"mIoU {self.miou:.2f}  mAcc {self.macc:.2f}  aAcc {self.aacc:.2f}"
        if self.calibration is not None:
            text += f"  ECE {_text(self.calibration.ece)}  NLL {self.calibration.nll:.4f}"
            if self.calibration.temperature != 1:
                text += f" at temperature {self.calibration.temperature:.3g}"
        if self.images:
            text += f"  ({counted(len(self.images), 'image')})"
        if self.absent_classes:
            how = "left out of" if self.absent == "left out" else f"counted as {self.absent} in"
            text += f"\nneither labelled nor predicted, {how} the mean IoU: {', '.join(self.absent_classes)}"
        return text

    def table(self) -> Table:
        """The field's table: a row a class, the means last."""
        from rich.table import Table

        table = Table(title=self.protocol or None)
        table.add_column("class")
        for heading in ("IoU", "Acc", "labelled pixels"):
            table.add_column(heading, justify="right")
        for name, score in self.per_class.items():
            table.add_row(name, _text(score.iou), _text(score.acc), str(score.pixels))
        table.add_section()
        table.add_row("mean", _text(self.miou), _text(self.macc), str(int(self.confusion.sum())))
        return table

    def to_frame(self) -> Any:
        """A `pandas.DataFrame`: a row a class with `iou` and `acc` in percent, NaN where 0/0, and labelled `pixels`.

        Raises:
            ImportError: pandas is not installed.
        """
        scores = self.per_class.values()
        columns: dict[str, list[float]] = {
            "iou": [score.iou for score in scores],
            "acc": [score.acc for score in scores],
            "pixels": [score.pixels for score in scores],
        }
        return data_frame(self.class_names, columns, index_name="class")

    def __repr__(self) -> str:
        """One line: the matrix and the images' scores would fill pages."""
        means = f"miou={self.miou:.2f}, macc={self.macc:.2f}, aacc={self.aacc:.2f}"
        sizes = f"classes={len(self.class_names)}, images={len(self.images)}"
        return f"Scores({means}, {sizes}, protocol={self.protocol!r})"

    def _repr_html_(self) -> str:
        rows = [(name, score.iou, score.acc, score.pixels) for name, score in self.per_class.items()]
        total = ("mean", self.miou, self.macc, int(self.confusion.sum()))
        heading = ("class", "IoU %", "Acc %", "labelled pixels")
        return html_table(heading, [*rows, total], caption=self.summary())

    def __str__(self) -> str:
        width = max(len(name) for name in (*self.class_names, "class"))
        lines = [f"{'class':<{width}}    IoU    Acc"]
        lines += [f"{n:<{width}} {_text(s.iou):>6} {_text(s.acc):>6}" for n, s in self.per_class.items()]
        return "\n".join([*lines, self.summary()])

    def to_json(self) -> str:
        """Everything as JSON, NaN as null. `from_json` gives the same scores to the last bit."""
        content = {
            "miou": self.miou,
            "macc": self.macc,
            "aacc": self.aacc,
            "protocol": self.protocol,
            "absent": self.absent,
            "absent_classes": self.absent_classes,
            "per_class": {name: asdict(score) for name, score in self.per_class.items()},
            "class_names": self.class_names,
            "confusion": self.confusion.tolist(),
            "ece": self.ece,
            "calibration": None
            if self.calibration is None
            else {**asdict(self.calibration), "ece": self.ece, "nll": self.calibration.nll},
            "images": [asdict(image) for image in self.images],
        }
        return json.dumps(_nan_to_none(content), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Scores:
        """The inverse of `to_json`. The scores are computed anew from the confusion matrix."""
        content = json.loads(text)
        images: list[dict[str, Any]] = content["images"]
        for image in images:
            image.update({key: float("nan") for key, value in image.items() if value is None})
        return cls(
            np.array(content["confusion"], np.int64),
            tuple(content["class_names"]),
            content["absent"],
            content["protocol"],
            tuple(ImageScore(**image) for image in images),
            None if content.get("calibration") is None else Calibration.from_dict(content["calibration"]),
        )


def image_score(counts: NDArray[np.int64], index: int, name: str, path: str) -> ImageScore:
    """The score of one image from its own (K, K) counts; NaN where nothing is labelled."""
    names = tuple(map(str, range(len(counts))))
    scores = Scores(counts, names)
    return ImageScore(index, name, path, scores.miou, scores.aacc)


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else float("nan")


def _mean(values: Iterable[float], absent: Absent) -> float:
    array = np.array(list(values))
    if absent == "left out":
        array = array[~np.isnan(array)]
    elif absent == "zero":
        array = np.nan_to_num(array)
    return float(array.mean()) if array.size else float("nan")


def _text(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
