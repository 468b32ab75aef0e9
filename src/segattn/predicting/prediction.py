"""The labels of one image, and what can be made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes
from segattn.datasets.palette import palette_png
from segattn.evaluation.display import data_frame
from segattn.evaluation.geometry import Size
from segattn.evaluation.protocol import Protocol
from segattn.exporting.exported import ExportedModel
from segattn.files import write_file
from segattn.pictures import (
    as_rgb,
    class_shares,
    encoded,
    overlay,
    resize_image,
    resize_labels,
    with_legend,
)
from segattn.predicting.shapes import Polygon, polygons, run_lengths

if TYPE_CHECKING:
    from segattn.evaluation.score_array import ScoreArray
    from segattn.evaluation.score_map import ScoreMap
    from segattn.models.segmenter import Segmenter

_SHOWN_CLASSES = 4
_MOST_CHANNELS = 4
"""That OpenCV averages at once."""
_SHOWN_SIDE = 1280


class PredictionFiles(NamedTuple):
    """The files that `Prediction.save` writes."""

    labels: Path
    overlay: Path
    confidence: Path | None = None

    @classmethod
    def of(cls, name: str, folder: str | Path, *, confidence: bool = False) -> PredictionFiles:
        """Those of an image of that name."""
        folder = Path(folder)
        third = folder / f"{name}_confidence.png" if confidence else None
        return cls(folder / f"{name}_labels.png", folder / f"{name}_overlay.png", third)

    def written(self) -> list[Path]:
        """All that there are."""
        return [path for path in self if path is not None]


class EncodedFiles(NamedTuple):
    """What `Prediction.save` writes: the files, and the bytes of each."""

    files: PredictionFiles
    contents: list[bytes]

    def write(self) -> PredictionFiles:
        """Write them, each whole or not at all. Raises OSError."""
        for path, content in zip(self.files.written(), self.contents, strict=True):
            write_file(path, content)
        return self.files


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The labels of one image.

    Attributes:
        name: of the image, without folder and suffix.
        image: (H, W, 3) uint8, RGB; or the bands (H, W, C) as they are stored.
        labels: (H, W) uint8 training ids.
        read_at: (height, width) at which the protocol was given the image; (H, W) where it was not resized before.
        model, protocol: what the labels come from.
        window: side in pixels of the windows that `max_memory` asked for; None where the network saw the image whole.
    """

    name: str
    image: NDArray[Any]
    labels: NDArray[np.uint8]
    read_at: Size
    model: Segmenter | ExportedModel = field(repr=False)
    protocol: Protocol = field(repr=False)
    window: int | None = None
    measured: NDArray[np.float32] | None = field(default=None, repr=False)
    """`confidence`, where it was made with the labels."""

    @property
    def classes(self) -> Classes:
        """The classes that the ids stand for."""
        return self.model.classes

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """(K, H, W) float32, what the labels are the arg-max of, in the protocol's measure (logits for `whole`).

        Made by a second pass through the model when first asked for: of a photo of 12 million pixels they take half a
        gigabyte, and most callers need the labels alone.
        """
        self._require_whole()
        image, size = resized(self.image, self.read_at), self.image.shape[:2]
        if isinstance(self.model, ExportedModel):
            return self.model.scores(image, self.protocol, size=size)
        from segattn.evaluation.inference import predict_scores

        return as_array(predict_scores(self.model, image, self.protocol, size=size))

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """(H, W) float32 in 0..1: the probability that the model gives to each pixel's label, the largest of all.

        A softmax of the logits (the averaged ones, where the protocol averages logits over views or windows), or the
        probability averaged over the views, where it averages these; at the model's `temperature`. From 1 / K, which is
        knowing nothing. Made by a second pass through the model unless `predict` was asked for it.

        Raises:
            ValueError: the protocol's scores say nothing of how probable a class is.
        """
        return confidence_of(self._scored(), self.model) if self.measured is None else self.measured

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """(K, H, W) float32 in 0..1: the probability of each class at each pixel, 1 in sum; errors as `confidence`.

        Made by a second pass through the model when first asked for, and as large as `scores`.
        """
        return as_array(self._scored().probabilities(self.model.temperature))

    def _scored(self) -> ScoreMap | ScoreArray:
        self._require_whole()
        return look(self.model, [resized(self.image, self.read_at)], self.protocol, self.image.shape[:2])[0]

    def _require_whole(self) -> None:
        if self.window is not None:
            raise ValueError(
                f"{self.name}: labelled in windows of {self.window} pixels for max_memory, which keep labels alone; "
                "leave max_memory out, or give more"
            )

    def shares(self) -> dict[str, float]:
        """Fraction of the image for each class that occurs, the largest first."""
        shares = class_shares(self.labels, len(self.classes))
        order = np.argsort(-shares, kind="stable")
        return {self.classes.names[index]: float(shares[index]) for index in order if shares[index] > 0}

    def to_frame(self) -> Any:
        """A `pandas.DataFrame`: a row a class that occurs, the largest first, with its `share` and its `pixels`.

        Raises:
            ImportError: pandas is not installed.
        """
        shares = self.shares()
        pixels = [round(share * self.labels.size) for share in shares.values()]
        columns: dict[str, list[float]] = {"share": list(shares.values()), "pixels": [*pixels]}
        return data_frame(list(shares), columns, index_name="class")

    def polygons(self) -> dict[str, list[Polygon]]:
        """The connected pieces of each class that occurs, holes and all: see `segattn.predicting.shapes.Polygon`."""
        return polygons(self.labels, self.classes)

    def run_lengths(self) -> dict[str, dict[str, Any]]:
        """COCO's packed run lengths of each class that occurs: "size" [H, W] and "counts"."""
        return run_lengths(self.labels, self.classes)

    def __repr__(self) -> str:
        """One line: the arrays would fill pages."""
        shares = self.shares()
        largest = [f"{name} {share:.0%}" for name, share in list(shares.items())[:_SHOWN_CLASSES]]
        more = [f"{len(shares) - _SHOWN_CLASSES} more"] if len(shares) > _SHOWN_CLASSES else []
        height, width = self.labels.shape
        return f"Prediction(name={self.name!r}, {width}x{height} pixels: {', '.join([*largest, *more])})"

    def _repr_png_(self) -> bytes:
        """For notebooks: the overlay, at most `_SHOWN_SIDE` pixels a side."""
        height, width = self.labels.shape
        factor = min(1.0, _SHOWN_SIDE / max(height, width))
        size = max(round(width * factor), 1), max(round(height * factor), 1)
        labels, image = self.labels, as_rgb(self.image)
        if factor < 1:
            labels, image = resize_labels(labels, size), resize_image(image, size)
        shares = class_shares(self.labels, len(self.classes))
        return encoded(with_legend(overlay(image, labels, self.classes), self.classes, shares))

    def overlay(self, *, tint_all: bool = False) -> NDArray[np.uint8]:
        """(H, W', 3) RGB: the image with the classes' colours over it and a legend at the right.

        Args:
            tint_all: lay colours over background and black classes too, which else stay as they are.
        """
        shares = class_shares(self.labels, len(self.classes))
        return with_legend(
            overlay(as_rgb(self.image), self.labels, self.classes, tint_all=tint_all), self.classes, shares
        )

    def labels_png(self) -> bytes:
        """The labels as a PNG of one 8-bit channel of ids, with the classes' colours as its palette."""
        return palette_png(self.labels, dict(enumerate(self.classes.palette)))

    def save(self, folder: str | Path, *, confidence: bool = False, tint_all: bool = False) -> PredictionFiles:
        """Write NAME_labels.png and NAME_overlay.png into `folder`.

        The labels are one 8-bit channel of training ids with the classes' colours as its palette: Pillow reads the ids,
        viewers show the colours, and OpenCV gives the colours too.

        Args:
            tint_all: as `overlay` has it.
            confidence: also write NAME_confidence.png: one 8-bit channel in which 0..255 is 0..1, rounded.

        Raises:
            OSError: the folder can't be written to.
            ValueError: confidence is asked for, and the protocol gives none.
        """
        return self.encoded(folder, confidence=confidence, tint_all=tint_all).write()

    def encoded(self, folder: str | Path, *, confidence: bool = False, tint_all: bool = False) -> EncodedFiles:
        """The bytes of the files that `save` writes; arguments as there.

        Raises:
            ValueError: confidence is asked for, and the protocol gives none.
        """
        contents = [self.labels_png(), encoded(self.overlay(tint_all=tint_all))]
        if confidence:
            contents.append(encoded(np.rint(255 * self.confidence).astype(np.uint8)))
        return EncodedFiles(PredictionFiles.of(self.name, folder, confidence=confidence), contents)


def look(
    model: Segmenter | ExportedModel, images: Sequence[NDArray[np.uint8]], protocol: Protocol, size: Size
) -> Sequence[ScoreMap | ScoreArray]:
    """What a model says of images (H, W, 3) of one size as a protocol shows them; scores are at `size`."""
    if isinstance(model, ExportedModel):
        return model.look(images, protocol, size=size)
    from segattn.evaluation.inference import score_maps

    return score_maps(model, images, protocol, size=size)


def as_array(values: Any) -> NDArray[Any]:
    """The array of a tensor, on whatever device; arrays as they are."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.cpu())


def confidence_of(scored: ScoreMap | ScoreArray, model: Segmenter | ExportedModel) -> NDArray[np.float32]:
    """(H, W) in 0..1: the probability of each label, at the model's temperature."""
    return as_array(scored.confidence(model.temperature))


def resized(image: NDArray[Any], size: Size) -> NDArray[Any]:
    """The image at a (height, width): pixels are averaged where it gets smaller, as a camera of fewer pixels does."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    smaller = size[0] <= height and size[1] <= width
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    if image.shape[2] > _MOST_CHANNELS:
        bands = (image[..., band] for band in range(image.shape[2]))
        return np.stack([cv2.resize(np.ascontiguousarray(band), size[::-1], interpolation=method) for band in bands], 2)
    return cv2.resize(image, size[::-1], interpolation=method).reshape(*size, image.shape[2])
