"""Panels as PNG figures, drawn by matplotlib: with their unit at a colour bar, and the asked pixel marked."""

from __future__ import annotations

import io
import textwrap
from functools import singledispatch
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.explaining.panels import (
    Array,
    BarsPanel,
    MapPanel,
    MapsPanel,
    MatrixPanel,
    Panel,
    ProfilePanel,
    Target,
)
from segattn.pictures import resize_image
from segattn.reports.themed import GRID, INK, QUIET, SERIES, svg_source

COLOURS = "inferno"
"""matplotlib's name of the colours of all maps and matrices."""

_SIDE = 1200  # of the image under a map, at most
_BARS = 15
_NAMED = 30  # rows of a matrix up to which they have names
_HEIGHT = 4.2  # inches that a map may take
_WIDTH = 8.4
_ROOM_FOR_FOUR = 7.0  # inches
_LETTER = 0.075  # inches that a letter of a colour bar's label takes, most of them less
_NARROW = 4.8  # inches, for a page


def draw(
    panel: Panel,
    image: NDArray[np.uint8],
    target: Target,
    *,
    dpi: int = 110,
    width: float = _WIDTH,
    words: bool = True,
) -> bytes:
    """A panel as the bytes of a PNG.

    Args:
        width: inches that it may take.
        words: put title and text above it.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(size_of(panel, target, width, _HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        fill(panel, figure, grey(image), target)
        if words:
            _head(figure, panel)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=dpi)
    return data.getvalue()


def draw_for_page(panel: Panel, image: NDArray[np.uint8], target: Target) -> str:
    """A panel without its words as what an `img` of a page takes: narrow, so that it is legible on a phone."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(size_of(panel, target, _NARROW, _HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        fill(panel, figure, grey(image), target)
        return svg_source(figure, dpi=120)


def _head(figure: Any, panel: Panel) -> None:
    """Title and text, for which the figure grows."""
    wrapped = textwrap.fill(panel.text, round(13.2 * figure.get_figwidth()))
    lines = wrapped.count("\n") + 1
    head = 0.42 + 0.19 * lines
    height = figure.get_figheight()
    top = height + head
    figure.set_figheight(top)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, height / top))
    left = 0.1 / figure.get_figwidth()
    figure.text(left, 1 - 0.24 / top, panel.title, fontsize=12.5, fontweight="bold")
    figure.text(left, 1 - 0.38 / top, wrapped, fontsize=9, color=QUIET, va="top")


def top_of(values: Array) -> float:
    """What the brightest colour stands for: the largest value, or where few stand out far, one that 99.5% are below."""
    largest, most = float(values.max()), float(np.percentile(values, 99.5))
    return most if 0 < 4 * most < largest else largest or 1.0


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image in grey, (H, W), no larger than it is drawn."""
    factor = min(1.0, _SIDE / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return np.asarray(cv2.cvtColor(resize_image(image, size), cv2.COLOR_RGB2GRAY), np.uint8)


@singledispatch
def size_of(panel: Panel, target: Target, width: float, height: float) -> tuple[float, float]:
    """Inches that a panel takes, without its words; maps keep their shape within width x height."""
    raise AssertionError(f"no drawing of a {type(panel).__name__}")


@singledispatch
def fill(panel: Panel, figure: Any, under: NDArray[np.uint8], target: Target) -> None:
    """Draw a panel, without its words, into a figure, or a part of one, of the size that it takes."""
    raise AssertionError(f"no drawing of a {type(panel).__name__}")


@size_of.register
def _(panel: MapPanel, target: Target, width: float, height: float) -> tuple[float, float]:
    return map_size(target, width, height)


@fill.register
def _(panel: MapPanel, figure: Any, under: NDArray[np.uint8], target: Target) -> None:
    _heat(figure, figure.subplots(), panel.values, under, target, panel.unit)


def _rows_and_columns(panel: MapsPanel, width: float) -> tuple[int, int]:
    """Of maps in so many inches: in few, titles and colour bars need the room of two."""
    count = len(panel.values)
    columns = min(count, 2 if count <= 4 or width < _ROOM_FOR_FOUR else 4)
    return -(-count // columns), columns


@size_of.register
def _(panel: MapsPanel, target: Target, width: float, height: float) -> tuple[float, float]:
    rows, columns = _rows_and_columns(panel, width)
    one = map_size(target, 1.53 * width / columns, 0.62 * height)
    return columns * one[0], rows * (one[1] + 0.32) + 0.2


@fill.register
def _(panel: MapsPanel, figure: Any, under: NDArray[np.uint8], target: Target) -> None:
    count = len(panel.values)
    grid = np.atleast_1d(figure.subplots(*_rows_and_columns(panel, figure.bbox.width / figure.dpi))).ravel()
    for axes in grid[count:]:
        axes.axis("off")
    for axes, values, label in zip(grid, panel.values, panel.labels, strict=False):
        _heat(figure, axes, values, under, target, panel.unit if count <= 2 else "")
        axes.set_title(label, fontsize=9, loc="left", pad=4)
    if count > 2:
        figure.supxlabel(f"colours: {panel.unit}", fontsize=9, color=QUIET)


@size_of.register
def _(panel: BarsPanel, target: Target, width: float, height: float) -> tuple[float, float]:
    return width, 0.7 + 0.24 * min(len(panel.values), _BARS)


@fill.register
def _(panel: BarsPanel, figure: Any, under: NDArray[np.uint8], target: Target) -> None:
    order = np.argsort(-panel.values, kind="stable")[:_BARS]
    axes = figure.subplots()
    places = range(len(order))
    axes.barh(places, panel.values[order], color=SERIES[0], height=0.7)
    axes.set_yticks(places, [panel.labels[i] for i in order])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    for place, value in zip(places, panel.values[order], strict=True):
        axes.text(value, place, f" {value:.3f}", va="center", fontsize=9, color=QUIET)
    axes.set_xlabel(panel.unit)
    axes.grid(axis="y", visible=False)
    if len(panel.values) > _BARS:
        figure.supxlabel(f"the {_BARS} largest of {len(panel.values)}", fontsize=9, color=QUIET)


@size_of.register
def _(panel: ProfilePanel, target: Target, width: float, height: float) -> tuple[float, float]:
    return width, 3.2


@fill.register
def _(panel: ProfilePanel, figure: Any, under: NDArray[np.uint8], target: Target) -> None:
    axes = figure.subplots()
    axes.bar(range(1, len(panel.values) + 1), panel.values, color=SERIES[0], width=0.9)
    axes.set_xlim(0.5, len(panel.values) + 0.5)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(panel.axis)
    axes.set_ylabel(panel.unit)
    axes.grid(axis="x", visible=False)


def _is_named(panel: MatrixPanel) -> bool:
    return 0 < len(panel.labels) <= _NAMED


@size_of.register
def _(panel: MatrixPanel, target: Target, width: float, height: float) -> tuple[float, float]:
    whole, high = (7.6, 6.2) if _is_named(panel) else (6.6, 5.2)
    factor = min(1.0, width / whole)
    return factor * whole, factor * high


@fill.register
def _(panel: MatrixPanel, figure: Any, under: NDArray[np.uint8], target: Target) -> None:
    axes = figure.subplots()
    top = top_of(panel.values)
    drawn = axes.imshow(panel.values, cmap=COLOURS, vmin=min(0.0, float(panel.values.min())), vmax=top)
    axes.grid(visible=False)
    axes.set_ylabel(panel.axes[0])
    axes.set_xlabel(panel.axes[1])
    if _is_named(panel):
        places = range(len(panel.labels))
        axes.set_yticks(places, panel.labels, fontsize=8)
        axes.set_xticks(places, panel.labels, fontsize=8, rotation=90)
    _bar(figure, axes, drawn, panel.values, top, panel.unit)


def _heat(figure: Any, axes: Any, values: Array, under: NDArray[np.uint8], target: Target, unit: str) -> None:
    extent = (0, target.width, target.height, 0)
    axes.imshow(under, cmap="gray", vmin=0, vmax=255, extent=extent)
    top = top_of(values)
    drawn = axes.imshow(values, cmap=COLOURS, vmin=0, vmax=top, extent=extent, alpha=0.62, interpolation="nearest")
    mark(axes, target)
    _bar(figure, axes, drawn, values, top, unit)


def mark(axes: Any, target: Target) -> None:
    """The asked pixel as a ring, on axes that hold an image alone."""
    for size, colour in ((9, "black"), (7, "white")):
        axes.plot(
            target.x + 0.5, target.y + 0.5, "o", markersize=size, markeredgecolor=colour, markerfacecolor="none",
            markeredgewidth=1.6,
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.axis("off")


def _bar(figure: Any, axes: Any, drawn: Any, values: Array, top: float, unit: str) -> None:
    more = top < float(values.max())
    # Inside the axes' own frame: beside it, the bar would be as high as the room, and not as the map.
    width = 0.12 * figure.dpi / max(axes.bbox.width, 1)
    place = axes.inset_axes((1 + width, 0.03, width, 0.94))
    bar = figure.colorbar(drawn, cax=place, extend="max" if more else "neither")
    bar.outline.set_visible(False)
    bar.solids.set_alpha(1)
    bar.ax.tick_params(labelsize=8)
    bar.formatter.set_powerlimits((-2, 4))
    bar.ax.yaxis.set_offset_position("left")  # the power of ten begins at the bar, and not on the map
    bar.ax.yaxis.get_offset_text().set_fontsize(8)
    if unit:
        label = f"{unit}; largest {float(values.max()):.3g}" if more else unit
        letters = int(figure.bbox.height / figure.dpi / _LETTER)
        bar.set_label(textwrap.fill(label, max(letters, 12)), fontsize=9)


def map_size(target: Target, width: float, height: float) -> tuple[float, float]:
    """Inches for an image within width x height, with room for a colour bar."""
    room = 0.8
    factor = min((width - room) / target.width, height / target.height)
    return max(factor * target.width, 1.2) + room, max(factor * target.height, 0.9)


STYLE: dict[Any, Any] = {
    "font.size": 9.5, "font.family": "DejaVu Sans", "text.color": INK, "axes.edgecolor": GRID,
    "axes.labelcolor": QUIET, "axes.titlecolor": INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8, "xtick.color": QUIET,
    "ytick.color": INK, "xtick.major.size": 0, "ytick.major.size": 0, "figure.facecolor": "white",
    "savefig.facecolor": "white", "figure.constrained_layout.h_pad": 0.08, "figure.constrained_layout.w_pad": 0.08,
}  # fmt: skip
"""matplotlib's settings for all figures."""
