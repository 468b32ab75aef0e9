"""`segattn data import label-studio`, against pycocotools and an encoder written from the format of its run lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from segattn.datasets.imports.brush import decode_brush

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
Write = Callable[..., None]
SIZE = 40, 60


def brush(alpha: np.ndarray, lengths: tuple[int, ...] = (3, 4, 8, 16)) -> list[int]:
    """Alpha (H, W) -> bytes: the format of rle-pack, in a string of bits."""
    values = np.repeat(alpha.ravel(), 4).tolist()
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{length - 1:04b}" for length in lengths)
    place = 0
    while place < len(values):
        end = place + 1
        same = end < len(values) and values[end] == values[place]
        while end < len(values) and (values[end] == values[end - 1]) == same and end - place < 1 << lengths[-1]:
            end += 1
        if not same and end < len(values):
            end = max(end - 1, place + 1)  # the last one begins the next run
        kind = next(number for number, length in enumerate(lengths) if end - place <= 1 << length)
        bits += f"{int(same)}{kind:02b}{end - place - 1:0{lengths[kind]}b}"
        bits += f"{values[place]:08b}" if same else "".join(f"{value:08b}" for value in values[place:end])
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def region(kind: str, label: str | None, **value: Any) -> dict[str, Any]:
    named = {} if label is None else {f"{kind}labels": [label]}
    return {
        "id": "x", "type": f"{kind}labels", "from_name": "label", "to_name": "image", "original_width": SIZE[1],
        "original_height": SIZE[0], "image_rotation": 0, "value": {**value, **named},
    }  # fmt: skip


def task(number: int, image: str, results: list[Any], **more: Any) -> dict[str, Any]:
    annotation = {"id": number, "was_cancelled": False, "ground_truth": False, "result": results}
    return {"id": number, "data": {"image": image}, "annotations": [annotation], "predictions": [], **more}


ALPHA = np.random.default_rng(0).choice([0, 0, 0, 127, 128, 255], SIZE).astype(np.uint8)
ALPHA[:20] = 0
ALPHA[30:] = 255
POLYGON = [[10.123, 5.2], [70.4, 20.8], [60.6, 90.1], [15.5, 77.7]]


def by_coco(points: Any) -> np.ndarray:
    return coco.decode(coco.frPyObjects([np.asarray(points, float).ravel().tolist()], *SIZE))[..., 0] != 0


def test_run_lengths_are_read_as_they_were_written() -> None:
    for alpha in (ALPHA, np.zeros(SIZE, np.uint8), np.full(SIZE, 255, np.uint8), np.arange(2400).reshape(SIZE) % 251):
        assert np.array_equal(decode_brush(brush(alpha.astype(np.uint8)), SIZE), alpha >= 128)
    assert np.array_equal(decode_brush(brush(ALPHA, (1, 2, 5, 9)), SIZE), ALPHA >= 128)


def test_what_nobody_has_labelled_is_not_background(
    src: Path, bring: Any, write_image: Write, write_json: Write
) -> None:
    """An export of all tasks has those without an annotation too; an empty one that was submitted is background."""
    tasks = [task(number, f"{number}.jpg", []) for number in range(5)]
    for number in range(5):
        write_image(src / f"{number}.jpg", SIZE)
    tasks[0] = task(0, "0.jpg", [region("polygon", "a", points=POLYGON, closed=True)])
    tasks[1]["annotations"] = []
    tasks[2]["annotations"][0]["was_cancelled"] = True
    write_json(src / "export.json", tasks)
    done = bring("label-studio")
    assert sum(done.report.splits.values()) == 3
    assert done.report.background_only == 2
    assert "not imported: 2 tasks that nobody has labelled" in str(done.report)
    assert done.report.complete


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (None, "a list of bytes"),
        ([], "a list of bytes"),
        ([256], "a list of bytes"),
        ([1, True], "a list of bytes"),
        ([0, 0], "cut short"),
        (brush(ALPHA)[:-20], "cut short"),
        (brush(ALPHA[:10]), "a brush mask of 2400 values of 8 bits for 60x40"),
        ([255] * 100, "a brush mask of 4294967295 values"),
        ([*brush(ALPHA)[:7], *[255] * 50], "more than its pixels"),
    ],
)
def test_bad_run_lengths_are_refused(rle: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_brush(rle, SIZE)


def test_masks_are_those_of_the_libraries(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    write_image(src / "images/a.jpg", SIZE)
    write_image(src / "images/empty.jpg", SIZE)
    results = [
        region("polygon", "plate", points=POLYGON, closed=True),
        region("rectangle", "defect", x=50, y=10, width=30, height=40, rotation=0),
        region("rectangle", "plate", x=50, y=60, width=20, height=30, rotation=30),
        region("ellipse", "defect", x=20, y=75, radiusX=15, radiusY=10, rotation=0),
        region("brush", "dirt", format="rle", rle=brush(ALPHA)),
        {"type": "choices", "value": {"choices": ["good"]}},
        region("keypoint", "plate", x=1, y=1, width=1),
    ]
    tasks = [task(1, "/data/upload/3/0a1b2c3d-a.jpg", results), task(2, "/data/local-files/?d=images%2Fempty.jpg", [])]
    write_json(src / "project-1-at-2024.json", tasks)
    truth = np.zeros(SIZE, np.uint8)
    truth[by_coco(np.array(POLYGON) / 100 * [60, 40])] = 3
    truth[by_coco([[30, 4], [48, 4], [48, 20], [30, 20]])] = 1
    angle = math.radians(30)
    right, down = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    corner = np.array([30, 24])
    truth[by_coco([corner, corner + 12 * right, corner + 12 * right + 12 * down, corner + 12 * down])] = 3
    canvas = np.zeros(SIZE, np.uint8)
    cv2.ellipse(canvas, (12, 30), (9, 4), 0, 0, 360, 1, -1)
    truth[canvas == 1] = 1
    truth[ALPHA >= 128] = 2
    done = bring("label-studio")
    assert [row.name for row in done.report.classes] == ["background", "defect", "dirt", "plate"]
    assert np.array_equal(done.ids("train/a"), truth)
    assert not done.ids("train/empty").any()
    assert done.is_fine()


def test_one_annotation_of_several_is_taken(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    tasks = []
    square = [{"x": 10, "y": 10, "width": 50, "height": 50}] * 3
    one, other, third = (region("rectangle", name, **box) for name, box in zip("abc", square, strict=True))
    for number, flags in enumerate(((0, 0, 0), (1, 0, 0), (0, 0, 2))):
        write_image(src / f"{number}.jpg", SIZE)
        annotations = [
            {"result": [result], "was_cancelled": flag == 1, "ground_truth": flag == 2}
            for result, flag in zip((one, other, third), flags, strict=True)
        ]
        tasks.append(task(number, f"{number}.jpg", []) | {"annotations": annotations})
    write_json(src / "a.json", tasks)
    done = bring("label-studio")
    names = {row.id: row.name for row in done.report.classes}
    assert [names[done.ids(f"train/{number}").max()] for number in range(3)] == ["a", "b", "c"]
    assert "3 tasks with several annotations" in str(done.report)


def test_labels_apart_from_their_shapes(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    write_image(src / "a.jpg", SIZE)
    shape = region("polygon", None, points=POLYGON) | {"type": "polygon", "id": "r1"}
    label = {"id": "r1", "type": "labels", "value": {"points": POLYGON, "labels": ["plate"]}}
    write_json(src / "a.json", [task(1, "s3://bucket/a.jpg", [shape, label])])
    done = bring("label-studio")
    assert np.array_equal(done.ids("train/a") == 1, by_coco(np.array(POLYGON) / 100 * [60, 40]))


def test_coordinates_are_on_the_upright_image(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    write_image(src / "a.jpg", SIZE, orientation=6)
    shape = region("polygon", "plate", points=POLYGON) | {"original_width": SIZE[0], "original_height": SIZE[1]}
    write_json(src / "a.json", [task(1, "a.jpg", [shape])])
    done = bring("label-studio")
    assert done.ids("train/a").shape == SIZE[::-1]
    assert done.is_fine()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (region("polygon", "x", points=POLYGON) | {"image_rotation": 90}, "turned by 90 in Label Studio"),
        (region("polygon", None, points=POLYGON) | {"id": "y"}, "a region without a label"),
        (region("polygon", "", points=POLYGON) | {"id": "y"}, "a region without a label"),
        (region("polygon", "x", points=[[1, 2]]), "an outline of 1 points"),
        (region("polygon", "x", points=[[1, 2], [1e300, 3], [4, 4]]), "beyond 131072"),
        (region("rectangle", "x", x=1, y=2, width=3), "height None: a number was expected"),
        (region("rectangle", "x", x=1, y=2, width=3, height=10**400), "too large"),
        (region("rectangle", "x", x=1, y=2, width=3, height=1, rotation=float("nan")), "NaN or infinite"),
        (region("ellipse", "x", x=1, y=2, radiusX=-3, radiusY=1), "a radius below 0"),
        (region("brush", "x", rle=brush(ALPHA)[:50]), "cut short"),
        (region("polygon", "x", points=POLYGON) | {"original_width": 61}, "a region of another size"),
    ],
)
def test_bad_regions_are_left_out_with_their_reason(
    src: Path, bring: Any, write_image: Write, write_json: Write, bad: Any, reason: str
) -> None:
    write_image(src / "a.jpg", SIZE)
    good = region("rectangle", "defect", x=50, y=10, width=30, height=40)
    write_json(src / "a.json", [task(1, "a.jpg", [good, bad, 5, {"value": 3}])])
    (said,) = bring("label-studio").report.skipped
    assert reason in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"a JSON file with a list of tasks \(data, annotations\) was looked for"),
        ([], "was looked for"),
        ([{"image": "a.jpg", "label": [], "annotation_id": 1}], "is a JSON-MIN export; export it as JSON"),
        ([task(1, "../../etc/passwd", [])], "no such image below"),
        ([task(1, "http://[x/a", [])], "no such image below"),
        ([task(1, "a.jpg", []) | {"data": {}}], "no image is named in data"),
        ([task(1, "a.jpg", "x")], "result: a list was expected"),  # type: ignore[arg-type]
    ],
)
def test_other_files_are_refused(src: Path, bring: Any, write_json: Write, content: Any, message: str) -> None:
    (src / "a.jpg").write_bytes(b"")
    write_json(src / "a.json", content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        bring("label-studio")
