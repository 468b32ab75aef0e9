"""Orientation in every kind of file that can state one: pixels as they are stored or upright, and no turned masks."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image

from segattn.datasets.images import read_ids, read_image, read_photo


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_files", Path(__file__).parents[1] / "oracles/image_files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


written = _load()
Y, X = np.mgrid[:24, :40]
STORED = np.stack((Y * 9, X * 6, 255 - Y * 5 - X * 3), -1).astype(np.uint8)
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}
"""By the meaning of EXIF's values: where the first row and the first column of the stored pixels are seen."""


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = turn
    return exif


def _by_pillow(kind: str, turn: int, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(STORED).save(out, kind, exif=_exif(turn), **options)
    return out.getvalue()


FILES: dict[str, tuple[Callable[[int], bytes], float]] = {
    "PNG": (lambda turn: written.png(STORED, 8, 2, before=((b"eXIf", written.exif(turn)),)), 0),
    "PNG, 16 bits": (
        lambda turn: written.png(STORED * np.uint16(257), 16, 2, before=((b"eXIf", written.exif(turn)),)), 0
    ),
    "PNG, interlaced": (
        lambda turn: written.png(STORED, 8, 2, interlaced=True, before=((b"eXIf", written.exif(turn)),)), 0
    ),
    "TIFF": (lambda turn: written.tiff(STORED, 8, 2, orientation=turn), 0),
    "TIFF, highest byte first": (lambda turn: written.tiff(STORED, 8, 2, order=">", orientation=turn), 0),
    "TIFF, big": (lambda turn: written.tiff(STORED, 8, 2, big=True, orientation=turn), 0),
    "TIFF, 16 bits": (lambda turn: written.tiff(STORED * np.uint16(257), 16, 2, orientation=turn), 0),
    "TIFF, compressed": (lambda turn: written.tiff(STORED, 8, 2, compression=8, orientation=turn), 0),
    "JPEG": (lambda turn: _by_pillow("JPEG", turn, quality=97, subsampling=0), 4),
    "WebP": (lambda turn: _by_pillow("WEBP", turn, lossless=True), 0),
    "AVIF": (lambda turn: _by_pillow("AVIF", turn, quality=97), 4),
}  # fmt: skip
"""With the mean difference that the kind's compression may make."""


@pytest.mark.parametrize("turn", UPRIGHT)
@pytest.mark.parametrize("kind", FILES)
def test_pixels_as_stored_or_upright(tmp_path: Path, kind: str, turn: int) -> None:
    write, tolerance = FILES[kind]
    path = tmp_path / "a.bin"
    path.write_bytes(write(turn))
    photo = read_photo(path)
    assert photo.orientation == turn
    assert np.abs(photo.pixels.astype(int) - STORED).mean() <= tolerance
    seen = read_image(path, upright=True)
    expected = UPRIGHT[turn](STORED)
    assert seen.shape == expected.shape
    assert np.abs(seen.astype(int) - expected).mean() <= tolerance


@pytest.mark.parametrize("turn", UPRIGHT)
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_turned_masks_are_refused(tmp_path: Path, kind: str, turn: int) -> None:
    ids = STORED[..., 0]
    exif = ((b"eXIf", written.exif(turn)),)
    path = tmp_path / f"mask.{kind}"
    path.write_bytes(written.png(ids, before=exif) if kind == "png" else written.tiff(ids, orientation=turn))
    if turn == 1:
        np.testing.assert_array_equal(read_ids(path), ids)
    else:
        with pytest.raises(ValueError, match=rf"mask\.{kind}: .*orientation {turn}.*upright"):
            read_ids(path)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_means_nothing_is_none(tmp_path: Path, value: int) -> None:
    for name, data in (
        ("a.png", written.png(STORED[..., 0], before=((b"eXIf", written.exif(value)),))),
        ("a.tif", written.tiff(STORED[..., 0], orientation=value)),
    ):
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(read_ids(tmp_path / name), STORED[..., 0])
        assert read_photo(tmp_path / name, upright=True).orientation == 1


def test_the_turns_are_those_of_opencv_too(tmp_path: Path) -> None:
    """Which follows a JPEG's orientation by default."""
    for turn, expected in UPRIGHT.items():
        (tmp_path / "a.jpg").write_bytes(_by_pillow("JPEG", turn, quality=97, subsampling=0))
        seen = cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1]
        assert np.abs(seen.astype(int) - expected(STORED)).mean() <= 4
