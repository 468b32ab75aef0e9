"""Images in, labels out."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import PIXELS, Classes, cut, shown
from segattn.datasets.headers import IMAGE_SUFFIXES
from segattn.datasets.images import is_leftover, read_image
from segattn.evaluation.geometry import LongSide, NativeSize, Size, size_near
from segattn.evaluation.inference import predict_scores, score_map
from segattn.evaluation.protocol import WHOLE, Protocol
from segattn.evaluation.score_map import ScoreMap
from segattn.files import require_separate
from segattn.models.segmenter import Segmenter
from segattn.pictures import class_shares, overlay, with_legend, write_image

_LONGEST_NAME = 255 - len("._confidence.png.part")
"""Bytes of an image's name, as file systems allow 255 for what is written."""


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


@dataclass(frozen=True, eq=False)
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
    model: Segmenter = field(repr=False)
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
        image, size = _resized(self.image, self.read_at), self.labels.shape
        return np.asarray(predict_scores(self.model, image, self.protocol, size=size).cpu(), np.float32)

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

    def _scored(self) -> ScoreMap:
        return score_map(self.model, _resized(self.image, self.read_at), self.protocol, size=self.image.shape[:2])

    def shares(self) -> dict[str, float]:
        """Fraction of the image for each class that occurs, the largest first."""
        shares = class_shares(self.labels, len(self.classes))
        order = np.argsort(-shares, kind="stable")
        return {self.classes.names[index]: float(shares[index]) for index in order if shares[index] > 0}

    def overlay(self) -> NDArray[np.uint8]:
        """(H, W', 3) RGB: the image with the classes' colours over it and a legend at the right."""
        shares = class_shares(self.labels, len(self.classes))
        return with_legend(overlay(self.image, self.labels, self.classes), self.classes, shares)

    def save(self, folder: str | Path, *, confidence: bool = False) -> PredictionFiles:
        """Write NAME_labels.png (one 8-bit channel of training ids) and NAME_overlay.png into `folder`.

        Args:
            confidence: also write NAME_confidence.png: one 8-bit channel in which 0..255 is 0..1, rounded.

        Raises:
            OSError: the folder can't be written to.
            ValueError: confidence is asked for, and the protocol gives none.
        """
        files = PredictionFiles.of(self.name, folder, confidence=confidence)
        if files.confidence is not None:  # first, as it may fail
            write_image(files.confidence, np.rint(255 * self.confidence).astype(np.uint8))
        write_image(files.labels, self.labels)
        write_image(files.overlay, self.overlay())
        return files


def predict(
    model: Segmenter,
    image: str | Path | NDArray[np.uint8],
    protocol: Protocol = WHOLE,
    *,
    size: ReadingSize = "trained",
    confidence: bool = False,
    name: str | None = None,
) -> Prediction:
    """Label one image.

    Args:
        model: in evaluation mode; its device is where the work is done.
        image: a file, turned upright as its EXIF data says, or an RGB (H, W, 3) uint8 array.
        protocol: how the image is brought to the network.
        size: at which the image is read; labels have its own size in any case. "trained" brings its long side to that
            of `model.trained_at` where it is less than 0.9 or more than 2 times that, unless this is not known or the
            protocol has a size of its own; "native" leaves the image as it is; a number is the long side in pixels.
            `Prediction.read_at` says what was done.
        confidence: make `Prediction.confidence` together with the labels, which saves a second pass.
        name: of the result's files; by default the image's own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no image, an array of another shape or type, or a size that the network can't take, or a number
            with a protocol that has a size of its own.
    """
    source = ""
    if not isinstance(image, np.ndarray):
        source, name = f"{image}: ", name or Path(image).stem
        image = read_image(image, upright=True)
    elif image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"image of shape {image.shape} and type {image.dtype}: expected (H, W, 3) uint8, RGB")
    read_at = _size_to_read(model, image, protocol, size)
    try:
        scored = score_map(model, _resized(image, read_at), protocol, size=image.shape[:2])
        labels = scored.labels().cpu().numpy()
        measured = _confidence(scored, model) if confidence else None
    except ValueError as error:
        raise ValueError(f"{source}{error}") from error
    return Prediction(name or "image", image, labels, read_at, model, protocol, measured)


def _confidence(scored: ScoreMap, model: Segmenter) -> NDArray[np.float32]:
    return np.asarray(scored.confidence(model.temperature).cpu(), np.float32)


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


def _size_to_read(model: Segmenter, image: NDArray[np.uint8], protocol: Protocol, size: ReadingSize) -> Size:
    check_reading_size(size, protocol)
    height, width = image.shape[:2]
    if size == "native" or not isinstance(protocol.resize, NativeSize):
        return height, width
    if isinstance(size, str):
        return size_near(height, width, model.trained_at)
    return LongSide(pixels=size).size(height, width, 1.0)


def _resized(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """The image at a (height, width): pixels are averaged where it gets smaller, as a camera of fewer pixels does."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    smaller = size[0] <= height and size[1] <= width
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.uint8)


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """The image files that files, folders (not their subfolders) and glob patterns name, in that order, each once.

    Hidden files and folders and tools' leftovers are passed over unless they are named themselves. Links are followed;
    one that leads to nothing is among the files, so that it is named with those that can't be read.

    Raises:
        FileNotFoundError: a source names nothing.
        ValueError: a result file would be written twice, or would have too long a name.
    """
    found: dict[str, Path] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = _images_in(path)
        elif os.path.lexists(path):
            files = [path]
        else:
            files = _matching(str(source))
        for file in files:
            found.setdefault(os.path.abspath(file), file)
    _check_names(list(found.values()))
    return list(found.values())


def unread_folders(sources: Iterable[str | Path], output: Path) -> list[str]:
    """A line for each folder among the sources that has sub-folders, which `find_images` does not read."""
    lines = []
    for folder in (Path(source) for source in sources if Path(source).is_dir()):
        below = [
            path
            for path in folder.iterdir()
            if path.is_dir() and not is_leftover(path.name) and path.absolute() != output.absolute()
        ]
        if below:
            lines.append(f"{folder}: its {len(below)} sub-folders are not read; '{folder / '**' / '*.png'}' names all")
    return lines


def _images_in(folder: Path) -> list[Path]:
    files = sorted(
        file
        for file in folder.iterdir()
        if not is_leftover(file.name)
        and not file.is_dir()
        and (file.suffix.lower() in IMAGE_SUFFIXES or not file.exists())
    )
    if not files:
        raise FileNotFoundError(f"{folder}: no images in this folder ({', '.join(IMAGE_SUFFIXES)})")
    return files


def _matching(pattern: str) -> list[Path]:
    matches = (Path(match) for match in sorted(glob.glob(pattern, recursive=True)))
    named = set(Path(pattern).parts)
    files = [
        path
        for path in matches
        if not path.is_dir()
        and not any(is_leftover(part) for part in path.parts if part not in named and part != "..")
        and not _in_circle(path)
    ]
    if not files:
        what = "no image matches this pattern" if glob.has_magic(pattern) else "no such file or folder"
        raise FileNotFoundError(f"{cut(pattern)}: {what}")
    return files


def _in_circle(path: Path) -> bool:
    """Whether a folder in the path is a link back to one above it."""
    folders = [os.path.realpath(folder) for folder in Path(os.path.abspath(path)).parents]
    return len(set(folders)) < len(folders)


def _check_names(files: list[Path]) -> None:
    outputs: dict[str, Path] = {}
    for file in files:
        require_separate(outputs, file, f"{file.stem}_labels.png")
        if len(os.fsencode(file.stem)) > _LONGEST_NAME:
            raise ValueError(f"{file}: too long a name to put _confidence.png after it; shorten it")
