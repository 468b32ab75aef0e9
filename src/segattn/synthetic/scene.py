"""A drawing board for street scenes: things in the world, seen by a pinhole camera, as image and label ids at once.

World coordinates are metres: x to the right of the road's middle, y up from the road, z ahead of the camera. All is
drawn at twice the size, far things first; the image is then averaged down and the ids are sampled, so that the
image has soft edges and the ids none.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from segattn.transforms.pixels import Image

Color = tuple[float, float, float]
SUPERSAMPLING = 2
NEAR = 1.5
_FRACTION_BITS = 3


class Scene:
    """Image and ids while they are drawn.

    Args:
        size: (height, width) of the finished image.
        horizon: height of the horizon as a share of the image's height, from the top.
        vanishing: where the road vanishes as a share of the width.
        haze: the colour that far things fade into; half of it at `visibility` metres.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        horizon: float,
        vanishing: float,
        camera_height: float,
        haze: Color,
        visibility: float,
    ) -> None:
        self.height, self.width = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
        self.image = np.zeros((self.height, self.width, 3), np.uint8)
        self.ids = np.zeros((self.height, self.width), np.uint8)
        self.focal = 0.8 * self.width
        self.horizon = horizon * self.height
        self.vanishing = vanishing * self.width
        self._camera_height = camera_height
        self._haze = haze
        self._visibility = visibility

    def project(self, points: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) metres -> (..., 2) pixels of the board. What lies behind `NEAR` is moved to it."""
        xyz = np.asarray(points, np.float64)
        scale = self.focal / np.maximum(xyz[..., 2], NEAR)
        return np.stack(
            (self.vanishing + scale * xyz[..., 0], self.horizon + scale * (self._camera_height - xyz[..., 1])), -1
        )

    def hazy(self, color: Color, z: float) -> Color:
        """The colour of something at distance z."""
        left = 0.5 ** (max(z, 0.0) / self._visibility)
        red, green, blue = (
            min(max(own * left + haze * (1 - left), 0.0), 255.0) for own, haze in zip(color, self._haze, strict=True)
        )
        return red, green, blue

    def fill(self, polygons: NDArray[np.float64], color: Color, label: int | None) -> None:
        """(N, 4, 2) or (4, 2) pixels of the board, filled. `label` None: a mark on something that is there already."""
        fixed = np.round(np.clip(polygons, -1e5, 1e5) * (1 << _FRACTION_BITS)).astype(np.int32)
        polygons_list = list(fixed) if fixed.ndim == 3 else [fixed]
        for polygon in polygons_list:  # one call for all would leave holes where polygons overlap
            cv2.fillConvexPoly(self.image, polygon, color, cv2.LINE_8, _FRACTION_BITS)
            if label is not None:
                cv2.fillConvexPoly(self.ids, polygon, (label,), cv2.LINE_8, _FRACTION_BITS)

    def quads(self, points: ArrayLike, color: Color, label: int | None) -> None:
        """(..., 4, 3) metres: flat quadrilaterals, faded by their mean distance."""
        xyz = np.asarray(points, np.float64)
        self.fill(self.project(xyz), self.hazy(color, float(xyz[..., 2].mean())), label)

    def upright(
        self, outline: Sequence[tuple[float, float]], x: float, z: float, color: Color, label: int | None
    ) -> None:
        """A convex outline of (x, y) metres that faces the camera at (x, z)."""
        self.quads([(x + dx, y, z) for dx, y in outline], color, label)

    def ellipse(
        self,
        x: float,
        y: float,
        z: float,
        radii: tuple[float, float],
        color: Color,
        label: int | None,
        *,
        line: float = 0,
    ) -> None:
        """An ellipse that faces the camera; `line` metres wide as a ring, filled when 0."""
        scale = self.focal / max(z, NEAR)
        across, down = self.vanishing + scale * x, self.horizon + scale * (self._camera_height - y)
        at = (round(across * 8), round(down * 8))
        axes = (max(round(radii[0] * scale * 8), 4), max(round(radii[1] * scale * 8), 4))
        thickness = max(round(line * scale), 1) if line else cv2.FILLED
        if max(map(abs, (*at, *axes))) > 1 << 17:  # far outside: beyond what the fixed-point drawing can hold
            return
        cv2.ellipse(self.image, at, axes, 0, 0, 360, self.hazy(color, z), thickness, cv2.LINE_8, 3)
        if label is not None:
            cv2.ellipse(self.ids, at, axes, 0, 0, 360, (label,), thickness, cv2.LINE_8, 3)

    def line(self, start: ArrayLike, end: ArrayLike, width: float, color: Color, label: int | None) -> None:
        """A bar of `width` metres between two points, facing the camera."""
        a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
        ends = self.project(np.stack((a, b)))
        z = float((a[2] + b[2]) / 2)
        along = ends[1] - ends[0]
        half = max(width * self.focal / max(z, NEAR), 1.0) / 2
        across = np.array((-along[1], along[0])) / max(float(np.hypot(*along)), 1e-6) * half
        self.fill(
            np.stack((ends[0] - across, ends[1] - across, ends[1] + across, ends[0] + across)),
            self.hazy(color, z),
            label,
        )

    def darken(self, x: float, z: float, radii: tuple[float, float]) -> None:
        """A soft shadow on the ground, `radii` along x and z."""
        corners = self.project([(x - radii[0], 0, z - radii[1]), (x + radii[0], 0, z + radii[1])])
        center = self.project((x, 0, z))
        left = int(center[0] - radii[0] * self.focal / max(z, NEAR))
        right = int(center[0] + radii[0] * self.focal / max(z, NEAR))
        top, bottom = int(corners[1, 1]), int(corners[0, 1])
        left, right = max(left, 0), min(right, self.width)
        top, bottom = max(top, 0), min(bottom, self.height)
        if right - left < 2 or bottom - top < 2:
            return
        across = np.linspace(-1, 1, right - left)[None, :] ** 4
        along = np.linspace(-1, 1, bottom - top)[:, None] ** 2
        shade = 1 - 0.65 * np.clip(1 - across - along, 0, 1)
        window = self.image[top:bottom, left:right]
        window[:] = (window * shade[..., None]).astype(np.uint8)

    def finish(self) -> tuple[Image, Image]:
        """(height, width, 3) uint8 RGB and (height, width) uint8 ids."""
        size = (self.width // SUPERSAMPLING, self.height // SUPERSAMPLING)
        image = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
        ids = np.ascontiguousarray(self.ids[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING])
        return np.asarray(image, np.uint8), ids
