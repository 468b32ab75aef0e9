"""Predictions as label files for a test server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes, Sample, cut
from segattn.files import require_writable, write_file


def write_label_png(labels: NDArray[np.integer], classes: Classes, path: str | Path) -> None:
    """Write (H, W) training ids as a grey PNG of the data set's own ids, `classes.file_ids`.

    It has 8 bits, or 16 where one of those ids is above 255. The file appears whole or not at all, in a folder that
    exists.

    Raises:
        ValueError: a label that is no training id, a class without an id, or one that doesn't fit 16 bits.
        OSError: the folder doesn't exist, or the file can't be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write {path.name} into")
    file_ids = _file_ids(classes)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels of shape {labels.shape} and type {labels.dtype}: expected (H, W) integers")
    if labels.size and (labels.min() < 0 or labels.max() >= len(classes)):
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: expected training ids 0..{len(classes) - 1}")
    written, png = cv2.imencode(".png", file_ids[labels])
    assert written
    write_file(path, png.tobytes())


def _file_ids(classes: Classes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The id that is written for each training id, in the type of the PNG."""
    file_ids = np.array(range(len(classes)) if classes.file_ids is None else classes.file_ids)
    for name, raw in zip(classes.names, file_ids.tolist(), strict=True):
        if not 0 <= raw <= 0xFFFF:
            raise ValueError(
                f"class {cut(name)} has the id {raw} in the data set's masks, so it can't be written: an 8-bit PNG"
                " holds 0 to 255, one of 16 bits 0 to 65535; in dataset.yaml, give it an id under labels"
            )
    return file_ids.astype(np.uint8 if file_ids.max() <= 0xFF else np.uint16)


def submission_writer(folder: str | Path, classes: Classes) -> Callable[[Sample, NDArray[np.uint8]], None]:
    """An `on_prediction` for `evaluate` that writes `<sample name>.png` label files into `folder`, which it makes.

    The Cityscapes server takes one such file an image, named after it.

    Raises:
        ValueError: a class without an id in the data set's masks.
        OSError: the folder can't be written to.
    """
    folder = Path(folder)
    _file_ids(classes)
    require_writable(folder)

    def write(sample: Sample, labels: NDArray[np.uint8]) -> None:
        path = folder / f"{sample.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_label_png(labels, classes, path)

    return write
