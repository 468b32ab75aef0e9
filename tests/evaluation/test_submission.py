from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.contracts import Classes, Sample
from segattn.datasets.base import PairedDataset
from segattn.datasets.catalog import DATASETS, open_dataset
from segattn.evaluation.metrics import ConfusionMatrix, Scores
from segattn.evaluation.submission import submission_writer, write_label_png

NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
FILE_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES = Classes(NAMES, tuple((i, i, i) for i in range(19)), FILE_IDS)


def test_files_hold_the_data_sets_own_ids(tmp_path):
    labels = np.arange(19, dtype=np.uint8).reshape(1, 19)
    write_label_png(labels, CITYSCAPES, tmp_path / "a.png")
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint8
    assert read.tolist() == [list(FILE_IDS)]
    write_label_png(labels.astype(np.int64), Classes(NAMES, CITYSCAPES.palette), tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED).tolist() == labels.tolist()
    assert os.listdir(tmp_path) == ["a.png"]


def test_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def fail(source: str, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_label_png(np.zeros((2, 2), np.uint8), CITYSCAPES, path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.png"]


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"from 255 to 255: expected training ids 0\.\.18"):
        write_label_png(np.full((2, 2), 255, np.uint8), CITYSCAPES, tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"float64: expected \(H, W\) integers"):
        write_label_png(np.zeros((2, 2)), CITYSCAPES, tmp_path / "a.png")
    with pytest.raises(ValueError, match="8-bit"):
        write_label_png(np.zeros((2, 2), np.uint8), Classes(("a",), ((0, 0, 0),), (-1,)), tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        write_label_png(np.zeros((2, 2), np.uint8), CITYSCAPES, tmp_path / "none" / "a.png")
    assert not os.listdir(tmp_path)


def test_scores_equal_those_of_cityscapesscripts(tmp_path):
    """The official scorer reads the files that we write; our scores of the same labels are the same."""
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", exc_type=ImportError)
    rng = np.random.default_rng(3)
    known = np.full(256, 255, np.uint8)
    known[list(FILE_IDS)] = range(19)
    write, matrix = submission_writer(tmp_path / "submission", CITYSCAPES), ConfusionMatrix(19)
    predictions, truths = [], []
    for index in range(3):
        ids = rng.integers(0, 34, (20 + index, 30)).astype(np.uint8)  # unlabelled and ignored ids too
        ids[ids == 31] = 7  # no train in the labels ...
        truth = known[ids]
        labels = np.where((truth != 255) & (rng.random(truth.shape) < 0.6), truth, rng.integers(0, 19, truth.shape))
        labels[labels == 16] = 0  # ... nor in the predictions
        labels = labels.astype(np.uint8)
        name = f"city_{index:06d}_000019"
        write(Sample(np.zeros((*labels.shape, 3), np.uint8), truth, f"{name}_leftImg8bit", Path("x")), labels)
        predictions.append(str(tmp_path / "submission" / f"{name}_leftImg8bit.png"))
        truths.append(str(tmp_path / f"{name}_gtFine_labelIds.png"))
        cv2.imwrite(truths[-1], ids)
        matrix.update(labels, truth)
    official.args.evalInstLevelScore = False
    official.args.quiet = True
    official.args.JSONOutput = False
    theirs = official.evaluateImgLists(predictions, truths, official.args)
    scores = Scores(matrix.counts, NAMES)
    assert scores.absent_classes == ("train",)
    assert scores.miou == pytest.approx(100 * theirs["averageScoreClasses"], rel=1e-12)
    for name, score in scores.per_class.items():
        assert score.iou == pytest.approx(100 * theirs["classScores"][name], rel=1e-12, nan_ok=True)


_CONTEXT = (
    "val",
    "JPEGImages/p.jpg",
    "SegmentationClassContext/p.png",
    "ImageSets/SegmentationContext/val.txt",
)
LAYOUTS = {
    "ade20k": ("val", "images/validation/p.jpg", "annotations/validation/p.png", ""),
    "camvid": ("val", "images/val/p.png", "labels/val/p.png", ""),
    "cityscapes": ("val", "leftImg8bit/val/a/p_leftImg8bit.png", "gtFine/val/a/p_gtFine_labelIds.png", ""),
    "coco_stuff10k": ("test", "images/p.jpg", "annotations_png/p.png", "imageLists/test.txt"),
    "folder": ("val", "images/val/p.png", "masks/val/p.png", ""),
    "pascal_context": _CONTEXT,
    "pascal_context60": _CONTEXT,
    "voc2012": ("val", "JPEGImages/p.jpg", "SegmentationClass/p.png", "ImageSets/Segmentation/val.txt"),
}
"""Split, image, mask and list file of each data set."""

OWN_CLASSES = "classes:\n" + "".join(f"  - {{name: {name}, color: [0, 0, 0]}}\n" for name in "abc")
OWN_LABELS = {
    "": [0, 1, 2],
    "labels: {10: a, 20: b, 21: b, 5: c}\n": [10, 20, 5],
    "labels: {0: c, 128: a, 255: b}\n": [128, 255, 0],
    "labels: {0: ignore, 1: a, 256: b, 65535: c}\nignore: []\n": [1, 256, 65535],
}
"""Lines of a dataset.yaml for the classes a, b and c, and the ids that its masks hold for them."""


def one_image(root: Path, name: str) -> PairedDataset:
    """The data set `name` of one image whose columns are one for each class, with a mask that is nothing yet."""
    split, image, mask, listed = LAYOUTS[name]
    for path in (image, mask, *([listed] if listed else [])):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("p\n")
    dataset = open_dataset(name, root, split)
    assert cv2.imwrite(str(root / image), np.zeros((2, len(dataset.classes), 3), np.uint8))
    return dataset


def require_same_classes_back(dataset: PairedDataset) -> np.ndarray:
    """Write a submission in the place of the mask, and read it as one. Returns the ids in it."""
    labels = np.tile(np.arange(len(dataset.classes), dtype=np.uint8), (2, 1))
    (pair,) = dataset.pairs
    write_label_png(labels, dataset.classes, pair.label)
    np.testing.assert_array_equal(dataset[0].mask, labels)
    return cv2.imread(str(pair.label), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("name", sorted(DATASETS.keys() - {"folder"}))
def test_a_submission_reads_back_as_the_same_classes(name: str, tmp_path: Path) -> None:
    assert require_same_classes_back(one_image(tmp_path, name)).dtype == np.uint8


@pytest.mark.parametrize("lines", OWN_LABELS)
def test_a_submission_of_own_data_reads_back_too(lines: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text(OWN_CLASSES + lines)
    written = require_same_classes_back(one_image(tmp_path, "folder"))
    assert written.dtype == (np.uint8 if max(OWN_LABELS[lines]) < 256 else np.uint16)
    assert written.tolist() == [OWN_LABELS[lines]] * 2


def test_cityscapes_server_wants_its_own_ids_whatever_the_masks_hold(tmp_path: Path) -> None:
    one_image(tmp_path, "cityscapes")
    mask = tmp_path / "gtFine/val/a/p_gtFine_labelIds.png"
    mask.rename(mask.with_name("p_gtFine_labelTrainIds.png"))
    dataset = open_dataset("cityscapes", tmp_path, "val")
    assert dataset.training_id(18) == 18
    assert dataset.classes.file_ids == FILE_IDS


def test_a_class_without_an_id_is_refused_before_scoring(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text(OWN_CLASSES + "labels: {0: a, 7: c}\n")
    dataset = one_image(tmp_path, "folder")
    with pytest.raises(ValueError, match=r"class b has the id -1.*in dataset.yaml, give it an id under labels"):
        submission_writer(tmp_path / "out", dataset.classes)
    assert not (tmp_path / "out").exists()
