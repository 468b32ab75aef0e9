"""Rasters to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")

Scene = Callable[..., Path]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Writes a GeoTIFF: `scene(values)`, where values are (bands, H, W); keywords are rasterio's."""

    def write(values: np.ndarray, name: str = "scene.tif", **profile: Any) -> Path:
        path = tmp_path / name
        count, height, width = values.shape
        placed = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5200000), **profile}
        placed = {key: value for key, value in placed.items() if value is not None}
        with rasterio.open(
            path, "w", driver="GTiff", height=height, width=width, count=count, dtype=values.dtype, **placed
        ) as file:
            file.write(values)
        return path

    return write
