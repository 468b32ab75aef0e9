"""A sheet of samples with their masks laid over them: the quickest way to see that images and labels match."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes, Sample, SegmentationDataset
from segattn.pictures import as_rgb, class_shares, overlay, resize_image, resize_labels, with_legend, write_image

_COLUMNS = 2
_SIDE = 400  # of an image, at most; a cell holds two
_GAP, _CAPTION = 10, 24
_PAPER, _INK = 255, (30, 30, 30)


def sheet(dataset: SegmentationDataset, *, count: int = 8) -> NDArray[np.uint8]:
    """A (H, W, 3) RGB sheet: `count` samples spread evenly over the data set, each beside itself with its mask.

    The legend at the right lists the classes that occur in them, the most frequent first. Ignored pixels show the image
    alone.

    Raises:
        ValueError: the data set is empty, `count` is below 1, or a file can't be read.
    """
    if not len(dataset) or count < 1:
        raise ValueError(f"{count} of {len(dataset)} samples; there must be one at least")
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    samples = [dataset[int(index)] for index in chosen]
    cells = [_cell(sample, dataset.classes) for sample in samples]
    rows = [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
    drawn = np.vstack([_row(row, len(rows[0])) for row in rows])
    masks = [sample.mask.ravel() for sample in samples if sample.mask is not None]
    if not masks:
        return drawn
    return with_legend(drawn, dataset.classes, class_shares(np.concatenate(masks), len(dataset.classes)))


def write_sheet(dataset: SegmentationDataset, path: str | Path, *, count: int = 8) -> None:
    """`sheet` as a file, PNG or JPEG by its suffix.

    Raises:
        ValueError: as `sheet`, or another suffix.
        OSError: the file can't be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"{path}: sheets are written as .png or .jpg")
    write_image(path, sheet(dataset, count=count))


def _cell(sample: Sample, classes: Classes) -> NDArray[np.uint8]:
    """Caption, image, image with its mask."""
    height, width = sample.image.shape[:2]
    factor = _SIDE / max(height, width)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    image = resize_image(as_rgb(sample.image), size)
    panels = [image]
    if sample.mask is not None:
        panels.append(overlay(image, resize_labels(sample.mask, size), classes))
    cell = np.full((_CAPTION + size[1] + _GAP, 2 * _SIDE + 3 * _GAP, 3), _PAPER, np.uint8)
    for column, panel in enumerate(panels):
        left = _GAP + column * (size[0] + _GAP)
        cell[_CAPTION : _CAPTION + size[1], left : left + size[0]] = panel
    text = f"{sample.name}   {width}x{height}" + ("" if sample.mask is not None else "   no labels")
    cv2.putText(cell, text, (_GAP, _CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return cell


def _row(cells: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Cells side by side on paper, all as high as the highest."""
    height = max(cell.shape[0] for cell in cells)
    row = np.full((height, columns * cells[0].shape[1], 3), _PAPER, np.uint8)
    for column, cell in enumerate(cells):
        left = column * cell.shape[1]
        row[: cell.shape[0], left : left + cell.shape[1]] = cell
    return row
