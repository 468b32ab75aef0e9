"""Pictures in, labels out."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segattn.contracts import Classes
from segattn.data.files import IMAGE_SUFFIXES
from segattn.data.reading import read_image
from segattn.evaluation.inference import predict_scores
from segattn.evaluation.protocol import WHOLE, Protocol
from segattn.models.segmenter import Segmenter
from segattn.pictures import class_shares, overlay, with_legend, write_picture


class PredictionFiles(NamedTuple):
    """What `Prediction.save` wrote."""

    labels: Path
    overlay: Path


@dataclass(frozen=True)
class Prediction:
    """The labels of one picture.

    Attributes:
        name: of the picture, without folder and suffix.
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8 training ids.
        scores: (K, H, W) float32; what the labels are the arg-max of, in the protocol's own measure (plain logits for
            `whole`).
        classes: what the ids mean.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    scores: NDArray[np.float32]
    classes: Classes

    def shares(self) -> dict[str, float]:
        """Fraction of the picture for each class that occurs, the largest first."""
        shares = class_shares(self.labels, len(self.classes))
        order = np.argsort(-shares, kind="stable")
        return {self.classes.names[index]: float(shares[index]) for index in order if shares[index] > 0}

    def overlay(self) -> NDArray[np.uint8]:
        """(H, W', 3) RGB: the picture with the classes' colours over it and a legend at the right."""
        shares = class_shares(self.labels, len(self.classes))
        return with_legend(overlay(self.image, self.labels, self.classes), self.classes, shares)

    def save(self, folder: str | Path) -> PredictionFiles:
        """Write NAME_labels.png (one 8-bit channel of training ids) and NAME_overlay.png into `folder`.

        Raises:
            OSError: the folder can't be written to.
        """
        files = PredictionFiles(Path(folder) / f"{self.name}_labels.png", Path(folder) / f"{self.name}_overlay.png")
        write_picture(files.labels, self.labels)
        write_picture(files.overlay, self.overlay())
        return files


def predict(model: Segmenter, image: str | Path | NDArray[np.uint8], protocol: Protocol = WHOLE) -> Prediction:
    """Label one picture.

    Args:
        model: in evaluation mode; its device is where the work is done.
        image: a file, turned upright as its EXIF data says, or an RGB (H, W, 3) uint8 array.
        protocol: how the picture is brought to the network.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no picture, or an array of another shape or type.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image of shape {image.shape} and type {image.dtype}: expected (H, W, 3) uint8, RGB")
        name, pixels = "image", image
    else:
        name, pixels = Path(image).stem, read_image(image, upright=True)
    scores = predict_scores(model, pixels, protocol).cpu().numpy()
    return Prediction(name, pixels, scores.argmax(0).astype(np.uint8), scores, model.classes)


def find_pictures(sources: Iterable[str | Path]) -> list[Path]:
    """The picture files that files, folders (not their subfolders) and glob patterns name, in that order, each once.

    Raises:
        FileNotFoundError: a source names nothing.
        ValueError: two pictures would write the same result file.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            if not files:
                raise FileNotFoundError(f"{path}: no pictures in this folder ({', '.join(IMAGE_SUFFIXES)})")
        elif path.exists():
            files = [path]
        else:
            files = sorted(Path(match) for match in glob.glob(str(source), recursive=True) if Path(match).is_file())
            if not files:
                raise FileNotFoundError(f"{source}: no such picture")
        found.update(dict.fromkeys(files))
    by_stem: dict[str, Path] = {}
    for file in found:
        other = by_stem.setdefault(file.stem, file)
        if other != file:
            raise ValueError(
                f"{other} and {file} would both write {file.stem}_labels.png; label them in separate calls"
            )
    return list(found)


def predict_many(model: Segmenter, pictures: Iterable[str | Path], protocol: Protocol = WHOLE) -> Iterator[Prediction]:
    """`predict` for one picture after another."""
    for picture in pictures:
        yield predict(model, picture, protocol)


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ValueError: no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} can't be used here: {str(error).splitlines()[0]}") from None
    return device
