"""The sheet of samples: what is where on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.contracts import IGNORE, Classes, Sample
from segattn.datasets.show import sheet, write_sheet

GREY = 120


class Toy:
    """Nine grey images, red (class 1) in their left half, ignored in the right."""

    classes = Classes(names=("black", "red", "never"), palette=((0, 0, 0), (250, 0, 0), (0, 250, 0)))

    def __init__(self, size=(200, 400), labelled=True, count=9):
        self.size, self.labelled, self.count, self.read = size, labelled, count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        mask = np.full(self.size, IGNORE, np.uint8)
        mask[:, : self.size[1] // 2] = 1
        image = np.full((*self.size, 3), GREY, np.uint8)
        return Sample(image, mask if self.labelled else None, f"image {index}", Path("x.png"))


def test_samples_are_spread_over_the_data_set():
    data = Toy()
    sheet(data, count=3)
    assert data.read == [0, 4, 8]
    data = Toy(count=2)
    sheet(data, count=8)
    assert data.read == [0, 1]


def test_image_overlay_and_legend():
    drawn = sheet(Toy(), count=1)
    assert drawn.dtype == np.uint8
    assert drawn.shape[0] == 24 + 200 + 10
    assert drawn.shape[1] > 830, "the legend is at the right"
    row = drawn[24 + 100]
    assert (row[10:410] == GREY).all()
    assert (row[421:600, 0] > GREY).all()
    assert (row[421:600, 1] < GREY).all()
    assert (row[640:819] == GREY).all(), "ignored pixels keep the image"
    assert (row[:9] == 255).all()
    patches = drawn[:, 830:].reshape(-1, 3)
    assert (patches == (250, 0, 0)).all(axis=1).any()
    assert not (patches == (0, 250, 0)).all(axis=1).any(), "classes that do not occur are not in the legend"


def test_images_of_other_shapes_and_without_labels():
    tall = sheet(Toy(size=(900, 300)), count=3)
    assert tall.shape[0] == 2 * (24 + 400 + 10)
    unlabelled = sheet(Toy(labelled=False), count=2)
    assert unlabelled.shape == (234, 2 * 830, 3)
    assert (unlabelled[24:224, 421:820] == 255).all()


def test_files(tmp_path):
    write_sheet(Toy(), tmp_path / "new/sheet.png", count=4)
    assert cv2.imread(str(tmp_path / "new/sheet.png")).shape[0] == 2 * 234
    with pytest.raises(ValueError, match=r"\.png or \.jpg"):
        write_sheet(Toy(), tmp_path / "sheet.pdf")
    with pytest.raises(ValueError, match="at least"):
        sheet(Toy(count=0))
