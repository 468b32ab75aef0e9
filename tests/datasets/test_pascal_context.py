"""PASCAL Context in the layout of the development kit with the merged annotations."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from segattn.contracts import IGNORE
from segattn.datasets.formats import decode_rle
from segattn.datasets.pascal_context import CLASSES_59, CLASSES_60, PascalContext, PascalContext60
from segattn.datasets.prepare import prepare

CONTEXT_IDS = (
    "0 2 9 18 19 22 23 25 31 33 34 44 45 46 59 65 68 72 80 85 98 104 105 113 115 144 158 159 162 187 189 207 220 232 "
    "258 259 260 284 295 296 308 324 326 347 349 354 355 360 366 368 397 415 416 420 424 427 440 445 454 458"
)


def pack(runs: list[int]) -> str:
    """The packed form of run lengths: an independent writer for the reader under test."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | (32 if more else 0)))
    return text


def runs_of(mask: np.ndarray) -> list[int]:
    runs, last, length = [], False, 0
    for value in mask.T.ravel():
        if bool(value) != last:
            runs.append(length)
            last, length = bool(value), 0
        length += 1
    return [*runs, length]


def segmentation(mask: np.ndarray, *, packed: bool = True) -> dict:
    runs = runs_of(mask)
    return {"size": list(mask.shape), "counts": pack(runs) if packed else runs}


def box(top, bottom, left, right, size=(6, 8)):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "VOCdevkit/VOC2010"
    (folder / "JPEGImages").mkdir(parents=True)
    names = {"2008_000002": "train", "2008_000004": "val", "2008_000003": "train", "2008_000009": "test"}
    images, annotations = [], []
    for name, phase in names.items():
        file_name, number = f"{name}.jpg", int(name.replace("_", ""))
        images.append({"file_name": file_name, "image_id": number, "phase": phase, "height": 6, "width": 8})
        cv2.imwrite(str(folder / "JPEGImages" / file_name), np.full((6, 8, 3), 90, np.uint8))

    def annotate(name, category, mask, **form):
        annotations.append(
            {"id": len(annotations), "image_id": int(name.replace("_", "")), "category_id": category, "iscrowd": 0}
            | {"segmentation": segmentation(mask, **form)}
        )

    annotate("2008_000002", 360, box(0, 3, 0, 8))  # sky
    annotate("2008_000004", 458, box(0, 6, 0, 1), packed=False)  # wood
    annotate("2008_000002", 2, box(1, 4, 2, 5))  # aeroplane, drawn over the sky
    (folder / "trainval_merged.json").write_text(
        json.dumps({"info": {}, "images": images, "annos_segmentation": annotations, "categories": []})
    )
    return tmp_path


def test_the_class_lists():
    assert (len(CLASSES_59), len(CLASSES_60)) == (59, 60)
    assert CLASSES_60.names[0] == "background"
    assert CLASSES_60.names[1:] == CLASSES_59.names
    assert CLASSES_59.names == tuple(sorted(CLASSES_59.names))  # the categories' ids are in alphabetical order
    assert (CLASSES_59.names[0], CLASSES_59.names[-1], CLASSES_59.names[36]) == ("aeroplane", "wood", "person")
    assert CLASSES_59.file_ids == tuple(range(1, 60))
    assert len(set(CLASSES_60.palette)) == 60


def test_prepare_then_read_59_and_60_classes(root):
    report = prepare("pascal_context", root)
    assert (report.made, report.failed) == (3, ())
    expected = np.zeros((6, 8), int)
    rank = {int(raw): index for index, raw in enumerate(CONTEXT_IDS.split())}
    expected[0:3] = rank[360]
    expected[1:4, 2:5] = rank[2]

    sixty = PascalContext60(root, "train")
    assert [pair.name for pair in sixty.pairs] == ["2008_000002", "2008_000003"]
    np.testing.assert_array_equal(sixty[0].mask, expected)
    assert not sixty[1].mask.any(), "no annotation means background"
    assert CLASSES_60.names[rank[360]] == "sky"

    fifty_nine = PascalContext(root, "train")
    np.testing.assert_array_equal(fifty_nine[0].mask, np.where(expected == 0, IGNORE, expected - 1))

    val = PascalContext(root / "VOCdevkit/VOC2010", "val")
    assert CLASSES_59.names[val[0].mask[0, 0]] == "wood"
    assert (val[0].mask[:, 1:] == IGNORE).all()


def test_says_that_masks_must_be_prepared(root):
    with pytest.raises(FileNotFoundError, match="segattn data prepare pascal_context"):
        PascalContext(root, "train")
    (root / "VOCdevkit/VOC2010/trainval_merged.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"trainval_merged\.json: no such file"):
        prepare("pascal_context", root)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not the PASCAL in Detail"), ('{"images": []}', "no 'annos_segmentation'"), ("[]", "copy it again")],
)
def test_refuses_another_structure(root, content, message):
    (root / "VOCdevkit/VOC2010/trainval_merged.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        prepare("pascal_context", root)


def test_reports_unknown_categories_and_sizes(root):
    path = root / "VOCdevkit/VOC2010/trainval_merged.json"
    content = json.loads(path.read_text())
    content["annos_segmentation"][0]["category_id"] = 7
    content["annos_segmentation"][1]["segmentation"] = segmentation(box(0, 1, 0, 1, size=(8, 6)))
    path.write_text(json.dumps(content))
    report = prepare("pascal_context", root)
    assert "category 7 in 2008_000002.jpg" in report.failed[0]
    assert "2008_000004.jpg has the size (8, 6), the image (6, 8)" in report.failed[1]
    assert not (root / "VOCdevkit/VOC2010/ImageSets").exists()


def test_run_lengths_round_trip():
    rng = np.random.default_rng(0)
    for size in [(1, 1), (7, 5), (60, 90)]:
        for _ in range(5):
            mask = cv2.blur(rng.random(size), (5, 5)) > 0.5
            np.testing.assert_array_equal(decode_rle(segmentation(mask)), mask)
            np.testing.assert_array_equal(decode_rle(segmentation(mask, packed=False)), mask)


def test_run_lengths_by_hand():
    # 2 rows, 3 columns: down the columns 0 1 | 1 1 | 0 0
    expected = [[False, True, False], [True, True, False]]
    for counts in ([1, 3, 2], "132"):
        np.testing.assert_array_equal(decode_rle({"size": [2, 3], "counts": counts}), expected)
    # 100 = 3 * 32 + 4 takes two characters: 4 with the sixth bit, then 3
    assert decode_rle({"size": [10, 10], "counts": "T3"}).sum() == 0
    assert decode_rle({"size": [10, 10], "counts": "0T3"}).all()


def test_run_lengths_of_the_coco_tools():
    y, x = np.mgrid[:40, :50]
    counts = "X>5P16K4M2M4N0O2N2O0O2O000O2O00000001N10001N101N2N102L3N3L5JS<"  # by pycocotools 2.0
    np.testing.assert_array_equal(
        decode_rle({"size": [40, 50], "counts": counts}), (y - 18) ** 2 + (x - 25) ** 2 <= 200
    )


@pytest.mark.parametrize(
    "wrong",
    [[[1, 2, 3, 4]], {"size": [2, 2]}, {"size": [2, 2], "counts": [1, 2]}, {"size": [2, 2], "counts": "T"},
     {"size": [2, 2], "counts": "4 "}, {"size": [2, 2], "counts": [5, -1]}],
)  # fmt: skip
def test_wrong_run_lengths(wrong):
    with pytest.raises(ValueError, match=r"run.length"):
        decode_rle(wrong)


@pytest.mark.parametrize(
    "counts",
    [[1 << 62] * 4 + [48], [1 << 63, 1 << 63, 48], [1 << 64, 48], [(1 << 63) - 1, 49]],
    ids=["four", "two", "more than 64 bits", "one"],
)
def test_runs_whose_sum_wraps_in_64_bits_are_refused(counts):
    with pytest.raises(ValueError, match="run lengths add up to "):
        decode_rle({"size": [6, 8], "counts": counts})


@pytest.mark.parametrize(
    ("field", "value"), [("height", "6"), ("width", None), ("height", True), ("width", 1 << 40), ("height", 6.0)]
)
def test_one_image_of_no_size_does_not_stop_the_others(root, field, value):
    path = root / "VOCdevkit/VOC2010/trainval_merged.json"
    content = json.loads(path.read_text())
    content["images"][0][field] = value
    path.write_text(json.dumps(content))
    report = prepare("pascal_context", root)
    assert report.made == 2
    (line,) = report.failed
    assert "trainval_merged.json: height and width of 2008_000002.jpg: whole numbers" in line


@pytest.mark.parametrize(
    ("field", "value"), [("segmentation", None), ("segmentation", 3), ("category_id", "2"), ("category_id", [2])]
)
def test_one_annotation_of_another_form_does_not_stop_the_others(root, field, value):
    path = root / "VOCdevkit/VOC2010/trainval_merged.json"
    content = json.loads(path.read_text())
    content["annos_segmentation"][0][field] = value
    path.write_text(json.dumps(content))
    report = prepare("pascal_context", root)
    assert report.made == 2
    (line,) = report.failed
    assert "2008_000002.jpg" in line
