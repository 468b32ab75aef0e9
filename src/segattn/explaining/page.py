"""A view as one HTML page that loads nothing else, in which a click on the image changes the pixel.

For the points of a coarse grid, and for the asked pixel, each map that depends on the pixel is kept as a tile of one
8-bit image per map (an atlas), on its own scale, and of each list of bars the largest.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.explaining.drawing import COLOURS, draw_for_page, top_of
from segattn.explaining.panels import Array, BarsPanel, MapPanel, MapsPanel, Pixel, Target
from segattn.pictures import class_shares, overlay, resize_image
from segattn.reports.origin import Fact
from segattn.reports.page import data_uri, render_html

if TYPE_CHECKING:
    from segattn.explaining.view import View

LONG, SHORT = 16, 12
"""Points of the grid along the image's longer and shorter side, at most."""

ATLAS_PIXELS = 4_000_000
"""Of all atlases together, at most: as many bytes before compression."""

_SIDE = 1000  # of the image on the page, at most
_BARS = 8


def render(view: View) -> str:
    """The page's text."""
    points, (rows, columns) = grid(view.target)
    pixels = [*points, (view.target.y, view.target.x)]
    maps = [panel for panel in view.panels if isinstance(panel, MapPanel) and panel.others is not None]
    bars = [panel for panel in view.panels if isinstance(panel, BarsPanel) and panel.others is not None]
    budget = ATLAS_PIXELS // (len(pixels) * max(1, len(maps)))
    atlases = {panel.name: _atlas(panel, pixels, columns, budget) for panel in maps}
    image = _shown(view.image)
    plain = _jpeg(image)
    # labels are drawn at the image's own size and averaged with it
    classes = _jpeg(_shown(overlay(view.image, view.labels, view.classes)))
    shares = class_shares(view.labels, len(view.classes))
    live = {panel.name for panel in (*maps, *bars)}
    stills = {
        panel.name: draw_for_page(panel, view.image, view.target) for panel in view.panels if panel.name not in live
    }
    sizes = [len(text) for text in (plain, classes, *stills.values(), *(atlas.source for atlas in atlases.values()))]
    return render_html(
        "explain",
        title=view.title,
        origin=replace(view.origin, more=(*view.origin.more, *_sizes(view))),
        view=view,
        plain=plain,
        overlay=classes,
        shares=[(i, float(shares[i])) for i in np.argsort(-shares, kind="stable") if shares[i] > 0],
        maps=[(panel, atlases[panel.name]) for panel in maps],
        bars=[(panel, _largest(panel.values)) for panel in bars],
        stills=[
            (panel, stills[panel.name], isinstance(panel, MapsPanel)) for panel in view.panels if panel.name in stills
        ],
        grid=(rows, columns),
        megabytes=sum(sizes) / 1e6,
        data={
            "points": pixels,
            "size": [view.target.height, view.target.width],
            "grid": [rows, columns],
            "tops": {name: atlas.tops for name, atlas in atlases.items()},
            "bars": {panel.name: [_largest(values) for values in _others(panel, pixels)] for panel in bars},
            "labels": {panel.name: panel.labels for panel in bars},
        },
    )


def _sizes(view: View) -> tuple[Fact, Fact]:
    hint = "height x width in pixels"
    return (
        Fact("image", f"{view.name}, {view.target.height} x {view.target.width} pixels", hint),
        Fact("network input", f"{view.seen[0]} x {view.seen[1]} pixels", hint),
    )


def grid(target: Target) -> tuple[list[Pixel], tuple[int, int]]:
    """The points, row by row, in the middle of equal parts of the image, and the numbers of rows and columns."""
    most = (SHORT, LONG) if target.width >= target.height else (LONG, SHORT)
    rows, columns = min(most[0], target.height), min(most[1], target.width)
    ys = [int((i + 0.5) * target.height / rows) for i in range(rows)]
    xs = [int((i + 0.5) * target.width / columns) for i in range(columns)]
    return [(y, x) for y in ys for x in xs], (rows, columns)


class _Atlas:
    """Tiles, `columns` a row, in the order of the pixels.

    Attributes:
        source: what an `img` takes.
        across, down: tiles.
        tops: for each tile the value of its brightest colour, in few digits.
        cells: (h, w) of a tile.
        reduced: whether the map has more cells.
    """

    def __init__(self, tiles: list[Array], columns: int, tops: list[float], *, reduced: bool) -> None:
        h, w = tiles[0].shape
        self.across, self.down = columns, math.ceil(len(tiles) / columns)
        self.cells, self.reduced = (h, w), reduced
        self.tops = [f"{top:.3g}" for top in tops]
        sheet = np.zeros((self.down * h, self.across * w), np.uint8)
        for i, tile in enumerate(tiles):
            row, column = divmod(i, columns)
            sheet[row * h : (row + 1) * h, column * w : (column + 1) * w] = tile
        self.source = data_uri(_coloured_png(sheet), "png")


def _atlas(panel: MapPanel, pixels: list[Pixel], columns: int, budget: int) -> _Atlas:
    h, w = panel.values.shape
    factor = min(1.0, math.sqrt(budget / (h * w)))
    size = max(1, int(w * factor)), max(1, int(h * factor))
    tiles, tops = [], []
    for values in _others(panel, pixels):
        small = cv2.resize(values, size, interpolation=cv2.INTER_AREA) if factor < 1 else values
        top = top_of(small)
        tiles.append(np.asarray(np.rint(255 * np.clip(small / top, 0, 1)), np.uint8))
        tops.append(top)
    return _Atlas(tiles, columns, tops, reduced=factor < 1)


def _others(panel: MapPanel | BarsPanel, pixels: list[Pixel]) -> Any:
    assert panel.others is not None
    return panel.others(pixels)


def _largest(values: Array) -> list[tuple[int, float]]:
    # With more digits than the page shows: rounded twice, 0.00248 would be 0.003.
    return [(int(i), round(float(values[i]), 7)) for i in np.argsort(-values, kind="stable")[:_BARS]]


def _coloured_png(levels: NDArray[np.uint8]) -> bytes:
    import matplotlib as mpl
    from PIL import Image

    sheet = Image.fromarray(levels)
    sheet.putpalette((255 * mpl.colormaps[COLOURS](np.arange(256))[:, :3]).round().astype(np.uint8).tobytes())
    data = io.BytesIO()
    sheet.save(data, format="png", optimize=True)
    return data.getvalue()


def _shown(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = min(1.0, _SIDE / max(image.shape[:2]))
    return resize_image(image, (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))))


def _jpeg(image: NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return data_uri(data.tobytes(), "jpeg")
