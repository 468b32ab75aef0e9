"""A folder of images of five bands of 16 bits, as Sentinel-2 scenes are stored: reflectances times 10000."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

BANDS = 5


def _scene(height: int, width: int, seed: int, bands: int = BANDS) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, C) uint16 and its (H, W) uint8 ids: water is dark in the last band, and land is bright there."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    mask[:, int(width * rng.uniform(0.3, 0.7)) :] = 1
    image = rng.integers(600, 1400, (height, width, bands)).astype(np.uint16)
    image[..., -1] = np.where(mask == 1, 4000, 400) + rng.integers(0, 200, (height, width))
    return image, mask


def _write_tif(path: Path, image: np.ndarray, **profile: object) -> Path:
    """A GeoTIFF of (H, W, C) that lies in Germany."""
    rasterio = pytest.importorskip("rasterio")
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, count = image.shape
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 600000, 0, -10, 5400000)}
    with rasterio.open(
        path, "w", "GTiff", width, height, count, dtype=image.dtype, **{"photometric": "MINISBLACK", **place, **profile}
    ) as file:
        file.write(image.transpose(2, 0, 1))
    return path


@pytest.fixture
def scene() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return _scene


@pytest.fixture
def write_tif() -> Callable[..., Path]:
    return _write_tif


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def make(suffix: str = ".tif", images: int = 6, bands: str = "[1, 2, 3, 4, 5]", size: int = 64) -> Path:
        root = tmp_path / "scenes"
        (root / "images").mkdir(parents=True)
        (root / "masks").mkdir()
        for number in range(images):
            image, mask = _scene(size, size + 16, number)
            if suffix == ".npy":
                np.save(root / "images" / f"scene{number}.npy", image)
            else:
                _write_tif(root / "images" / f"scene{number}{suffix}", image)
            cv2.imwrite(str(root / "masks" / f"scene{number}.png"), mask)
        (root / "dataset.yaml").write_text(f"classes: [water, land]\nval: 0.34\nbands: {bands}\n")
        return root

    return make
