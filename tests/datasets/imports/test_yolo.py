"""`segattn data import yolo`, against the documented way: fillPoly on whole pixels, smaller areas over larger ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Write = Callable[..., None]
SIZE = 40, 60


def line(number: int, points: np.ndarray) -> str:
    return " ".join([str(number), *(f"{value:.6f}" for value in points.ravel())])


def outlines(seed: int, count: int = 4) -> list[tuple[int, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(int(rng.integers(0, 2)), rng.uniform(0, 1, (6, 2)).round(6)) for _ in range(count)]


def truth(rows: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Ids 1 and 2 for classes 0 and 1: each outline on an empty mask, and these by falling area."""
    masks = []
    for number, points in rows:
        mask = np.zeros(SIZE, np.uint8)
        cv2.fillPoly(mask, (points * SIZE[::-1]).astype(np.int32).reshape(1, -1, 2), color=1)
        masks.append((mask.sum(), number, mask))
    whole = np.zeros(SIZE, np.uint8)
    for _, number, mask in sorted(masks, key=lambda entry: -int(entry[0])):
        whole[mask == 1] = number + 1
    return whole


def write_label(path: Path, rows: list[tuple[int, np.ndarray]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line(*row) for row in rows) + "\n")


def write_description(src: Path, text: str = "path: .\ntrain: images/train\nval: images/val\n") -> None:
    (src / "data.yaml").write_text(text + "names: {0: plate, 1: defect, 2: never}\n")


@pytest.fixture
def export(src: Path, write_image: Write) -> Path:
    for split, count in (("train", 3), ("val", 1)):
        for number in range(count):
            write_image(src / f"images/{split}/{number}.jpg", SIZE)
            write_label(src / f"labels/{split}/{number}.txt", outlines(number))
    write_description(src)
    return src


def test_masks_are_drawn_as_ultralytics_documents_it(export: Path, bring: Any, write_image: Write) -> None:
    write_image(export / "images/train/without.jpg", SIZE)
    write_image(export / "images/train/empty.jpg", SIZE)
    (export / "labels/train/empty.txt").write_text("\n")
    done = bring("yolo")
    for split, count in (("train", 3), ("val", 1)):
        for number in range(count):
            assert np.array_equal(done.ids(f"{split}/{number}"), truth(outlines(number)))
    assert not done.ids("train/without").any()
    assert not done.ids("train/empty").any()
    assert done.report.splits == {"train": 5, "val": 1}
    assert [(row.name, row.id) for row in done.report.classes] == [("background", 0), ("plate", 1), ("defect", 2)]
    assert "1 image without a label file: background" in str(done.report)
    assert done.is_fine()


def test_small_shapes_lie_over_large_ones(export: Path, bring: Any) -> None:
    large = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]])
    small = np.array([[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]])
    write_label(export / "labels/train/0.txt", [(1, small), (0, large)])
    ids = bring("yolo").ids("train/0")
    assert ids[20, 30] == 2
    assert ids[8, 12] == 1


@pytest.mark.parametrize(
    "text",
    [
        "train: ../train/images\nval: ../valid/images\n",
        "train: train/images\nval: valid/images\n",
        "path: /home/somebody/yolo\ntrain: train/images\nval: [valid/images]\n",
        "train: C:\\data\\yolo\\train\\images\nval: valid\n",
        "",
    ],
)
def test_roboflows_layout(src: Path, bring: Any, write_image: Write, text: str) -> None:
    for split in ("train", "valid"):
        write_image(src / f"{split}/images/a.jpg", SIZE)
        write_label(src / f"{split}/labels/a.txt", outlines(0))
    write_description(src, text)
    done = bring("yolo")
    assert done.report.splits == {"train": 1, "val": 1}
    assert np.array_equal(done.ids("val/a"), truth(outlines(0)))
    assert done.is_fine()


def test_lists_of_images(export: Path, bring: Any) -> None:
    (export / "train.txt").write_text("data/images/train/0.jpg\n./images/train/1.jpg\n../../etc/passwd\n")
    write_description(export, "train: train.txt\n")
    done = bring("yolo")
    assert done.report.splits == {"train": 2}
    assert "train: ../../etc/passwd: no such image below" in done.report.failed[0]


def test_fractions_are_of_the_upright_image(export: Path, bring: Any, write_image: Write) -> None:
    write_image(export / "images/train/0.jpg", SIZE, orientation=6)
    done = bring("yolo")
    assert done.ids("train/0").shape == SIZE[::-1]
    assert done.is_fine()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0 0.5 0.5 0.2 0.2", "a box and no outline"),
        ("0 0.5 0.5 0.2", "3 numbers, and pairs for 3 points"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "7 numbers"),
        ("7 0.1 0.1 0.2 0.2 0.3 0.3", "class '7' is none of the 3 names"),
        ("-1 0.1 0.1 0.2 0.2 0.3 0.3", "class '-1'"),
        ("x 0.1 0.1 0.2 0.2 0.3 0.3", "class 'x'"),
        ("9" * 5000 + " 0.1 0.1 0.2 0.2 0.3 0.3", "is none of the 3 names"),
        ("0 0.1 0.1 0.2 0.2 0.3 x", "numbers were expected"),
        ("0 0.1 0.1 0.2 nan 0.3 0.3", "outside 0 to 1"),
        ("0 10 10 20 20 30 30", "outside 0 to 1"),
        ("0 0.1 0.1 0.2 1e999 0.3 0.3", "outside 0 to 1"),
    ],
)
def test_bad_lines_are_left_out_with_their_reason(export: Path, bring: Any, row: str, reason: str) -> None:
    with open(export / "labels/train/0.txt", "a") as file:
        file.write(row + "\n")
    (said,) = bring("yolo").report.skipped
    assert reason in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "data.yaml with the key names was looked for, found images/, labels/"),
        ("train: images\n", "data.yaml with the key names was looked for"),
        ("names: 5\n", "names: a list of names or .* was expected, got 5"),
        ("names: {a: b}\n", "names: a list of names"),
        ("names: [no]\n", "class name False: text was expected"),
        ("names: [a]\ntrain: 5\n", "train: a folder or a list file was expected, got 5"),
        ("names: !!python/object [a]\n", "not readable as YAML"),
        ("names: [a]\n", None),
    ],
)
def test_descriptions(export: Path, bring: Any, text: str | None, message: str | None) -> None:
    (export / "data.yaml").unlink()
    if text is not None:
        (export / "data.yaml").write_text(text)
    if message is None:
        assert bring("yolo").report.complete
        return
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        bring("yolo")


def test_images_alone_are_not_this_layout(src: Path, bring: Any, write_image: Write) -> None:
    write_image(src / "images/a.jpg", SIZE)
    write_description(src)
    with pytest.raises(FileNotFoundError, match=r"labels/\*.txt beside images/\* was looked for"):
        bring("yolo")
