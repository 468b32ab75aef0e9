from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segattn.evaluation.metrics import ConfusionMatrix, ImageScore, Scores, image_score

CLASSES = 4
shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
pairs = shapes.flatmap(
    lambda shape: st.tuples(
        arrays(np.uint8, shape, elements=st.integers(0, CLASSES - 1)),
        arrays(np.uint8, shape, elements=st.sampled_from([*range(CLASSES), 255])),
    )
)


def counted(*images: tuple[np.ndarray, np.ndarray], classes: int = CLASSES) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes)
    for predicted, truth in images:
        matrix.update(predicted, truth)
    return matrix


def scores_of(matrix: ConfusionMatrix, **settings) -> Scores:
    return Scores(matrix.counts, tuple(f"c{i}" for i in range(len(matrix.counts))), **settings)


@given(pairs)
def test_counts_equal_a_loop(pair):
    predicted, truth = pair
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    for p, t in zip(predicted.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if t != 255:
            expected[t, p] += 1
    matrix = counted(pair)
    assert matrix.counts.dtype == np.int64
    np.testing.assert_array_equal(matrix.counts, expected)


@given(st.lists(pairs, min_size=1, max_size=4), st.lists(pairs, max_size=4))
def test_matrices_merge_exactly(one, other):
    merged = counted(*one) + counted(*other)
    np.testing.assert_array_equal(merged.counts, counted(*one, *other).counts)


@given(st.lists(pairs, min_size=1, max_size=3))
@settings(max_examples=50)
def test_scores_equal_sets_of_pixels(images):
    """IoU as intersection and union of sets of pixels, over the whole data set."""
    ious, accs = [], []
    for c in range(CLASSES):
        truth = {(n, *at) for n, (_, t) in enumerate(images) for at in np.argwhere(t == c).tolist()}
        found = {(n, *at) for n, (p, t) in enumerate(images) for at in np.argwhere((p == c) & (t != 255)).tolist()}
        ious.append(len(truth & found) / len(truth | found) if truth | found else None)
        accs.append(len(truth & found) / len(truth) if truth else None)
    matrix = counted(*images)
    seen, labelled = [i for i in ious if i is not None], [a for a in accs if a is not None]
    left_out = scores_of(matrix)
    assert left_out.miou == pytest.approx(100 * np.mean(seen) if seen else float("nan"), nan_ok=True)
    assert left_out.macc == pytest.approx(100 * np.mean(labelled) if labelled else float("nan"), nan_ok=True)
    zero = scores_of(matrix, absent="zero")
    assert zero.miou == pytest.approx(100 * sum(seen) / CLASSES)
    assert zero.macc == pytest.approx(100 * sum(labelled) / CLASSES)
    assert math.isnan(scores_of(matrix, absent="nan").miou) == (len(seen) < CLASSES)
    assert left_out.absent_classes == tuple(f"c{i}" for i, iou in enumerate(ious) if iou is None)


def test_mmsegmentation_numbers(parity):
    for case in parity.description("protocols_mm")["metrics"]["cases"]:
        rng, classes = np.random.default_rng(case["seed"]), case["classes"]
        matrix = ConfusionMatrix(classes)
        for height, width in case["images"]:
            truth = rng.integers(0, classes + 1, (height, width)).astype(np.uint8)
            guess = rng.random((height, width)) < 0.6
            predicted = np.where(
                guess, np.clip(truth.astype(np.int64) - 1, 0, None), rng.integers(0, classes, (height, width))
            )
            truth[rng.random((height, width)) < 0.05] = 255
            if case["absent_label"] is not None:
                truth[truth == case["absent_label"] + 1] = 0
            if case["absent_both"] is not None:
                truth[truth == case["absent_both"] + 1] = 0
                predicted[predicted == case["absent_both"]] = 0
            truth = np.where((truth == 0) | (truth == 255), 255, truth - 1).astype(np.uint8)
            matrix.update(predicted, truth)
        scores = scores_of(matrix)
        assert np.diag(matrix.counts).tolist() == case["area_intersect"]
        assert matrix.counts.sum(1).tolist() == case["area_label"]
        assert matrix.counts.sum(0).tolist() == case["area_pred"]
        for name, expected in (("iou", case["IoU"]), ("acc", case["Acc"])):
            ours = [getattr(score, name) for score in scores.per_class.values()]
            theirs = [float("nan") if value is None else 100 * value for value in expected]
            assert ours == pytest.approx(theirs, rel=1e-6, nan_ok=True)
        assert (scores.miou, scores.macc, scores.aacc) == pytest.approx(
            (100 * case["mIoU"], 100 * case["mAcc"], 100 * case["aAcc"]), rel=1e-6
        )


def test_counts_stay_exact_beyond_float32():
    matrix = ConfusionMatrix(2)
    matrix.counts[:] = 2**53 + 1
    matrix.update(np.array([[0]], np.uint8), np.array([[1]], np.uint8))
    assert matrix.counts.tolist() == [[2**53 + 1, 2**53 + 1], [2**53 + 2, 2**53 + 1]]


def test_tensors_and_wide_types():
    predicted, truth = torch.tensor([[0, 1], [2, 1]]), torch.tensor([[0, 255], [2, 2]])
    expected = [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
    matrix = ConfusionMatrix(3)
    assert matrix.update(predicted, truth).tolist() == expected
    assert counted((predicted.to(torch.uint8), truth.numpy()), classes=3).counts.tolist() == expected


def test_refusals():
    matrix = ConfusionMatrix(3)
    good = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"shape \(2, 2\) and labels of shape \(2, 3\)"):
        matrix.update(good, np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"true class 34 at 4 pixels: expected 0\.\.2 or 255 \(ignored\)"):
        matrix.update(good, good + 34)
    with pytest.raises(ValueError, match=r"predicted class 3 at 4 pixels: expected 0\.\.2"):
        matrix.update(good + 3, good)
    with pytest.raises(ValueError, match="from -1 to -1"):
        matrix.update(good, good.astype(np.int64) - 1)
    with pytest.raises(ValueError, match="float64: expected integers"):
        matrix.update(good.astype(float), good)
    assert not matrix.counts.any()  # a refused image leaves no trace
    matrix.update(good + 200, good + 255)  # what is predicted where nothing is labelled doesn't matter
    with pytest.raises(ValueError, match="256 classes"):
        ConfusionMatrix(256)
    with pytest.raises(ValueError, match="3 and 2 classes"):
        matrix + ConfusionMatrix(2)


def example(**settings) -> Scores:
    matrix = counted((np.array([[0, 1, 1, 0]], np.uint8), np.array([[0, 1, 0, 255]], np.uint8)))
    images = (image_score(matrix.counts, 0, "a", "a.png"), ImageScore(1, "b", "b.png", float("nan"), float("nan")))
    return scores_of(matrix, images=images, protocol="whole", **settings)


def test_result_object_reads_well():
    scores = example()
    assert scores.per_class["c0"].iou == 50.0
    assert scores.per_class["c1"].acc == 100.0
    assert scores.per_class["c0"].pixels == 2
    assert scores.absent_classes == ("c2", "c3")
    assert (scores.miou, scores.macc) == (50.0, 75.0)
    assert scores.aacc == pytest.approx(200 / 3)
    assert scores.images[0].miou == 50.0
    assert scores.summary().startswith("mIoU 50.00  mAcc 75.00  aAcc 66.67  (2 images)\n")
    assert "left out of the mean IoU: c2, c3" in scores.summary()
    assert "counted as zero in the mean IoU: c2, c3" in example(absent="zero").summary()
    assert example(absent="zero").miou == 25.0
    assert str(scores).splitlines()[:4] == [
        "class    IoU    Acc",
        "c0     50.00  50.00",
        "c1     50.00 100.00",
        "c2         -      -",
    ]
    table = scores.table()
    assert [column.header for column in table.columns] == ["class", "IoU", "Acc", "labelled pixels"]
    assert list(table.columns[1].cells) == ["50.00", "50.00", "-", "-", "50.00"]


@pytest.mark.parametrize("absent", ["left out", "zero", "nan"])
def test_json_round_trip_is_exact(absent):
    scores = example(absent=absent)
    text = scores.to_json()
    json.loads(text, parse_constant=pytest.fail)  # NaN is not JSON
    again = Scores.from_json(text)
    assert again.confusion.dtype == np.int64
    np.testing.assert_array_equal(again.confusion, scores.confusion)
    assert again.to_json() == text
    assert (again.class_names, again.absent, again.protocol) == (scores.class_names, absent, "whole")
    assert repr(again.images) == repr(scores.images)
    assert again.aacc == scores.aacc


def test_adding_scores():
    a, b = example(), example()
    with pytest.raises(ValueError, match=r"images \[0, 1\] were scored on both sides"):
        a + b
    with pytest.raises(ValueError, match="absent"):
        a + example(absent="zero")
    with pytest.raises(ValueError, match="3 class names"):
        Scores(a.confusion, ("a", "b", "c"))
    with pytest.raises(ValueError, match="left out, zero, nan"):
        example(absent="skip")
