"""segattn predict --raster: what is written and printed, and one line for each thing that is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
Command = Callable[..., str]
PLACE = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5200000)}


def write(path: Path, values: np.ndarray, **profile: object) -> Path:
    count, height, width = values.shape
    size = {"height": height, "width": width, "count": count, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", **size, **{**PLACE, **profile}) as file:
        file.write(values)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write(tmp_path / "scene.tif", np.random.default_rng(0).integers(0, 256, (3, 150, 200), np.uint8))


@pytest.fixture
def words(trained: Path, tmp_path: Path) -> tuple[object, ...]:
    return ("--raster", "--model", trained, "--output", tmp_path / "out", "--window", "96", "--overlap", "32")


def test_labels_at_the_same_place(run: Command, scene: Path, words: tuple[object, ...], tmp_path: Path) -> None:
    about, first, second, third = run("predict", scene, *words).splitlines()
    assert about.startswith("attanet_light_camvid: made for")
    assert re.fullmatch(rf"{scene}: ([a-z ]+ <?[\d.]+%(, )?)+", first)
    assert second == f"  {tmp_path}/out/scene_labels.tif"
    assert re.fullmatch(
        r"  200x150 \(0\.0 megapixels\), 6 windows in [\d.]+ s; "
        r"share of the work: read <?[\d.]+%, network <?[\d.]+%, write <?[\d.]+%",
        third,
    )
    with rasterio.open(tmp_path / "out/scene_labels.tif") as file:
        assert (file.crs, file.transform) == (PLACE["crs"], PLACE["transform"])
        assert file.read(1).max() < 11


def test_panels_and_what_is_missing_are_said(
    run: Command, words: tuple[object, ...], trained: Path, tmp_path: Path
) -> None:
    values = np.full((1, 150, 200), 700, np.uint16)
    values[:, :75] = 0
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        bare = write(tmp_path / "bare.tif", values, crs=None, transform=None, nodata=0)
    said = run("predict", bare, *words, "--range", "0,1000", "--max-memory", "400k")
    assert "\n  in 3 panels from left to right, as --max-memory holds no wider strip of scores\n" in said
    assert "\n  50.0% have no data, and are 255 in the labels\n" in said
    assert said.endswith("\n  the raster has no coordinate reference system, and so its labels have none\n")
    row = json.loads(run("predict", bare, *words, "--range=0,1000", "--bands", "1", "--json"))["rasters"][0]
    assert (row["size"], row["crs"], row["panels"], row["unlabelled"]) == ([150, 200], None, 1, 0.5)
    assert row["files"] == {"labels": f"{tmp_path}/out/bare_labels.tif"}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--bands", "1,2,9"], "has no band 9; its bands are 1 to 3"),
        (["--confidence"], "--confidence: is for images and not for rasters; leave it out"),
        (["--protocol", "whole"], "--protocol: is for images and not for rasters; leave it out"),
        (["--size", "300"], "--size 300: a raster is read at its own resolution; leave it out"),
        (["--window", "3"], "window 3: expected 64 to 4096 pixels"),
    ],
)
def test_what_does_not_fit_is_one_line(
    fail: Command, scene: Path, words: tuple[object, ...], more: list[str], problem: str
) -> None:
    assert problem in fail("predict", scene, *words, *more)


def test_options_of_rasters_need_the_word(fail: Command, scene: Path) -> None:
    assert fail("predict", scene, "--bands", "1") == "--bands: is for rasters; give --raster too, or leave it out"


def test_a_damaged_raster_is_labelled_and_ends_with_2(fail: Command, words: tuple[object, ...], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 256, 256), np.uint8)
    path = write(tmp_path / "cut.tif", noise, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    data = bytearray(path.read_bytes())
    data[-300:] = bytes(300)
    path.write_bytes(bytes(data))
    assert re.search(
        r"cut\.tif: rows \d+ to \d+, columns \d+ to \d+: can't be read",
        fail("predict", path, *words, "--window", "64", "--overlap", "0"),
    )
    assert (tmp_path / "out/cut_labels.tif").is_file()


def test_a_geotiff_that_is_read_as_an_image_is_told_of(
    run: Command, scene: Path, trained: Path, tmp_path: Path
) -> None:
    said = run("predict", scene, "--model", trained, "--size", "native", "--output", tmp_path / "out")
    assert f"note: {scene} says where on Earth it lies, which is lost in a PNG; --raster" in said


def test_without_rasterio_the_extra_is_named(scene: Path) -> None:
    code = (
        "import sys; sys.modules['rasterio'] = None\n"
        "from segattn.cli.main import main\n"
        f"sys.exit(main(['predict', {str(scene)!r}, '--raster']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "segattn: error: rasters need rasterio, which is not installed: pip install 'segattn[raster]'\n",
    )
