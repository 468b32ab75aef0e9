"""Outlines -> pixels, by the rule of the tool that they come from; the rules differ along the boundary.

* `coco_polygon`: the rule of COCO's own API (`rleFrPoly` in cocoapi, common/maskApi.c, commit 8c9bcc3), without that
  library: the outline is walked in steps of a fifth of a pixel, and where it crosses the middle of a column the
  inside begins or ends below it. Even-odd within one polygon.
* `pil_polygon`, `pil_rectangle`, `pil_circle`: Pillow's drawing with ``outline=1, fill=1``, which is Labelme's rule.
* `cv_polygon`: `cv2.fillPoly` on coordinates cut to whole pixels, which is Ultralytics' rule.
* `cv_ellipse`: `cv2.ellipse` on rounded numbers, which is CVAT's rule.

Each gives a `Patch`: the part of the image that can be touched, so that small shapes in large images stay cheap.
"""

from __future__ import annotations

from math import hypot
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segattn.contracts import shown

FARTHEST = 1 << 17
"""Pixels from the corner: coordinates beyond are taken for a mistake."""

_MOST_STEPS = 1 << 26
"""Steps along one outline: minutes of work, which no outline of an image needs."""

_CHUNK = 1 << 20
_SCALE = 5

Points = NDArray[np.float64]


class Patch(NamedTuple):
    """Pixels of a shape: `inside` (h, w) bool, whose first one is the image's pixel (`top`, `left`)."""

    top: int
    left: int
    inside: NDArray[np.bool_]


def points_of(values: Any, least: int = 3) -> Points:
    """Pairs or a flat list of numbers -> (n, 2) x and y in pixels.

    Raises:
        ValueError: no such list, fewer than `least` points, NaN, or numbers beyond `FARTHEST`.
    """
    if not isinstance(values, list) or not values:
        raise ValueError(f"points: a list was expected, got {shown(values)}")
    flat = values
    if isinstance(values[0], list | tuple):
        if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in values):
            raise ValueError("points: pairs of x and y were expected")
        flat = [value for pair in values for value in pair]
    if any(type(value) not in (int, float) for value in flat):
        raise ValueError("points: numbers were expected")
    if len(flat) % 2:
        raise ValueError(f"points: {len(flat)} numbers, and pairs of x and y were expected")
    if len(flat) < 2 * least:
        raise ValueError(f"an outline of {len(flat) // 2} points, and {least} or more were expected")
    if any(isinstance(value, int) and not -FARTHEST <= value <= FARTHEST for value in flat):
        raise ValueError(f"coordinates beyond {FARTHEST} pixels")  # before an integer that no float can hold
    points = np.array(flat, np.float64).reshape(-1, 2)
    require_near(points)
    return points


def require_near(points: Points) -> None:
    """Raises ValueError where a coordinate is NaN, infinite or beyond `FARTHEST`."""
    if not np.isfinite(points).all():
        raise ValueError("coordinates that are NaN or infinite")
    if np.abs(points).max() > FARTHEST:
        raise ValueError(f"coordinates beyond {FARTHEST} pixels")


def rotated_box(box: tuple[float, float, float, float], degrees: float, pivot: tuple[float, float]) -> Points:
    """The corners (4, 2) of a box (left, top, right, bottom), turned clockwise about `pivot`, all in pixels.

    Raises:
        ValueError: NaN, or numbers beyond `FARTHEST`.
    """
    left, top, right, bottom = box
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    require_near(np.append(corners, [[degrees, 0.0]], axis=0))
    if degrees == 0:
        return corners
    angle, centre = np.radians(degrees), np.array(pivot)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned: Points = (corners - centre) @ turn + centre
    require_near(turned)
    return turned


def coco_polygon(points: Points, size: tuple[int, int]) -> Patch:
    """One polygon (n, 2) in an image of (height, width).

    Raises:
        ValueError: the outline is too long to be one.
    """
    height = size[0]
    vertices = np.trunc(points * _SCALE + 0.5).astype(np.int64)
    ends = np.roll(vertices, -1, axis=0)
    lengths = np.abs(ends - vertices).max(axis=1) + 1
    total = int(lengths.sum())
    if total > _MOST_STEPS:
        raise ValueError(f"an outline of {total // _SCALE} pixels' length")
    columns: list[NDArray[np.int64]] = []
    rows: list[NDArray[np.int64]] = []
    begin, sums = 0, np.cumsum(lengths)
    while begin < len(vertices):
        before = int(sums[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(sums, before + _CHUNK, side="right")), begin + 1)
        x, y = _crossings(vertices[begin:end], ends[begin:end], lengths[begin:end], size)
        columns.append(x)
        rows.append(y)
        begin = end
    x, y = np.concatenate(columns), np.concatenate(rows)
    if not len(x):
        return Patch(0, 0, np.zeros((0, 0), np.bool_))
    left, right = int(x.min()), int(x.max())
    count = (right - left + 1) * height
    toggles = np.bincount((x - left) * height + y, minlength=count + 1)[:count]
    inside = (np.cumsum(toggles) & 1).astype(np.bool_).reshape(-1, height).T
    top, bottom = int(y.min()), min(int(y.max()) + 1, height)
    return Patch(top, left, inside[top:bottom])


def _crossings(
    starts: NDArray[np.int64], ends: NDArray[np.int64], lengths: NDArray[np.int64], size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns, and rows 0..height, where edges cross the middles of columns.

    The points of an edge, and how they are rounded, are those of cocoapi: from the end that comes first along its
    longer side, by numbers cut towards zero.
    """
    height, width = size
    delta = np.abs(ends - starts)
    flat = delta[:, 0] >= delta[:, 1]
    flip = np.where(flat, starts[:, 0] > ends[:, 0], starts[:, 1] > ends[:, 1])
    first = np.where(flip[:, None], ends, starts)
    rise = np.where(flip[:, None], starts, ends) - first
    steps = np.where(flat, delta[:, 0], delta[:, 1])
    across = np.where(flat, rise[:, 1], rise[:, 0])
    slope = across / np.maximum(steps, 1)
    edge = np.repeat(np.arange(len(starts)), lengths)
    place = np.arange(len(edge)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    t = np.where(flip[edge], steps[edge] - place, place)
    straight = t + np.where(flat, first[:, 0], first[:, 1])[edge]
    sloping = np.trunc(np.where(flat, first[:, 1], first[:, 0])[edge] + slope[edge] * t + 0.5).astype(np.int64)
    u, v = np.where(flat[edge], straight, sloping), np.where(flat[edge], sloping, straight)
    low = np.minimum(u[1:], u[:-1])
    middle = (u[1:] != u[:-1]) & (edge[1:] == edge[:-1]) & (low % _SCALE == _SCALE // 2)
    middle &= (low >= 0) & (low // _SCALE < width)
    row = (np.minimum(v[1:], v[:-1])[middle] + 0.5) / _SCALE - 0.5
    return low[middle] // _SCALE, np.ceil(np.clip(row, 0, height)).astype(np.int64)


def pil_polygon(points: Points, size: tuple[int, int]) -> Patch:
    """One polygon (n, 2) in an image of (height, width), its outline included."""
    corners = [(x, y) for x, y in points.tolist()]
    return _pil(points, size, lambda draw: draw.polygon(corners, outline=1, fill=1))


def pil_rectangle(points: Points, size: tuple[int, int]) -> Patch:
    """The rectangle between two corners (2, 2) in any order, its outline included."""
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return _pil(points, size, lambda draw: draw.rectangle((left, top, right, bottom), outline=1, fill=1))


def pil_circle(points: Points, size: tuple[int, int]) -> Patch:
    """The disc about the first point through the second, (2, 2)."""
    (cx, cy), (px, py) = points.tolist()
    radius = hypot(cx - px, cy - py)
    box = (cx - radius, cy - radius, cx + radius, cy + radius)
    return _pil(np.array(box).reshape(2, 2), size, lambda draw: draw.ellipse(box, outline=1, fill=1))


def _pil(points: Points, size: tuple[int, int], paint: Any) -> Patch:
    # drawn from the corner on, since Pillow's rounding depends on where a shape lies
    low, high = np.floor(points.min(axis=0)).astype(int) - 2, np.ceil(points.max(axis=0)).astype(int) + 3
    right, bottom = min(size[1], int(high[0])), min(size[0], int(high[1]))
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    if right <= left or bottom <= top:
        return Patch(0, 0, np.zeros((0, 0), np.bool_))
    canvas = Image.new("L", (right, bottom))
    paint(ImageDraw.Draw(canvas))
    return Patch(top, left, np.asarray(canvas)[top:, left:] != 0)


def cv_polygon(points: Points, size: tuple[int, int]) -> Patch:
    """One polygon (n, 2) in an image of (height, width), its outline included."""
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [points.astype(np.int32)], (1,))
    return cropped(canvas != 0)


def cv_ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float, size: tuple[int, int]) -> Patch:
    """A filled ellipse, turned clockwise. Raises ValueError for numbers that are NaN, too large, or radii below 0."""
    require_near(np.array([centre, radii, (degrees, 0.0)]))
    if min(radii) < 0:
        raise ValueError("an ellipse with a radius below 0")
    canvas = np.zeros(size, np.uint8)
    middle, axes = (round(centre[0]), round(centre[1])), (round(radii[0]), round(radii[1]))
    cv2.ellipse(canvas, middle, axes, degrees, 0, 360, 1, cv2.FILLED)
    return cropped(canvas != 0)


def cropped(inside: NDArray[np.bool_]) -> Patch:
    """A whole image's (H, W) pixels as the patch that they fill."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return Patch(0, 0, np.zeros((0, 0), np.bool_))
    top, left = int(rows[0]), int(columns[0])
    return Patch(top, left, inside[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1])
