"""ADE20K in the layout of the SceneParsing release."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from segattn.contracts import IGNORE
from segattn.datasets.ade20k import ADE20K, CLASSES


@pytest.fixture
def root(tmp_path):
    base = tmp_path / "ADEChallengeData2016"
    names_of = {"training": ["ADE_train_00000002", "ADE_train_00000001"], "validation": ["ADE_val_00000001"]}
    for split, names in names_of.items():
        (base / "images" / split).mkdir(parents=True)
        (base / "annotations" / split).mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(base / "images" / split / f"{name}.jpg"), np.full((3, 4, 3), 77, np.uint8))
            mask = np.array([[0, 1, 2, 150], [5, 5, 5, 5], [0, 0, 0, 0]], np.uint8)
            cv2.imwrite(str(base / "annotations" / split / f"{name}.png"), mask)
    return tmp_path


def test_the_class_list():
    assert len(CLASSES) == 150
    assert (CLASSES.names[0], CLASSES.names[7], CLASSES.names[149]) == ("wall", "bed", "flag")
    assert (CLASSES.palette[0], CLASSES.palette[149]) == ((120, 120, 120), (92, 0, 255))
    assert len(set(CLASSES.palette)) == 149  # two classes share a colour
    assert CLASSES.file_ids == tuple(range(1, 151))


def test_drops_label_zero(root):
    train = ADE20K(root, "train")
    assert [pair.name for pair in train.pairs] == ["ADE_train_00000001", "ADE_train_00000002"]
    np.testing.assert_array_equal(train[0].mask, [[IGNORE, 0, 1, 149], [4, 4, 4, 4], [IGNORE, IGNORE, IGNORE, IGNORE]])
    assert len(ADE20K(root / "ADEChallengeData2016", "val")) == 1


def test_what_can_be_wrong(root):
    base = root / "ADEChallengeData2016"
    with pytest.raises(ValueError, match="no split 'validation'"):
        ADE20K(root, "validation")
    mask = base / "annotations/validation/ADE_val_00000001.png"
    cv2.imwrite(str(mask), np.full((3, 4), 151, np.uint8))
    with pytest.raises(ValueError, match=r"label 151 \(12 pixels\)"):
        ADE20K(root, "val")[0]
    mask.unlink()
    with pytest.raises(FileNotFoundError, match=r"no label file for ADE_val_00000001\.jpg"):
        ADE20K(root, "val")
    with pytest.raises(FileNotFoundError, match=r"needs images.training and annotations.training"):
        ADE20K(base / "images", "train")
