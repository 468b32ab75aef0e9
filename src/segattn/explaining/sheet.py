"""Several panels of a view in one JPEG, beside the image and its labels: for a page of text, a slide or a paper."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segattn.contracts import cut, nearest
from segattn.explaining.drawing import STYLE, fill, grey, map_size, mark, size_of
from segattn.pictures import class_shares, overlay
from segattn.reports.themed import INK, QUIET

if TYPE_CHECKING:
    from segattn.explaining.panels import Panel
    from segattn.explaining.view import View

MOST = 6
"""Panels of one sheet."""

_WIDTH, _HEIGHT = 5.6, 3.8  # inches of a tile, without its words
_LEGEND = 9  # classes in it, at most


class _Tile(NamedTuple):
    title: str
    text: str
    height: float
    fill: Callable[[Any], None]


def draw_sheet(view: View, names: Sequence[str], *, dpi: int = 100) -> bytes:
    """The bytes of a JPEG: image and labels, then the panels of these names, two a row, with the view's title.

    Args:
        names: of panels, in the order in which they are drawn; `MOST` of them at most.

    Raises:
        ValueError: none, too many, or a name that the view has no panel of (with those that it has).
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tiles = [_image(view), _labels(view), *(_tile(panel, view) for panel in chosen_panels(view, names))]
    rows = [tiles[i : i + 2] for i in range(0, len(tiles), 2)]
    words = {id(tile): textwrap.fill(tile.text, round(14 * _WIDTH)) for tile in tiles}
    heads = [0.3 + 0.17 * max(1 + words[id(tile)].count("\n") for tile in row) for row in rows]
    bodies = [max(tile.height for tile in row) for row in rows]
    top = 0.42
    height = top + sum(heads) + sum(bodies)
    with mpl.rc_context(STYLE):
        figure = Figure((2 * _WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        ratios = [top, *(inches for pair in zip(heads, bodies, strict=True) for inches in pair)]
        bands: Any = figure.subfigures(len(ratios), 1, height_ratios=ratios, hspace=0)
        bands[0].text(0.1 / (2 * _WIDTH), 0.4, view.title, fontsize=13, fontweight="bold", color=INK, va="center")
        for row, head, place in zip(rows, heads, range(1, len(ratios), 2), strict=True):
            for tile, above, below in zip(
                row, bands[place].subfigures(1, 2), bands[place + 1].subfigures(1, 2), strict=False
            ):
                left = 0.1 / _WIDTH
                above.text(left, 1 - 0.04 / head, tile.title, fontsize=11, fontweight="bold", va="top")
                above.text(left, 1 - 0.25 / head, words[id(tile)], fontsize=8.5, color=QUIET, va="top")
                tile.fill(below)
        data = io.BytesIO()
        figure.savefig(data, format="jpeg", dpi=dpi, pil_kwargs={"quality": 90, "subsampling": 0, "optimize": True})
    return data.getvalue()


def chosen_panels(view: View, names: Sequence[str]) -> list[Panel]:
    """The panels of these names.

    Raises:
        ValueError: as `draw_sheet`.
    """
    panels = {panel.name: panel for panel in view.panels}
    for name in names:
        if name not in panels:
            raise ValueError(
                f"{cut(name)!r} is not a panel of this view.{nearest(name, panels)} It has: {', '.join(panels)}"
            )
    if not 0 < len(names) <= MOST:
        raise ValueError(f"{len(names)} panels for one sheet: expected 1 to {MOST} of {', '.join(panels)}")
    return [panels[name] for name in names]


def _image(view: View) -> _Tile:
    height, width = view.image.shape[:2]

    def draw(part: Any) -> None:
        axes = part.subplots()
        axes.imshow(view.image)
        mark(axes, view.target)

    y, x = view.at
    return _Tile("The image", f"{width} x {height} pixels; asked about row {y}, column {x} (ring).", _high(view), draw)


def _labels(view: View) -> _Tile:
    from matplotlib.patches import Patch

    shares = class_shares(view.labels, len(view.classes))
    order = [i for i in np.argsort(-shares, kind="stable") if shares[i] > 0]

    def draw(part: Any) -> None:
        axes = part.subplots()
        axes.imshow(overlay(view.image, view.labels, view.classes))
        mark(axes, view.target)
        patches = [
            Patch(color=_hex(view.classes.palette[i]), label=f"{view.classes.names[i]} {shares[i]:.1%}")
            for i in order[:_LEGEND]
        ]
        axes.legend(
            handles=patches, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, handlelength=1.2
        )

    more = f" The legend has the {_LEGEND} largest of {len(order)} classes." if len(order) > _LEGEND else ""
    return _Tile("Labels", f"The pixel is given the class {view.label}.{more}", _high(view), draw)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _high(view: View) -> float:
    return map_size(view.target, _WIDTH, _HEIGHT)[1]


def _tile(panel: Panel, view: View) -> _Tile:
    width, height = size_of(panel, view.target, _WIDTH, _HEIGHT)
    under = grey(view.image)
    return _Tile(
        panel.title,
        panel.text,
        height * min(1.0, _WIDTH / width),
        lambda part: fill(panel, part, under, view.target),
    )
