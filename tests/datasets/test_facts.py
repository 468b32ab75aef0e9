from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from segattn.datasets.facts import facts
from segattn.datasets.folder import FolderDataset

OWN: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "data" / "own_data.py"))
own_data, put = OWN["own_data"], OWN["put"]


def test_sizes_and_shares(tmp_path: Path) -> None:
    root = own_data(tmp_path, "classes: [a, b, c]\nignore: [255]\n", [0, 1], [1], [0, 255])
    found = facts(FolderDataset(root, "train"))
    assert found.size == (48, 48)
    assert found.masks == 3
    assert found.shares == (0.5 - 0.1, 0.6, 0.0)


def test_turned_images_count_as_they_are_read(tmp_path: Path) -> None:
    root = own_data(tmp_path, "classes: [a, b]\n", [0, 1])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 20)).save(root / "images/train/p0.jpg", exif=exif)
    assert facts(FolderDataset(root, "train")).size == (60, 20)
    (root / "dataset.yaml").write_text("classes: [a, b]\nupright: false\n")
    assert facts(FolderDataset(root, "train")).size == (20, 60)


def test_an_id_without_a_class_is_named(tmp_path: Path) -> None:
    root = own_data(tmp_path, "classes: [a, b]\n", [0, 1, 7])
    with pytest.raises(ValueError, match=r"p0.png: label 7 \(768 pixels\) is not in the label map"):
        facts(FolderDataset(root, "train"))
