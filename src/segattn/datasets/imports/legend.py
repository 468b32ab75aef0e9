"""Which colour of a mask is which class: legends in text, CSV or JSON, and masks in colours read by them.

Read are ``labelmap.txt`` of CVAT and Datumaro (``name:r,g,b:parts:actions``, # begins a comment), CamVid's
``label_colors.txt`` (``r g b name``), CSV (``name,r,g,b``, with or without a heading, as in ``class_dict.csv``), and
JSON (``{"name": [r, g, b]}``, ``[{"name": ..., "color": [r, g, b] or "#rrggbb"}]``, or such a list under `classes` or
`labels`).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import cut, shown
from segattn.datasets.headers import read_checked
from segattn.datasets.images import read_image
from segattn.datasets.imports.source import Canvas, Colour, clean_name, is_ignored
from segattn.files import decoded

Legend = dict[Colour, str]
SUFFIXES = (".txt", ".csv", ".json")

_LARGEST = 1 << 20
_MOST = 1024
_LOSSY = ("JPEG", "WebP", "JPEG 2000", "AVIF")
_SHOWN = 4


def parse_legend(name: str, data: bytes) -> Legend:
    """Colour -> class of a legend, in its order; `name` is the file's, whose suffix says what it is.

    Raises:
        ValueError: it is no legend, or one colour is two classes.
    """
    if len(data) > _LARGEST:
        raise ValueError(f"{len(data)} bytes, and a legend of at most {_LARGEST} was expected")
    text = decoded(data)
    rows = list({".csv": _csv, ".json": _json}.get(Path(name).suffix.lower(), _lines)(text))
    if not rows or len(rows) > _MOST:
        raise ValueError(f"{len(rows)} colours, and 1 to {_MOST} were expected")
    legend: Legend = {}
    for label, values in rows:
        colour = _colour(values)
        label = clean_name(label)
        if legend.setdefault(colour, label) != label:
            raise ValueError(f"colour {colour} is both {cut(legend[colour])} and {cut(label)}")
    return legend


def _lines(text: str) -> Iterator[tuple[Any, Any]]:
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        numbers_first = re.fullmatch(r"(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,:]+(\S.*)", line)
        if numbers_first:
            yield numbers_first[4], list(numbers_first.groups()[:3])
            continue
        label, colon, rest = line.partition(":")
        if not colon:
            raise ValueError(f"line {cut(line)!r}: name:red,green,blue was expected")
        yield label, rest.partition(":")[0].split(",")


def _csv(text: str) -> Iterator[tuple[Any, Any]]:
    try:
        rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    places = [0, 1, 2, 3]
    if rows and not any(cell.strip().isdigit() for cell in rows[0]):
        heading = [cell.strip().lower() for cell in rows.pop(0)]
        wanted = (("name", "class", "label", "class_name"), ("r", "red"), ("g", "green"), ("b", "blue"))
        found = [next((heading.index(word) for word in words if word in heading), None) for words in wanted]
        if None in found:
            raise ValueError(f"heading {cut(','.join(heading))}: name,r,g,b was expected")
        places = [place for place in found if place is not None]
    for row in rows:
        if len(row) <= max(places):
            raise ValueError(f"row {cut(','.join(row))!r}: name,r,g,b was expected")
        yield row[places[0]], [row[place] for place in places[1:]]


def _json(text: str) -> Iterator[tuple[Any, Any]]:
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("brackets too deep") from None
    if isinstance(content, dict):
        content = next((content[key] for key in ("classes", "labels") if isinstance(content.get(key), list)), content)
    if isinstance(content, dict):
        yield from content.items()
        return
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError('{"name": [red, green, blue]} was expected')
    for row in content:
        yield (
            next((row[key] for key in ("name", "label", "class") if key in row), None),
            next((row[key] for key in ("color", "colour", "rgb") if key in row), None),
        )


def _colour(values: Any) -> Colour:
    if isinstance(values, str) and re.fullmatch(r"#?[0-9A-Fa-f]{6}", values):
        number = int(values.removeprefix("#"), 16)
        return number >> 16, number >> 8 & 255, number & 255
    parts = [str(part).strip() for part in values if type(part) in (int, str)] if isinstance(values, list) else []
    if len(parts) != 3 or any(not re.fullmatch(r"[0-9]{1,3}", part) or int(part) > 255 for part in parts):
        raise ValueError(f"colour {shown(values)}: red, green and blue of 0 to 255 were expected")
    return int(parts[0]), int(parts[1]), int(parts[2])


def draw_colours(mask: Path, legend: Legend, canvas: Canvas) -> None:
    """Paint what a mask in colours (RGB, grey or palette) says. Raises ValueError for colours without a name."""
    pixels = _exact(mask)
    if pixels.shape[:2] != canvas.size:
        raise ValueError(f"{mask}: is {pixels.shape[1]}x{pixels.shape[0]}, its image {canvas.size[1]}x{canvas.size[0]}")
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    labelled = np.zeros(canvas.size, np.bool_)
    parts: dict[str, NDArray[np.bool_]] = {}
    for colour, label in legend.items():
        inside = packed == (colour[0] << 16 | colour[1] << 8 | colour[2])
        if inside.any():
            labelled |= inside
            parts[label] = parts[label] | inside if label in parts else inside
    if not labelled.all():
        raise ValueError(f"{mask}: {_unknown(packed[~labelled])}")
    canvas.fill((None if is_ignored(label) else label, inside) for label, inside in parts.items())


def _exact(mask: Path) -> NDArray[np.uint8]:
    kind = read_checked(mask).header.kind
    if kind in _LOSSY:
        raise ValueError(f"{mask}: {kind} changes colours, so that classes can't be told; masks as PNG were expected")
    return read_image(mask)


def _unknown(packed: NDArray[np.uint32]) -> str:
    values, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    some = [
        f"({value >> 16}, {value >> 8 & 255}, {value & 255}) in {count} pixels"
        for value, count in zip(values[order[:_SHOWN]].tolist(), counts[order[:_SHOWN]].tolist(), strict=True)
    ]
    more = f" and {len(values) - _SHOWN} more colours" if len(values) > _SHOWN else ""
    soft = "; are its edges smoothed?" if len(values) > 64 else "; add it to the legend, as `ignore` if need be"
    return f"no name for {', '.join(some)}{more}{soft}"
