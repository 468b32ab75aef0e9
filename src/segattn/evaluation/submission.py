"""Predictions as label files for a test server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes, Sample
from segattn.files import require_writable, write_file


def write_label_png(labels: NDArray[np.integer], classes: Classes, path: str | Path) -> None:
    """Write (H, W) training ids as an 8-bit grey PNG of the data set's own ids, `classes.file_ids`.

    The file appears whole or not at all, in a folder that exists.

    Raises:
        ValueError: a label that is no training id, or a file id that doesn't fit 8 bits.
        OSError: the folder doesn't exist, or the file can't be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write {path.name} into")
    file_ids = np.array(range(len(classes)) if classes.file_ids is None else classes.file_ids)
    if file_ids.min() < 0 or file_ids.max() > 255:
        raise ValueError(f"file ids from {file_ids.min()} to {file_ids.max()}: an 8-bit PNG holds 0 to 255")
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels of shape {labels.shape} and type {labels.dtype}: expected (H, W) integers")
    if labels.size and (labels.min() < 0 or labels.max() >= len(classes)):
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: expected training ids 0..{len(classes) - 1}")
    written, png = cv2.imencode(".png", file_ids.astype(np.uint8)[labels])
    assert written
    write_file(path, png.tobytes())


def submission_writer(folder: str | Path, classes: Classes) -> Callable[[Sample, NDArray[np.uint8]], None]:
    """An `on_prediction` for `evaluate` that writes `<sample name>.png` label files into `folder`, which it makes.

    The Cityscapes server takes one such file a picture, named after it.

    Raises:
        OSError: the folder can't be written to.
    """
    folder = Path(folder)
    require_writable(folder)

    def write(sample: Sample, labels: NDArray[np.uint8]) -> None:
        path = folder / f"{sample.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_label_png(labels, classes, path)

    return write
