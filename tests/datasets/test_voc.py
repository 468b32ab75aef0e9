"""PASCAL VOC 2012 in the development kit's layout, and the Semantic Boundaries Dataset as benchmark.tgz unpacks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segattn.contracts import IGNORE
from segattn.datasets.prepare import prepare
from segattn.datasets.voc import CLASSES, VOC2012

TRAIN, VAL = ["2007_000032", "2007_000039"], ["2007_000033"]
SBD_TRAIN, SBD_VAL = ["2008_000002", "2007_000033"], ["2008_000003", "2007_000032"]  # SBD overlaps both VOC splits


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "VOCdevkit/VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for split, names in {"train": TRAIN, "val": VAL, "trainval": TRAIN + VAL}.items():
        (folder / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
    for name in {*TRAIN, *VAL, *SBD_TRAIN, *SBD_VAL}:
        Image.new("RGB", (6, 4), (200, 10, 10)).save(folder / "JPEGImages" / f"{name}.jpg")
    for name in TRAIN + VAL:
        ids = np.zeros((4, 6), np.uint8)
        ids[1:3] = 255
        ids[2, 2:4] = 15
        mask = Image.frombytes("P", (6, 4), ids.tobytes())
        mask.putpalette([value for colour in CLASSES.palette for value in colour])
        mask.save(folder / "SegmentationClass" / f"{name}.png")
    return tmp_path


def add_boundaries(root):
    dataset = root / "benchmark_RELEASE/dataset"
    (dataset / "cls").mkdir(parents=True)
    (dataset / "train.txt").write_text("\n".join(SBD_TRAIN))
    (dataset / "val.txt").write_text("\n".join(SBD_VAL))
    for name in {*SBD_TRAIN, *SBD_VAL}:
        ids = np.full((4, 6), int(name[-1]), np.uint8)
        savemat(
            dataset / "cls" / f"{name}.mat",
            {"GTcls": {"Boundaries": np.zeros((20, 1)), "Segmentation": ids, "CategoriesPresent": [int(name[-1])]}},
            do_compression=True,
        )


def test_the_class_list():
    assert len(CLASSES) == 21
    assert CLASSES.names[15] == "person"
    assert CLASSES.palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert CLASSES.palette[8] == (64, 0, 0)
    assert CLASSES.palette[20] == (0, 64, 128)


def test_reads_palette_masks_of_each_split(root):
    assert [pair.name for pair in VOC2012(root, "train").pairs] == TRAIN
    assert [pair.name for pair in VOC2012(root / "VOCdevkit/VOC2012", "val").pairs] == VAL
    assert len(VOC2012(root, "trainval")) == 3
    mask = VOC2012(root, "train")[0].mask
    assert mask[0, 0] == 0
    assert mask[1, 0] == IGNORE
    assert mask[2, 2] == 15


def test_the_augmented_set(root):
    with pytest.raises(FileNotFoundError, match="segattn data prepare voc2012"):
        VOC2012(root, "train_aug")
    with pytest.raises(FileNotFoundError, match=r"benchmark_RELEASE.dataset: no such folder"):
        prepare("voc2012", root)
    add_boundaries(root)
    report = prepare("voc2012", root)
    assert (report.made, report.failed) == (2, ())

    augmented = VOC2012(root, "train_aug")
    assert [pair.name for pair in augmented.pairs] == [*TRAIN, "2008_000002", "2008_000003"]
    assert (augmented[2].mask == 2).all()
    assert augmented[0].mask[1, 0] == IGNORE, "VOC's own images keep VOC's own masks"
    listed = (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt").read_text().split()
    assert listed == sorted([*TRAIN, "2008_000002", "2008_000003"])


def test_an_unfinished_preparation_is_not_taken_for_the_set(root):
    add_boundaries(root)
    (root / "benchmark_RELEASE/dataset/cls/2008_000003.mat").write_bytes(b"x" * 200)
    report = prepare("voc2012", root)
    assert (report.made, len(report.failed)) == (1, 1)
    with pytest.raises(FileNotFoundError, match=r"trainaug\.txt: no such list"):
        VOC2012(root, "train_aug")


def test_missing_and_doubtful_files(root):
    lists = root / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    with pytest.raises(ValueError, match=r"no split 'trainaug'.*Did you mean train_aug"):
        VOC2012(root, "trainaug")
    (root / "VOCdevkit/VOC2012/JPEGImages" / f"{VAL[0]}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 1 listed files.*2007_000033\.jpg"):
        VOC2012(root, "val")
    (lists / "val.txt").write_text("../../secret\n")
    with pytest.raises(ValueError, match="leads out of the data set"):
        VOC2012(root, "val")
    (lists / "val.txt").write_text("a\nb\na\n")
    with pytest.raises(ValueError, match="a is listed twice"):
        VOC2012(root, "val")
    (lists / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"val\.txt: no such list.*train\.txt"):
        VOC2012(root, "val")
