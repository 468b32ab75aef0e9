"""COCO-Stuff 10k in the layout of cocostuff-10k-v1.1.zip, with .mat files as SciPy writes them."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from segattn.contracts import IGNORE
from segattn.datasets.coco_stuff import CLASSES, COCOStuff10k
from segattn.datasets.formats import read_mat
from segattn.datasets.prepare import prepare

NAMES = {
    "train": ["COCO_train2014_000000000077", "COCO_train2014_000000000036"],
    "test": ["COCO_train2014_000000000049"],
}


@pytest.fixture
def root(tmp_path):
    for folder in ("images", "annotations", "imageLists"):
        (tmp_path / folder).mkdir()
    for seed, (split, names) in enumerate(NAMES.items()):
        (tmp_path / "imageLists" / f"{split}.txt").write_text("\r\n".join(names) + "\r\n")
        for name in names:
            cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), np.full((5, 7, 3), 128, np.uint8))
            write_mask(tmp_path / "annotations" / f"{name}.mat", seed)
    return tmp_path


def write_mask(path, seed, names=182):
    """As distributed: S as double, the names as a column of cells, captions and superpixels besides."""
    ids = np.random.default_rng(seed).choice([0, 1, 11, 13, 92, 182], (5, 7)).astype(np.float64)
    cells = np.array([f"class {i}" for i in range(names)], object)[:, None]
    more = {"captions": np.array(["a man", "a dog"], object), "regionMapStuff": np.ones((5, 7))}
    savemat(path, {"S": ids, "names": cells, "regionLabelsStuff": np.ones((4, 1)), **more}, do_compression=True)
    return ids


def test_the_class_list():
    assert len(CLASSES) == 171
    assert len(set(CLASSES.names)) == 171
    assert len(set(CLASSES.palette)) == 171
    by_file_id = dict(zip(CLASSES.file_ids, CLASSES.names, strict=True))
    assert by_file_id[1] == "person"
    assert by_file_id[13] == "stop sign"
    assert by_file_id[90] == "toothbrush"
    assert by_file_id[92] == "banner"
    assert by_file_id[149] == "road"
    assert by_file_id[157] == "sky-other"
    assert by_file_id[182] == "wood"
    assert len([raw for raw in CLASSES.file_ids if raw <= 91]) == 80  # things
    assert {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}.isdisjoint(by_file_id)


def test_prepare_then_read(root):
    report = prepare("coco_stuff10k", root)
    assert (report.made, report.failed) == (3, ())
    train = COCOStuff10k(root, "train")
    assert [pair.name for pair in train.pairs] == NAMES["train"]  # the list's order
    ids = np.random.default_rng(0).choice([0, 1, 11, 13, 92, 182], (5, 7))
    expected = np.select([ids == 0, ids == 1, ids == 11, ids == 13, ids == 92], [IGNORE, 0, 10, 11, 80], 170)
    np.testing.assert_array_equal(train[0].mask, expected)
    assert len(COCOStuff10k(root, "test")) == 1


def test_says_that_masks_must_be_prepared(root):
    with pytest.raises(FileNotFoundError, match="segattn data prepare coco_stuff10k"):
        COCOStuff10k(root, "train")
    prepare("coco_stuff10k", root)
    (root / "annotations_png" / f"{NAMES['train'][0]}.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 listed files.*000077\.png; `segattn data prepare"):
        COCOStuff10k(root, "train")
    with pytest.raises(ValueError, match=r"no split 'val'; it has train, test"):
        COCOStuff10k(root, "val")


def test_reports_broken_and_old_annotations(root):
    first, second, third = (root / "annotations" / f"{name}.mat" for names in NAMES.values() for name in names)
    first.write_bytes(first.read_bytes()[:300])
    write_mask(second, 0, names=172)
    third.unlink()
    report = prepare("coco_stuff10k", root)
    assert report.made == 0
    assert [line.split("; ")[-1] for line in report.failed[:2]] == [
        "copy it again from its source",
        "use version 1.1 (182 names)",
    ]
    assert third.name in report.failed[2]


def test_an_id_that_the_data_set_does_not_use_is_an_error(root):
    prepare("coco_stuff10k", root)
    cv2.imwrite(str(root / "annotations_png" / f"{NAMES['test'][0]}.png"), np.full((5, 7), 12, np.uint8))
    with pytest.raises(ValueError, match=r"label 12 \(35 pixels\)"):
        COCOStuff10k(root, "test")[0]


@pytest.mark.parametrize("compressed", [True, False])
def test_mat_files_of_every_kind_of_value(tmp_path, compressed):
    rng = np.random.default_rng(3)
    arrays = {
        kind: rng.integers(0, 100, (3, 4)).astype(kind)
        for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
    }
    content = {
        **arrays,
        "empty": np.zeros((0, 0)),
        "text": "a caption",
        "cells": np.array(["one", np.arange(3.0), "three"], object),
        "one": {"mask": np.eye(3, dtype=np.uint8), "inner": {"deep": 7.5}},
        "many": np.array([(1.0, "x"), (2.0, "yy")], [("value", object), ("name", object)]),
    }
    savemat(tmp_path / "all.mat", content, do_compression=compressed)
    read = read_mat(tmp_path / "all.mat")
    for kind, array in arrays.items():
        np.testing.assert_array_equal(read[kind], array)
    assert read["empty"].size == 0
    assert read["text"] == "a caption"
    assert (read["cells"][0], read["cells"][2]) == ("one", "three")
    assert read["cells"][1].tolist() == [[0.0, 1.0, 2.0]]
    np.testing.assert_array_equal(read["one"]["mask"], np.eye(3))
    assert read["one"]["inner"]["deep"].item() == 7.5
    assert [element["name"] for element in read["many"]] == ["x", "yy"]


def test_damaged_mat_files_never_pass(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"S": np.arange(600.0).reshape(20, 30)})
    whole = path.read_bytes()
    for length in (0, 100, 130, 140, 200, len(whole) - 8):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.mat: .*copy it again"):
            read_mat(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512))
    with pytest.raises(ValueError, match="-v7"):
        read_mat(path)
    huge = struct.pack("<II", 14, 0xFFFFFFFF)
    path.write_bytes(whole[:128] + huge + whole[136:])
    with pytest.raises(ValueError, match="ends too early"):
        read_mat(path)
