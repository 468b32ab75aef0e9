"""Images in, labels out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import COUNT, PIXELS, Classes, cut, require_model, shown
from segattn.datasets.palette import palette_png
from segattn.evaluation.display import data_frame
from segattn.evaluation.geometry import LongSide, NativeSize, Size, size_near
from segattn.evaluation.protocol import WHOLE, Protocol
from segattn.exporting.exported import ExportedModel, for_protocol, open_exported
from segattn.exporting.report import FORMATS
from segattn.files import write_file
from segattn.machine import pick_device
from segattn.pictures import class_shares, encoded, overlay, resize_image, resize_labels, with_legend, write_image
from segattn.predicting.shapes import Polygon, polygons, run_lengths
from segattn.predicting.sources import Named, grouped, is_one, read_source, read_sources

if TYPE_CHECKING:
    from segattn.evaluation.score_array import ScoreArray
    from segattn.evaluation.score_map import ScoreMap
    from segattn.models.segmenter import Segmenter
    from segattn.predicting.sources import Source

_SHOWN_CLASSES = 4
_SHOWN_SIDE = 1280

ReadingSize = int | Literal["trained", "native"]
"""The size at which `predict` reads an image: see there."""


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


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The labels of one image.

    Attributes:
        name: of the image, without folder and suffix.
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8 training ids.
        read_at: (height, width) at which the protocol was given the image; (H, W) where it was not resized before.
        model, protocol: what the labels come from.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    read_at: Size
    model: Segmenter | ExportedModel = field(repr=False)
    protocol: Protocol = field(repr=False)
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
        image, size = resized(self.image, self.read_at), self.image.shape[:2]
        if isinstance(self.model, ExportedModel):
            return self.model.scores(image, self.protocol, size=size)
        from segattn.evaluation.inference import predict_scores

        return _array(predict_scores(self.model, image, self.protocol, size=size))

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """(H, W) float32 in 0..1: the probability that the model gives to each pixel's label, the largest of all.

        A softmax of the logits (the averaged ones, where the protocol averages logits over views or windows), or the
        probability averaged over the views, where it averages these; at the model's `temperature`. From 1 / K, which is
        knowing nothing. Made by a second pass through the model unless `predict` was asked for it.

        Raises:
            ValueError: the protocol's scores say nothing of how probable a class is.
        """
        return _confidence(self._scored(), self.model) if self.measured is None else self.measured

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """(K, H, W) float32 in 0..1: the probability of each class at each pixel, 1 in sum; errors as `confidence`.

        Made by a second pass through the model when first asked for, and as large as `scores`.
        """
        return _array(self._scored().probabilities(self.model.temperature))

    def _scored(self) -> ScoreMap | ScoreArray:
        return _look(self.model, [resized(self.image, self.read_at)], self.protocol, self.image.shape[:2])[0]

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
        labels, image = self.labels, self.image
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
        return with_legend(overlay(self.image, self.labels, self.classes, tint_all=tint_all), self.classes, shares)

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
        files = PredictionFiles.of(self.name, folder, confidence=confidence)
        if files.confidence is not None:  # first, as it may fail
            write_image(files.confidence, np.rint(255 * self.confidence).astype(np.uint8))
        write_file(files.labels, self.labels_png())
        write_image(files.overlay, self.overlay(tint_all=tint_all))
        return files


@overload
def predict(  # type: ignore[overload-overlap]  # a str is an iterable of str, and is one image
    model: Segmenter | ExportedModel | str | Path,
    image: Source,
    protocol: Protocol = WHOLE,
    *,
    size: ReadingSize = "trained",
    confidence: bool = False,
    name: str | None = None,
    device: str | None = None,
) -> Prediction: ...


@overload
def predict(
    model: Segmenter | ExportedModel | str | Path,
    image: Iterable[Source],
    protocol: Protocol = WHOLE,
    *,
    size: ReadingSize = "trained",
    confidence: bool = False,
    batch_size: int = 1,
    device: str | None = None,
) -> Iterator[Prediction]: ...


def predict(
    model: Segmenter | ExportedModel | str | Path,
    image: Source | Iterable[Source],
    protocol: Protocol = WHOLE,
    *,
    size: ReadingSize = "trained",
    confidence: bool = False,
    name: str | None = None,
    batch_size: int = 1,
    device: str | None = None,
) -> Prediction | Iterator[Prediction]:
    """Label an image, or each of several.

    >>> result = segattn.predict(model, "photo.jpg")
    >>> for result in segattn.predict(model, ["left.jpg", "right.jpg"], batch_size=2): ...

    Args:
        model: in evaluation mode; its device is where the work is done. Or a file of `segattn export` (.onnx or .xml),
            opened (`segattn.exporting.exported.open_exported`) or by its path, which needs no PyTorch where the
            protocol looks once.
        image: a path, a `PIL.Image`, the bytes of an image file or an open one (read from where it stands), an array
            (H, W) or (H, W, 1 to 4), a tensor (H, W) or (1 to 4, H, W), or a `segattn.Sample`: grey or RGB, alpha is
            dropped, of uint8, uint16 or float 0..1. Files, bytes and Pillow's images are turned upright as their EXIF
            data say. Or an iterable of these, or an array or tensor of four dimensions; each is then read when its
            result is asked for.
        protocol: how the image is brought to the network.
        size: at which the image is read; labels have its own size in any case. "trained" brings its long side to that
            of `model.trained_at` where it is less than 0.9 or more than 2 times that, unless this is not known or the
            protocol has a size of its own; "native" leaves the image as it is; a number is the long side in pixels.
            `Prediction.read_at` says what was done.
        confidence: make `Prediction.confidence` together with the labels, which saves a second pass.
        name: of the result's files; by default the image's own. For a single image.
        batch_size: how many neighbours of one size go through the network together, which pays on an accelerator;
            scores are then equal to float rounding. Only where the protocol has a single view and no windows.
        device: where the model is moved to before ("cuda", "cpu", "auto", ...); None leaves it where it is.

    Returns:
        A `Prediction`; for several images an iterator over theirs, in order (`list` makes all).

    Raises:
        FileNotFoundError: no such file.
        ValueError: no image, of another shape or type, or of a size that the network can't take; a number with a
            protocol that has a size of its own; no such device; a plain module (see `segattn.wrap`); a file that is no
            exported one; or PyTorch is needed for it and not installed.
    """
    model = _opened(model, protocol)
    check_reading_size(size, protocol)
    if not isinstance(batch_size, int) or batch_size not in COUNT:
        raise ValueError(f"batch_size {shown(batch_size)}: expected {COUNT.words}")
    if isinstance(model, ExportedModel):
        if device not in (None, "auto", "cpu"):
            raise ValueError(f"device {shown(device)}: {model.engine.path} is an exported file, which runs on the cpu")
    elif device is not None:
        model.to(pick_device(str(device)))
    if is_one(image):
        return _predictions(model, [read_source(image, name)], protocol, size, confidence)[0]
    if name is not None:
        raise ValueError(f"name {cut(name)}: is for one image; several are named after their files, or numbered")
    groups = grouped(read_sources(cast("Iterable[object]", image)), batch_size, key=lambda named: named.pixels.shape)
    return (result for group in groups for result in _predictions(model, group, protocol, size, confidence))


def _opened(model: Segmenter | ExportedModel | str | Path, protocol: Protocol) -> Segmenter | ExportedModel:
    """What can carry out the protocol."""
    if isinstance(model, (str, Path)):
        if Path(model).suffix not in FORMATS:
            raise ValueError(
                f"model {cut(str(model))}: expected a file of `segattn export` (.onnx or .xml), or a model of "
                "segattn.create_model or segattn.load_model"
            )
        model = open_exported(model)[1]
    if isinstance(model, ExportedModel):
        return for_protocol(model, protocol)
    require_model(model)
    return model


def _look(
    model: Segmenter | ExportedModel, images: Sequence[NDArray[np.uint8]], protocol: Protocol, size: Size
) -> Sequence[ScoreMap | ScoreArray]:
    if isinstance(model, ExportedModel):
        return model.look(images, protocol, size=size)
    from segattn.evaluation.inference import score_maps

    return score_maps(model, images, protocol, size=size)


def _array(values: Any) -> NDArray[Any]:
    """The array of a tensor, on whatever device; arrays as they are."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.cpu())


def _predictions(
    model: Segmenter | ExportedModel, group: Sequence[Named], protocol: Protocol, size: ReadingSize, confidence: bool
) -> list[Prediction]:
    """Of images of one size."""
    pixels = group[0].pixels
    read_at = size_to_read(model, pixels, protocol, size)
    images = [resized(named.pixels, read_at) for named in group]
    try:
        scored = _look(model, images, protocol, pixels.shape[:2])
        results = [(_array(each.labels()), _confidence(each, model) if confidence else None) for each in scored]
    except ValueError as error:
        raise ValueError(f"{', '.join(named.where for named in group[:3])}: {error}") from error
    return [
        Prediction(named.name, named.pixels, labels, read_at, model, protocol, measured)
        for named, (labels, measured) in zip(group, results, strict=True)
    ]


def _confidence(scored: ScoreMap | ScoreArray, model: Segmenter | ExportedModel) -> NDArray[np.float32]:
    return _array(scored.confidence(model.temperature))


def check_reading_size(size: ReadingSize, protocol: Protocol) -> None:
    """That images can be read at a size before a protocol sees them.

    Raises:
        ValueError: neither of the two words nor a number of pixels, or a number beside the protocol's own.
    """
    if isinstance(size, str):
        if size not in ("trained", "native"):
            raise ValueError(f"size {cut(size)}: expected trained, native, or the long side in pixels")
    elif size not in PIXELS:
        raise ValueError(f"size {shown(size)}: expected {PIXELS.words}")
    elif not isinstance(protocol.resize, NativeSize):
        name, _, settings = protocol.describe().partition(": ")
        raise ValueError(
            f"size {size}: the protocol {name} brings images to a size of its own ({settings.split(',')[0]}); "
            "take one that sees them at their own size, such as whole, or leave the size out"
        )


def size_to_read(
    model: Segmenter | ExportedModel, image: NDArray[np.uint8], protocol: Protocol, size: ReadingSize
) -> Size:
    """The (height, width) at which an image is given to the protocol; see `predict`."""
    height, width = image.shape[:2]
    if size == "native" or not isinstance(protocol.resize, NativeSize):
        return height, width
    if isinstance(size, str):
        return size_near(height, width, model.trained_at)
    return LongSide(pixels=size).size(height, width, 1.0)


def resized(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """The image at a (height, width): pixels are averaged where it gets smaller, as a camera of fewer pixels does."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    smaller = size[0] <= height and size[1] <= width
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.uint8)
