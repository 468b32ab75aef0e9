from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.contracts import Classes, Sample
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
