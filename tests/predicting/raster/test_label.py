"""`segattn.predict_raster`: what is read, blended, written and begun again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segattn
from segattn.predicting.raster import label
from segattn.predicting.raster.read import RasterReader

rasterio = pytest.importorskip("rasterio")
Scene = Callable[..., Path]


class Local(nn.Module):
    """Two classes by a mean over `side` x `side` pixels: what a window sees is right but for its border."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        mean = nn.functional.avg_pool2d(x.mean(1, keepdim=True), self.side, 1, self.side // 2)
        return torch.cat([mean, torch.full_like(mean, 0.5)], 1)


def wrapped(side: int) -> segattn.Segmenter:
    return segattn.wrap(
        Local(side), classes=["bright", "dark"], normalization=segattn.Normalization((0, 0, 0), (1, 1, 1))
    )


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(3, H, W) uint8 with shapes of some 20 pixels."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, height // 20 + 2, width // 20 + 2)))
    return nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0].numpy().astype(np.uint8)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def test_labels_lie_where_the_raster_lies(scene: Scene, tmp_path: Path) -> None:
    source = scene(smooth(300, 200), nodata=None)
    counts: list[tuple[int, int]] = []
    report = segattn.predict_raster(
        wrapped(1), source, tmp_path / "l.tif", window=96, overlap=24, progress=lambda *n: counts.append(n)
    )
    with rasterio.open(source) as before, rasterio.open(tmp_path / "l.tif") as after:
        assert (after.crs, after.transform, after.shape) == (before.crs, before.transform, before.shape)
        assert (after.count, after.dtypes, after.nodata) == (1, ("uint8",), 255)
        assert after.block_shapes == [(256, 256)]
        assert after.tags()["classes"] == "bright, dark"
        expected = (before.read().mean(0) / 255 <= 0.5).astype(np.uint8)
        assert (after.read(1) == expected).mean() > 0.999  # but for what float rounding decides
        assert after.colormap(1)[1][:3] == wrapped(1).classes.palette[1]
    assert report.windows == 4 * 3
    assert counts == [(n, 12) for n in range(1, 13)]
    assert (report.size, report.place, report.problems, report.resumed) == ((300, 200), "EPSG:32632", (), 0)
    assert report.shares["dark"] == pytest.approx((read(tmp_path / "l.tif") == 1).mean())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.tif", "scene.tif"]


def test_seams_vanish(scene: Scene, tmp_path: Path) -> None:
    """Of a network whose windows err within 8 pixels of their borders, against the whole raster at once."""
    values = smooth(260, 330)
    source, model = scene(values), wrapped(17)
    image = values.transpose(1, 2, 0)
    whole = segattn.predict(model, np.ascontiguousarray(image), size="native").labels
    differing = {}
    for overlap in (0, 40):
        segattn.predict_raster(model, source, tmp_path / "l.tif", window=96, overlap=overlap)
        wrong = read(tmp_path / "l.tif")[9:-9, 9:-9] != whole[9:-9, 9:-9]
        differing[overlap] = wrong.mean()
    assert differing[0] > 0.01
    assert differing[40] < differing[0] / 4


def test_a_translation_invariant_network_gives_the_same_labels_in_windows_of_any_size(
    scene: Scene, tmp_path: Path
) -> None:
    source = scene(smooth(260, 330))
    found = []
    for window, overlap, memory in ((64, 0, 1 << 30), (80, 33, 1 << 30), (4096, 0, 1 << 30), (96, 70, 90_000)):
        report = segattn.predict_raster(
            wrapped(1), source, tmp_path / "l.tif", window=window, overlap=overlap, memory=memory
        )
        found.append(read(tmp_path / "l.tif"))
    assert report.panels == 4
    for other in found[1:]:
        assert (other == found[0]).mean() > 0.9999  # sums in float32 round where two classes tie


def test_panels_give_the_same_labels(scene: Scene, tmp_path: Path, trained: Path) -> None:
    model = segattn.load_model(trained)[1]
    source = scene(smooth(150, 330))
    found = []
    for memory in (1 << 30, 500_000):
        report = segattn.predict_raster(model, source, tmp_path / "l.tif", window=96, overlap=30, memory=memory)
        found.append(read(tmp_path / "l.tif"))
    assert report.panels == 3
    assert np.array_equal(*found)


def test_pixels_without_data_are_left_out(scene: Scene, tmp_path: Path) -> None:
    values = smooth(200, 200)
    values[:, :120] = np.maximum(values[:, :120], 1)
    values[:, 120:] = 0
    report = segattn.predict_raster(wrapped(1), scene(values, nodata=0), tmp_path / "l.tif", window=64, overlap=16)
    labels = read(tmp_path / "l.tif")
    assert (labels[120:] == 255).all()
    assert (labels[:120] < 255).all()
    assert report.unlabelled == pytest.approx(0.4)
    assert report.windows < 16  # those without any data cost nothing


@pytest.mark.parametrize("kind", ["uint16", "int16", "float32"])
def test_values_of_other_types_go_through_a_range(scene: Scene, tmp_path: Path, kind: str) -> None:
    values = smooth(100, 120).astype(np.float64) * 10 + 200
    source = scene(values.astype(kind))
    with pytest.raises(ValueError, match=rf"its values are {kind}, .*give them \(--range LOW,HIGH\).*98% lie within"):
        segattn.predict_raster(wrapped(1), source, tmp_path / "l.tif")
    segattn.predict_raster(wrapped(1), source, tmp_path / "l.tif", value_range=(200, 2750))
    segattn.predict_raster(wrapped(1), scene(smooth(100, 120), "b.tif"), tmp_path / "b_l.tif")
    assert (read(tmp_path / "l.tif") == read(tmp_path / "b_l.tif")).mean() > 0.999


def test_not_a_number_is_no_data(scene: Scene, tmp_path: Path) -> None:
    values = smooth(80, 90).astype(np.float32)
    values[1, 5, 6] = np.nan
    segattn.predict_raster(wrapped(1), scene(values), tmp_path / "l.tif", value_range=(0, 255))
    assert np.argwhere(read(tmp_path / "l.tif") == 255).tolist() == [[5, 6]]


def test_bands_are_those_that_are_named(scene: Scene, tmp_path: Path) -> None:
    rgb = smooth(70, 80)
    source = scene(np.stack([rgb[2], rgb[1], rgb[0], rgb[0] * 0]), photometric="minisblack")
    with pytest.raises(ValueError, match=r"has 4 bands \(gray, .*name them"):
        segattn.predict_raster(wrapped(1), source, tmp_path / "l.tif")
    with RasterReader(source, (3, 2, 1), None) as reader:
        assert np.array_equal(reader.read(0, 0, 70, 80).pixels, rgb.transpose(1, 2, 0))
    with RasterReader(source, (2,), None) as reader:
        assert np.array_equal(reader.read(3, 4, 5, 6).pixels, rgb[1, 3:8, 4:10, None].repeat(3, 2))
    with pytest.raises(ValueError, match="has no band 7; its bands are 1 to 4"):
        RasterReader(source, (1, 2, 7), None)
    with pytest.raises(ValueError, match="bands 1,2: expected 3"):
        RasterReader(source, (1, 2), None)
    with RasterReader(scene(np.concatenate([rgb, rgb[:1]]), "a.tif", photometric="rgb"), None, None) as reader:
        assert reader.bands == (1, 2, 3)  # the fourth is alpha
    coloured = scene(rgb[:1], "c.tif", photometric="palette")
    with rasterio.open(coloured, "r+") as file:
        file.write_colormap(1, {0: (1, 2, 3, 255)})
    with pytest.raises(ValueError, match="indices of a colour table"):
        RasterReader(coloured, None, None)


def test_a_call_that_was_stopped_goes_on(scene: Scene, tmp_path: Path) -> None:
    source, output, model = scene(smooth(400, 330)), tmp_path / "l.tif", wrapped(17)
    options: dict[str, Any] = {"window": 96, "overlap": 30, "memory": 200_000}  # three panels
    segattn.predict_raster(model, source, output, **options)
    expected = read(output)
    output.unlink()

    class StoppedError(Exception):
        pass

    for stop in (1, 8, 20, 31):

        def stopping(done: int, total: int, stop: int = stop) -> None:
            if done == stop:
                raise StoppedError

        with pytest.raises(StoppedError):
            segattn.predict_raster(model, source, output, progress=stopping, **options)
        assert not output.exists()
    report = segattn.predict_raster(model, source, output, **options)
    assert np.array_equal(read(output), expected)
    assert 0 < report.resumed < 400 * 330
    assert report.windows < 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.tif", "scene.tif"]

    with pytest.raises(StoppedError):
        segattn.predict_raster(model, source, output, progress=stopping, **options)
    assert segattn.predict_raster(model, source, output, **{**options, "overlap": 31}).resumed == 0


def test_a_window_that_cannot_be_read_is_named_and_the_rest_is_labelled(scene: Scene, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 512, 256), np.uint8)
    source = scene(noise, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    data = bytearray(source.read_bytes())
    middle = len(data) * 7 // 8
    data[middle : middle + 400] = bytes(400)
    source.write_bytes(bytes(data))
    report = segattn.predict_raster(wrapped(1), source, tmp_path / "l.tif", window=64, overlap=0)
    assert report.problems
    assert all("scene.tif: rows " in problem and "can't be read" in problem for problem in report.problems)
    labels = read(tmp_path / "l.tif")
    assert (labels == 255).mean() == pytest.approx(report.unlabelled)
    assert 0 < report.unlabelled < 0.2


def test_points_and_rasters_without_a_place_go_through(scene: Scene, tmp_path: Path) -> None:
    point = rasterio.control.GroundControlPoint
    points = [point(0, 0, 10, 50), point(0, 80, 11, 50), point(70, 0, 10, 49)]
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        bare = scene(smooth(70, 80), crs=None, transform=None)
    tied = scene(smooth(70, 80), "g.tif", crs="EPSG:4326", transform=None, gcps=points)
    assert segattn.predict_raster(wrapped(1), bare, tmp_path / "l.tif").place is None
    assert segattn.predict_raster(wrapped(1), tied, tmp_path / "g_l.tif").place == "EPSG:4326"
    with rasterio.open(tmp_path / "g_l.tif") as file:
        found, system = file.gcps
        assert [(p.row, p.col, p.x, p.y) for p in found] == [(p.row, p.col, p.x, p.y) for p in points]
        assert system == "EPSG:4326"


def test_what_is_no_raster_is_refused(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("no raster")
    (tmp_path / "outside.vrt").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'/>")
    model, good = wrapped(1), scene(smooth(70, 80))
    for name, problem in (
        ("text.tif", "not readable as a raster"),
        ("outside.vrt", "not readable as a raster"),
        ("none.tif", "no such raster"),
    ):
        with pytest.raises((ValueError, OSError), match=problem):
            segattn.predict_raster(model, tmp_path / name, tmp_path / "l.tif")
    for options, problem in (
        ({"window": 10}, "window 10: expected 64 to 4096"),
        ({"window": 64, "overlap": 60}, "overlap 60: expected 0 to 48"),
        ({"memory": 10}, "too little for one column"),
        ({"value_range": (3, 3)}, "range 3,3: expected two numbers"),
    ):
        with pytest.raises(ValueError, match=problem):
            segattn.predict_raster(model, good, tmp_path / "l.tif", **options)
    with pytest.raises(ValueError, match=r"a name that ends in \.tif"):
        segattn.predict_raster(model, good, tmp_path / "l.png")
    with pytest.raises(ValueError, match="is a source itself"):
        segattn.predict_raster(model, good, good)
    assert label.SIDE == 512
