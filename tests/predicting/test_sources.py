"""What predict takes as an image; the forms of an image in memory are in tests/datasets/test_arrays.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segattn.contracts import Sample
from segattn.predicting.sources import grouped, is_one, read_source, read_sources

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("form", [str, Path, Path.read_bytes, Image.open, lambda path: RGB])
def test_one_image(form: Any, file: Path) -> None:
    found = read_source(form(file))
    assert np.array_equal(found.pixels, RGB)
    assert found.name == ("photo" if form in (str, Path, Image.open) else "image")
    assert read_source(form(file), "mine").name == "mine"


def test_a_sample(file: Path) -> None:
    found = read_source(Sample(RGB, None, "one", file))
    assert (found.name, found.where) == ("one", str(file))


@pytest.mark.parametrize("several", [[RGB], (RGB,), RGB[None], torch.zeros(2, 3, 4, 5), iter([])])
def test_several(several: Any) -> None:
    assert not is_one(several)


@pytest.mark.parametrize("one", ["a.png", Path("a"), b"", RGB, RGB[0, 0], torch.zeros(3, 4, 5), 7, None, {}])
def test_not_several(one: Any) -> None:
    assert is_one(one)


def test_names_of_several(file: Path) -> None:
    found = list(read_sources([RGB, file, Image.fromarray(RGB)]))
    assert [item.name for item in found] == ["image000000", "photo", "image000002"]
    assert all(np.array_equal(item.pixels, RGB) for item in found)


@pytest.mark.parametrize("odd", [7, None, object()])
def test_other_things_are_refused(odd: Any) -> None:
    message = rf"^image: of type {type(odd).__name__}; expected a path, a PIL\.Image, the bytes of an image file"
    with pytest.raises(ValueError, match=message):
        read_source(odd)
    with pytest.raises(ValueError, match=r"^image000001: "):
        list(read_sources([RGB, odd]))


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_source(tmp_path / "nowhere.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png: not an image"):
        read_source(tmp_path / "text.png")


def test_neighbours_of_one_size_go_together() -> None:
    words = ["aa", "bb", "cc", "d", "ee", "ff"]
    assert list(grouped(words, 2, len)) == [["aa", "bb"], ["cc"], ["d"], ["ee", "ff"]]
    assert list(grouped([], 2, len)) == []
