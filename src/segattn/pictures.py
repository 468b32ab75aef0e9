"""Label maps as pictures: colours, overlays, legends. NumPy and OpenCV only."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, Classes, Sample
from segattn.files import write_file

Image = NDArray[np.uint8]
WRONG = (226, 40, 58)

UNLABELLED = (38, 41, 56)
"""The colours of `mistakes`, RGB."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ROW = 22  # pixels of a legend's row
_LEGIBLE = 600  # height of a picture from which the legend grows with it, as it will be looked at smaller


def colorize(labels: NDArray[np.integer], classes: Classes) -> Image:
    """(H, W) training ids -> (H, W, 3) uint8 RGB in the classes' colours; `IGNORE` and ids without one are black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = classes.palette
    table[IGNORE] = 0
    return np.take(table, labels, axis=0)


def as_rgb(image: NDArray[np.generic]) -> Image:
    """An image to look at, (H, W, 3) uint8: RGB of 8 bits as it is.

    Of other bands the first three, or the first one in grey where there are fewer, each from the 2nd percentile of its
    values, black, to the 98th.
    """
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.asarray(image, np.uint8)
    chosen = np.asarray(image[..., :3] if image.shape[2] >= 3 else image[..., :1], np.float32)
    low, high = np.percentile(chosen, (2, 98), axis=(0, 1))
    scaled = np.clip((chosen - low) * (255 / np.maximum(high - low, 1e-6)), 0, 255)
    return np.ascontiguousarray(np.broadcast_to(np.rint(scaled), (*image.shape[:2], 3)), np.uint8)


def overlay(
    image: Image, labels: NDArray[np.integer], classes: Classes, opacity: float = 0.55, *, tint_all: bool = False
) -> Image:
    """(H, W, 3) RGB with the labels' colours laid over it.

    Ignored pixels show the image alone, and so do classes that are `untinted`, unless `tint_all`.
    """
    blended = cv2.addWeighted(image, 1.0 - opacity, colorize(labels, classes), opacity, 0.0)
    bare = np.zeros(256, bool)
    bare[IGNORE] = True
    if not tint_all:
        bare[untinted(classes)] = True
    untouched = np.take(bare, labels)
    if untouched.any():
        blended[untouched] = image[untouched]
    return np.asarray(blended, np.uint8)


def untinted(classes: Classes) -> list[int]:
    """The training ids that overlays leave as they are: of a class called background, and of black ones, which would
    only darken the image."""
    return [
        index
        for index, (name, colour) in enumerate(zip(classes.names, classes.palette, strict=True))
        if name.strip("_ ").casefold() == "background" or tuple(colour) == (0, 0, 0)
    ]


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """The RGB image at a (width, height), best a smaller one: pixels are averaged."""
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def resize_labels(labels: Image, size: tuple[int, int]) -> Image:
    """The (H, W) training ids at a (width, height), each from the nearest pixel."""
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def mistakes(image: Image, labels: NDArray[np.integer], truth: NDArray[np.integer]) -> Image:
    """The RGB (H, W, 3) image in grey, `WRONG` where labels and truth differ, `UNLABELLED` where no truth is."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    pale = cv2.addWeighted(grey, 0.45, np.full_like(grey, 255), 0.55, 0.0)
    pale[labels != truth] = WRONG
    pale[truth == IGNORE] = UNLABELLED
    return np.asarray(pale, np.uint8)


def legend(classes: Classes, shares: NDArray[np.floating] | None = None, *, height: int) -> Image:
    """A (height, w, 3) RGB strip of colour patches and names, in columns; with `shares` (fractions of 1) only classes
    that occur, the most frequent first, with their percentage."""
    order = list(range(len(classes)))
    if shares is not None:
        order = [index for index in np.argsort(-shares, kind="stable") if shares[index] > 0]
    texts = [classes.names[i] + (f"  {100 * shares[i]:.1f}%" if shares is not None else "") for i in order]
    zoom = max(1, height // _LEGIBLE)
    row = zoom * _ROW
    rows = max(1, (height - 8 * zoom) // row)
    columns = [range(start, min(start + rows, len(order))) for start in range(0, len(order), rows)]
    widths = [max(_text_width(texts[i], zoom) for i in column) + 44 * zoom for column in columns]
    strip = np.full((height, max(sum(widths), 1), 3), 255, np.uint8)
    left = 0
    for column, width in zip(columns, widths, strict=True):
        for number, i in enumerate(column):
            top = 8 * zoom + number * row
            colour = tuple(int(value) for value in classes.palette[order[i]])
            corner, place = (left + 26 * zoom, top + 14 * zoom), (left + 34 * zoom, top + 12 * zoom)
            cv2.rectangle(strip, (left + 10 * zoom, top), corner, colour, cv2.FILLED)
            cv2.putText(strip, texts[i], place, _FONT, 0.45 * zoom, (30, 30, 30), zoom, cv2.LINE_AA)
        left += width
    return strip


def with_legend(picture: Image, classes: Classes, shares: NDArray[np.floating] | None = None) -> Image:
    """The picture with its legend at the right."""
    return np.hstack([picture, legend(classes, shares, height=picture.shape[0])])


def class_shares(labels: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Fraction of the labelled pixels of each training id, (count,); zeros where nothing is labelled."""
    counts = np.bincount(labels.ravel(), minlength=256)[:count].astype(np.float64)
    return np.asarray(counts / max(counts.sum(), 1.0))


def counted_shares(counts: NDArray[np.int64], classes: Classes) -> dict[str, float]:
    """Of counts by id, (256,): the fraction of the labelled pixels of each class that occurs, the largest first."""
    known = counts[: len(classes)]
    total = max(int(known.sum()), 1)
    order = np.argsort(-known, kind="stable")
    return {classes.names[index]: float(known[index] / total) for index in order if known[index] > 0}


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an (H, W) or RGB (H, W, 3) image in the format of the suffix; the file appears whole or not at all.

    Raises:
        OSError: it can't be written.
    """
    write_file(path, encoded(image, path.suffix))


def encoded(image: NDArray[np.uint8], suffix: str = ".png") -> bytes:
    """An (H, W) or RGB (H, W, 3) image as the bytes of a file of this kind."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    done, data = cv2.imencode(suffix, pixels)
    assert done, f"OpenCV can't encode {suffix}"
    return data.tobytes()


def _text_width(text: str, zoom: int) -> int:
    return int(cv2.getTextSize(text, _FONT, 0.45 * zoom, zoom)[0][0])


_SIDE = 640  # of one of the three panels, at most
_GAP, _CAPTION = 8, 22


def side_by_side(sample: Sample, labels: Image, classes: Classes) -> Image:
    """Image, truth (what is not labelled is black) and prediction, RGB, with a legend of the classes in them.

    Args:
        sample: with its mask.
        labels: the predicted training ids, (H, W) uint8 as the mask.
    """
    assert sample.mask is not None
    height, width = labels.shape
    factor = min(_SIDE / max(height, width), 1.0)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    views = {
        "image": resize_image(as_rgb(sample.image), size),
        "truth": colorize(resize_labels(sample.mask, size), classes),
        "prediction": colorize(resize_labels(labels, size), classes),
    }
    panels = [_panel(view, caption) for caption, view in views.items()]
    seen = np.concatenate([sample.mask[sample.mask != IGNORE], labels.ravel()])
    return with_legend(np.hstack(panels), classes, class_shares(seen, len(classes)))


def _panel(picture: Image, caption: str) -> Image:
    height, width = picture.shape[:2]
    panel = np.full((_CAPTION + height, width + _GAP, 3), 255, np.uint8)
    panel[_CAPTION:, :width] = picture
    cv2.putText(panel, caption, (2, _CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return panel
