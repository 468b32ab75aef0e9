"""Images in, labels out."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes, cut
from segattn.datasets.headers import IMAGE_SUFFIXES
from segattn.datasets.images import is_leftover, read_image
from segattn.evaluation.inference import predict_labels, predict_scores
from segattn.evaluation.protocol import WHOLE, Protocol
from segattn.files import require_separate
from segattn.models.segmenter import Segmenter
from segattn.pictures import class_shares, overlay, with_legend, write_image

_LONGEST_NAME = 255 - len("._overlay.png.part")
"""Bytes of an image's name, as file systems allow 255 for what is written."""


class PredictionFiles(NamedTuple):
    """The files that `Prediction.save` writes."""

    labels: Path
    overlay: Path

    @classmethod
    def of(cls, name: str, folder: str | Path) -> PredictionFiles:
        """Those of an image of that name."""
        return cls(Path(folder) / f"{name}_labels.png", Path(folder) / f"{name}_overlay.png")


@dataclass(frozen=True, eq=False)
class Prediction:
    """The labels of one image.

    Attributes:
        name: of the image, without folder and suffix.
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8 training ids.
        model, protocol: what the labels come from.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    model: Segmenter = field(repr=False)
    protocol: Protocol = field(repr=False)

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
        return np.asarray(predict_scores(self.model, self.image, self.protocol).cpu(), np.float32)

    def shares(self) -> dict[str, float]:
        """Fraction of the image for each class that occurs, the largest first."""
        shares = class_shares(self.labels, len(self.classes))
        order = np.argsort(-shares, kind="stable")
        return {self.classes.names[index]: float(shares[index]) for index in order if shares[index] > 0}

    def overlay(self) -> NDArray[np.uint8]:
        """(H, W', 3) RGB: the image with the classes' colours over it and a legend at the right."""
        shares = class_shares(self.labels, len(self.classes))
        return with_legend(overlay(self.image, self.labels, self.classes), self.classes, shares)

    def save(self, folder: str | Path) -> PredictionFiles:
        """Write NAME_labels.png (one 8-bit channel of training ids) and NAME_overlay.png into `folder`.

        Raises:
            OSError: the folder can't be written to.
        """
        files = PredictionFiles.of(self.name, folder)
        write_image(files.labels, self.labels)
        write_image(files.overlay, self.overlay())
        return files


def predict(
    model: Segmenter, image: str | Path | NDArray[np.uint8], protocol: Protocol = WHOLE, *, name: str | None = None
) -> Prediction:
    """Label one image.

    Args:
        model: in evaluation mode; its device is where the work is done.
        image: a file, turned upright as its EXIF data says, or an RGB (H, W, 3) uint8 array.
        protocol: how the image is brought to the network.
        name: of the result's files; by default the image's own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no image, an array of another shape or type, or a size that the network can't take.
    """
    source = ""
    if not isinstance(image, np.ndarray):
        source, name = f"{image}: ", name or Path(image).stem
        image = read_image(image, upright=True)
    elif image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"image of shape {image.shape} and type {image.dtype}: expected (H, W, 3) uint8, RGB")
    try:
        labels = predict_labels(model, image, protocol).cpu().numpy()
    except ValueError as error:
        raise ValueError(f"{source}{error}") from error
    return Prediction(name or "image", image, labels, model, protocol)


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
            raise ValueError(f"{file}: too long a name to put _overlay.png after it; shorten it")
