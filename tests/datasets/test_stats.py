"""Class frequencies and weights against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.contracts import IGNORE, Classes, Sample
from segattn.datasets.camvid import CamVid
from segattn.datasets.stats import stats
from segattn.losses.terms import CrossEntropy
from segattn.transforms.compose import ClassBalancedCrop


class Toy:
    classes = Classes(names=("a", "b", "c"), palette=((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    masks = ([[0, 0, 0, 1], [0, 0, 0, IGNORE]], [[0, 0], [0, 0]], None)

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, index):
        mask = self.masks[index]
        return Sample(np.zeros((2, 2, 3), np.uint8), None if mask is None else np.array(mask, np.uint8), "x", Path("x"))


def test_by_hand():
    result = stats(Toy())
    assert (result.samples, result.labelled, result.ignored) == (2, 11, 1)
    a, b, c = result.classes
    assert (a.pixels, a.images, b.pixels, b.images, c.pixels, c.images) == (10, 2, 1, 1, 0, 0)
    assert a.share == pytest.approx(10 / 11)
    # frequencies 10/11 and 1/7 (of the pixels of the one image with b); the median is their mean
    median = (10 / 11 + 1 / 7) / 2
    assert a.median_frequency == pytest.approx(median / (10 / 11))
    assert b.median_frequency == pytest.approx(median * 7)
    assert b.enet == pytest.approx(1 / math.log(1.02 + 1 / 11))
    assert (a.crop, b.crop) == pytest.approx((2 / (1 + 10**0.5), 2 * 10**0.5 / (1 + 10**0.5)))  # 1 to sqrt(10), mean 1
    assert c.median_frequency is None
    assert c.enet is None
    assert c.crop is None


def test_text_and_json():
    result = stats(Toy())
    text = str(result)
    assert "2 labelled samples, 8.33% of the pixels ignored" in text
    assert text.splitlines()[3].split() == ["1", "b", "9.09%", "1", "3.6818", "9.508"]
    assert text.splitlines()[4].split() == ["2", "c", "0.00%", "0", "never", "occurs"]
    loss, enet, crop = (json.loads(line.partition(":")[2]) for line in text.splitlines() if "  class_weights:" in line)
    assert loss == [0.5786, 3.682, 1]  # the class that never occurs has some weight, but is not looked for
    assert enet == [1.522, 9.508, 1]
    assert crop == [0.4805, 1.519, 0]
    assert CrossEntropy(class_weights=tuple(loss)).class_weights == (0.5786, 3.682, 1)
    assert ClassBalancedCrop(height=1, width=1, class_weights=tuple(crop)).class_weights == (0.4805, 1.519, 0)
    content = json.loads(result.to_json())
    assert content["classes"][0]["pixels"] == 10
    assert content["classes"][2]["enet"] is None


def test_reads_masks_only(tmp_path):
    for folder in ("images/val", "labels/val"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "images/val/a.jpg").write_bytes(b"not decoded")
    cv2.imwrite(str(tmp_path / "labels/val/a.png"), np.array([[3, 3, 8, 255]], np.uint8))
    result = stats(CamVid(tmp_path, "val"))
    assert [row.pixels for row in result.classes if row.pixels] == [2, 1]
    assert result.ignored == 1


def test_without_labels():
    toy = Toy()
    toy.masks = (None,)
    with pytest.raises(ValueError, match="none of 1 sample has labels"):
        stats(toy)
