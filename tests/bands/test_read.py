"""Images of any number of bands as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from segattn.contracts import IGNORE
from segattn.datasets.bands import bands_size, read_bands
from segattn.datasets.check import check
from segattn.datasets.exports.run import export_data
from segattn.datasets.facts import band_facts, facts
from segattn.datasets.folder import FolderDataset
from segattn.datasets.show import sheet
from segattn.datasets.stats import stats

Make = Callable[..., Path]


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_a_folder_gives_what_is_stored(folder: Make, scene: Any, suffix: str) -> None:
    root = folder(suffix, bands="[5, 1]")
    dataset = FolderDataset(root, "train")
    for index in range(len(dataset)):
        sample = dataset[index]
        expected, mask = scene(64, 80, int(sample.name.removeprefix("scene")))
        assert sample.image.dtype == np.uint16
        assert np.array_equal(sample.image, expected[..., [4, 0]])
        assert sample.mask is not None
        assert np.array_equal(sample.mask, mask)
        assert dataset.image_size(index) == (64, 80)


def test_statistics_are_those_of_the_pixels(folder: Make) -> None:
    dataset = FolderDataset(folder(), "train")
    found = band_facts(dataset)
    values = np.concatenate([dataset[index].image.reshape(-1, 5) for index in range(len(dataset))]).astype(np.float64)
    assert found is not None
    np.testing.assert_allclose(found.mean, values.mean(0))
    np.testing.assert_allclose(found.std, values.std(0))
    np.testing.assert_allclose(found.normalization().mean, values.mean(0) / 65535, rtol=1e-5)
    np.testing.assert_allclose(found.normalization((0, 10000)).std, values.std(0) / 10000, rtol=1e-5)
    assert facts(dataset).bands == found
    text = stats(dataset).text()
    assert "in_channels: 5" in text
    assert "value_range: [0.0, 65535.0]" in text


def test_a_constant_band_keeps_a_deviation(folder: Make) -> None:
    root = folder(".npy", bands="[1, 2]")
    for path in (root / "images").iterdir():
        image = np.load(path)
        image[..., 1] = 7
        np.save(path, image)
    found = band_facts(FolderDataset(root, "train"))
    assert found is not None
    assert found.normalization().std[1] == 1.0


def test_pixels_without_data_are_not_learnt_from(tmp_path: Path, folder: Make, scene: Any, write_tif: Any) -> None:
    root = folder(images=3)
    dataset = FolderDataset(root, "train")
    image, _ = scene(64, 80, 0)
    image[:8] = 0
    write_tif(dataset.pairs[0].image, image, nodata=0)
    sample = dataset[0]
    assert sample.mask is not None
    assert (sample.mask[:8] == IGNORE).all()
    assert (sample.mask[8:] != IGNORE).all()
    floats = image.astype(np.float64)
    floats[3, 3, 2] = np.nan
    np.save(tmp_path / "floats.npy", floats)
    read = read_bands(tmp_path / "floats.npy")
    assert (read.pixels.dtype, read.kind, read.valid.sum()) == (np.float32, "float64", read.valid.size - 1)
    assert np.isfinite(read.pixels).all()


def test_check_and_show_take_them(folder: Make) -> None:
    dataset = FolderDataset(folder(), "train")
    report = check(dataset)
    assert not report.problems
    assert report.sizes == ((80, 64, len(dataset)),)
    assert sheet(dataset, count=2).dtype == np.uint8


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ("5", r"dataset\.yaml: bands: 5; a list of numbers"),
        ("[]", r"bands: \[\]; a list of numbers"),
        ("[1, 0]", r"bands: 0; the number of a band was expected, from 1 on"),
        ("[red]", r"bands: 'red'; the number of a band"),
    ],
)
def test_a_wrong_line_is_named(folder: Make, bands: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FolderDataset(folder(".npy", bands=bands), "train")


def test_what_can_not_be_read_is_named(tmp_path: Path, folder: Make) -> None:
    dataset = FolderDataset(folder(".npy", bands="[1, 7]"), "train")
    with pytest.raises(ValueError, match=r"scene\d\.npy: has no band 7; its bands are 1 to 5"):
        dataset[0]
    cases = {
        "text.npy": (b"no array", r"not a NumPy array"),
        "image.tif": (b"II*\0nothing", r"image\.tif: not readable as a raster"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_bands(tmp_path / name)
    for name, array, message in (
        ("flat.npy", np.zeros(5), r"of shape \(5,\); an array \(height, width, bands\)"),
        ("first.npy", np.zeros((3, 4, 64)), r"bands come last, so transpose it"),
        ("complex.npy", np.zeros((8, 8, 2), complex), r"its values are complex128"),
    ):
        np.save(tmp_path / name, array)
        with pytest.raises(ValueError, match=message):
            read_bands(tmp_path / name)
    np.save(tmp_path / "objects.npy", np.array([[[{}]]]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"not a NumPy array of numbers"):
        read_bands(tmp_path / "objects.npy")
    with pytest.raises(FileNotFoundError):
        bands_size(tmp_path / "missing.npy")


def test_labelling_tools_get_no_bands(tmp_path: Path, folder: Make) -> None:
    with pytest.raises(ValueError, match=r"scenes: dataset\.yaml names bands, and labelling tools show RGB"):
        export_data("coco", folder(".npy"), tmp_path / "out")


def test_masks_of_another_size_are_named(folder: Make) -> None:
    root = folder()
    cv2.imwrite(str(root / "masks" / "scene0.png"), np.zeros((5, 5), np.uint8))
    samples = [FolderDataset(root, split) for split in ("train", "val")]
    (dataset,) = (each for each in samples if "scene0" in {pair.name for pair in each.pairs})
    with pytest.raises(ValueError, match=r"the mask is 5x5 but .*scene0\.tif is 80x64"):
        dataset[0]
