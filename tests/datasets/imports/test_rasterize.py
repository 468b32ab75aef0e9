"""Outlines become the pixels that the tools' own libraries draw."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from segattn.datasets.imports import rasterize
from segattn.datasets.imports.rasterize import Patch, coco_polygon, points_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own


def whole(patch: Patch, size: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros(size, np.bool_)
    height, width = patch.inside.shape
    pixels[patch.top : patch.top + height, patch.left : patch.left + width] = patch.inside
    return pixels


def random_outlines(count: int) -> list[tuple[tuple[int, int], np.ndarray]]:
    """Sizes and outlines that leave the image, touch its border, lie on whole and half pixels, or repeat points."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(count):
        size = int(rng.integers(1, 80)), int(rng.integers(1, 80))
        points = rng.uniform(-20, 100, (int(rng.integers(3, 12)), 2))
        points = (points, np.round(points), np.round(points * 2) / 2, np.round(points * 10) / 10)[number % 4]
        if number % 7 == 0:
            points[1] = points[0]
        if number % 5 == 0:
            points = np.clip(points, 0, size[::-1])
        cases.append((size, points))
    return cases


def test_polygons_are_cocos_to_the_pixel() -> None:
    drawn = 0
    for size, points in random_outlines(1500):
        truth = coco.decode(coco.frPyObjects([points.ravel().tolist()], *size))[..., 0] != 0
        assert np.array_equal(whole(coco_polygon(points, size), size), truth), (size, points)
        drawn += int(truth.sum())
    assert drawn > 100_000


def test_a_long_outline_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = np.linspace(0, 40 * np.pi, 5000)
    points = np.stack([200 + angles * np.cos(angles), 150 + angles * np.sin(angles)], axis=1)
    truth = coco.decode(coco.frPyObjects([points.ravel().tolist()], 300, 400))[..., 0] != 0
    monkeypatch.setattr(rasterize, "_CHUNK", 100)
    assert np.array_equal(whole(coco_polygon(points, (300, 400)), (300, 400)), truth)


def pil(size: tuple[int, int], kind: str, points: np.ndarray) -> np.ndarray:
    """The documented way of Labelme (labelme/utils/shape.py): draw with outline=1, fill=1."""
    canvas = Image.new("L", size[::-1])
    draw = ImageDraw.Draw(canvas)
    (ax, ay), (bx, by) = points[:2].tolist()
    if kind == "polygon":
        draw.polygon([tuple(point) for point in points.tolist()], outline=1, fill=1)
    elif kind == "rectangle":
        draw.rectangle([min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)], outline=1, fill=1)
    else:
        d = math.sqrt((ax - bx) ** 2 + (ay - by) ** 2)
        draw.ellipse([ax - d, ay - d, ax + d, ay + d], outline=1, fill=1)
    return np.asarray(canvas) != 0


@pytest.mark.parametrize("kind", ["polygon", "rectangle", "circle"])
def test_labelmes_shapes_are_pillows_to_the_pixel(kind: str) -> None:
    draw = getattr(rasterize, f"pil_{kind}")
    for size, points in random_outlines(400):
        own = points if kind == "polygon" else points[:2]
        assert np.array_equal(whole(draw(own, size), size), pil(size, kind, own)), (size, own)


def test_the_three_rules_differ_by_the_boundary_alone() -> None:
    size = 100, 100
    points = np.array([[20.3, 10.7], [80.2, 30.1], [60.9, 85.4], [25.0, 60.0]])
    own = [whole(draw(points, size), size) for draw in (coco_polygon, rasterize.pil_polygon, rasterize.cv_polygon)]
    inner = cv2.erode(own[0].astype(np.uint8), np.ones((5, 5), np.uint8)) != 0
    outer = cv2.dilate(own[0].astype(np.uint8), np.ones((5, 5), np.uint8)) != 0
    for pixels in own[1:]:
        assert not np.array_equal(pixels, own[0])
        assert (pixels >= inner).all()
        assert (pixels <= outer).all()


def test_a_box_turns_clockwise_about_its_pivot() -> None:
    turned = rasterize.rotated_box((10, 10, 30, 20), 90, (10, 10))
    assert np.allclose(turned, [[10, 10], [10, 30], [0, 30], [0, 10]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "a list was expected, got None"),
        ([], "a list was expected"),
        ("1 2 3", "a list was expected"),
        ([[1, 2], [3]], "pairs of x and y"),
        ([1, 2, 3], "3 numbers, and pairs"),
        ([1, 2, 3, 4], "an outline of 2 points, and 3 or more"),
        ([1, 2, 3, 4, 5, None], "numbers were expected"),
        ([1, 2, 3, 4, 5, True], "numbers were expected"),
        ([1, 2, 3, 4, 5, float("nan")], "NaN or infinite"),
        ([1, 2, 3, 4, 5, 1e308], "beyond 131072 pixels"),
        ([1, 2, 3, 4, 5, 10**400], "beyond 131072 pixels"),
        ([[0, 0], [1, [2]], [3, 3]], "numbers were expected"),
    ],
)
def test_what_is_no_outline_is_refused(values: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        points_of(values)


def test_an_endless_outline_is_refused() -> None:
    points = np.tile(np.array([[0.0, 0.0], [100_000.0, 90_000.0]]), (1000, 1))
    with pytest.raises(ValueError, match=r"an outline of 200000.* pixels' length"):
        coco_polygon(points, (50, 50))


def test_a_million_points_are_drawn() -> None:
    angles = np.linspace(0, 2 * np.pi, 1_000_000)
    points = np.stack([500 + 400 * np.cos(angles), 500 + 400 * np.sin(angles)], axis=1)
    area = int(coco_polygon(points, (1000, 1000)).inside.sum())
    assert abs(area - math.pi * 400**2) < 1500
