"""`segattn data import labelme`, against masks drawn in the way that Labelme documents (Pillow, outline=1, fill=1)."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

Write = Callable[..., None]
SIZE = 40, 60


def png(inside: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(inside.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shape(label: Any, points: Any, kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        **more,
    }


def file(name: str, shapes: list[Any], size: tuple[int, int] = SIZE) -> dict[str, Any]:
    return {
        "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None,
        "imageHeight": size[0], "imageWidth": size[1],
    }  # fmt: skip


BLOB = np.random.default_rng(0).random((10, 20)) < 0.5
SHAPES = [
    shape("b", [[2.5, 3.5], [40.2, 8.9], [30.1, 35.7], [5.0, 30.0]]),
    shape("a", [[30.7, 30.2], [10.4, 12.9]], "rectangle"),
    shape("c", [[45.0, 20.0], [50.5, 27.2]], "circle", group_id=3),
    shape("b", [[35, 5], [54, 14]], "mask", mask=png(BLOB)),
    shape("_background_", [[20, 20], [26, 20], [26, 26], [20, 26]]),
    shape("__ignore__", [[0, 36], [59, 36], [59, 39], [0, 39]], None),
    shape("a", [[1, 1], [9, 1], [9, 9], [1, 9]], "rectangle"),
]


def truth(ids: dict[str, int]) -> np.ndarray:
    """labelme/utils/shape.py as it is documented: each shape on an empty image, the later over the earlier."""
    whole = np.zeros(SIZE, np.uint8)
    for one in SHAPES:
        canvas = Image.new("L", SIZE[::-1])
        draw = ImageDraw.Draw(canvas)
        xy = [tuple(point) for point in one["points"]]
        if one["shape_type"] == "circle":
            (cx, cy), (px, py) = xy
            d = math.sqrt((cx - px) ** 2 + (cy - py) ** 2)
            draw.ellipse([cx - d, cy - d, cx + d, cy + d], outline=1, fill=1)
        elif one["shape_type"] == "rectangle" and len(xy) == 2:
            (ax, ay), (bx, by) = xy
            draw.rectangle([min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)], outline=1, fill=1)
        elif one["shape_type"] != "mask":
            draw.polygon(xy=xy, outline=1, fill=1)
        inside = np.array(canvas) != 0
        if one["shape_type"] == "mask":
            (left, top), (right, bottom) = one["points"]
            inside[top : bottom + 1, left : right + 1] = BLOB
        whole[inside] = ids[one["label"]]
    return whole


def test_masks_are_drawn_as_labelme_documents_it(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    write_image(src / "a.jpg", SIZE)
    write_json(src / "a.json", file("a.jpg", SHAPES))
    done = bring("labelme")
    ids = {"_background_": 0, "a": 1, "b": 2, "c": 3, "__ignore__": 255}
    assert np.array_equal(done.ids("train/a"), truth(ids))
    assert [(row.name, row.id) for row in done.report.classes] == [("background", 0), ("a", 1), ("b", 2), ("c", 3)]
    assert done.report.ignored_regions == 1
    assert done.is_fine()


def test_a_broken_json_file_does_not_stop_the_others(
    src: Path, bring: Any, write_image: Write, write_json: Write
) -> None:
    for name in "abc":
        write_image(src / f"{name}.jpg", SIZE)
        write_json(src / f"{name}.json", file(f"{name}.jpg", SHAPES))
    whole = (src / "b.json").read_bytes()
    (src / "b.json").write_bytes(whole[:-40])
    (src / "d.json").write_bytes(b"\xff\xfe{}")
    done = bring("labelme")
    assert not done.report.complete
    assert sum(done.report.splits.values()) == 2
    broken, other = done.report.failed
    assert broken.startswith(f"{src / 'b.json'}: not readable as JSON: ")
    assert other.startswith(f"{src / 'd.json'}: not readable as JSON: ")


def test_classes_are_in_the_order_of_labels_txt(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    write_image(src / "a.jpg", SIZE)
    write_json(src / "a.json", file("a.jpg", SHAPES))
    (src / "labels.txt").write_text("__ignore__\n_background_\nc\nb\na\nnever\n")
    done = bring("labelme")
    assert [row.name for row in done.report.classes] == ["background", "c", "b", "a"]
    assert done.report.unused == ("never",)


def test_images_are_found_from_the_json_files_folder(
    src: Path, bring: Any, write_image: Write, write_json: Write
) -> None:
    write_image(src / "train/images/a.jpg", SIZE)
    write_image(src / "val/images/a.jpg", SIZE)
    write_image(src / "train/images/not_yet.jpg", SIZE)
    write_json(src / "train/json/a.json", file("..\\images\\a.jpg", SHAPES[:1]))
    write_json(src / "val/json/a.json", file("../images/a.jpg", SHAPES[:1]))
    write_json(src / "package.json", {"name": "x"})
    done = bring("labelme")
    assert done.report.splits == {"train": 1, "val": 1}
    assert "not imported: 1 image without a JSON file" in str(done.report)
    assert "passed over: 1 JSON file without shapes" in str(done.report)


def test_coordinates_are_on_the_upright_image(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    write_image(src / "a.jpg", SIZE, orientation=8)
    upright = SIZE[::-1]
    write_json(src / "a.json", file("a.jpg", [shape("a", [[5, 40], [30, 40], [30, 55]])], upright))
    write_image(src / "b.jpg", SIZE, orientation=3)  # upside down: its size does not tell
    write_json(src / "b.json", file("b.jpg", [shape("a", [[5, 5], [30, 5], [30, 35]])]))
    done = bring("labelme")
    assert done.ids("train/a").shape == upright
    for name in ("a", "b"):
        assert (done.target / f"images/train/{name}.jpg").read_bytes() == (src / f"{name}.jpg").read_bytes()
    assert done.is_fine()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (shape("x", [[1, 1], [9, 9]], "line"), "a line, which has no area"),
        (shape("x", [[1, 1]], "point"), "a point, which has no area"),
        (shape("x", [[1, 1], [5, 5]]), "an outline of 2 points"),
        (shape("x", [[1, 1], [5, 5], [6, 6]], "circle"), "a circle of 3 points"),
        (shape("x", [[1, 1], [1e300, 5]], "circle"), "beyond 131072"),
        (shape("x", [[1, 1], [5, 5]], "cube"), "shape_type 'cube'"),
        (shape("x", [[1, 1], [5, 5]], ["a"]), "shape_type ['a']"),
        (shape(None, [[1, 1], [5, 5], [1, 5]]), "class name None"),
        (shape("x", [[1, 1], [5, 5]], "mask"), "a PNG in base64 was expected, got None"),
        (shape("x", [[1, 1], [5, 5]], "mask", mask="%%%"), "no PNG in base64"),
        (shape("x", [[1, 1], [5, 5]], "mask", mask=png(BLOB)), "a mask of 20x10 for a box of another size"),
        (shape("x", [[1, 1], [20, 10]], "mask", mask=png(BLOB)[:40]), "no PNG in base64"),
        ("x", "a shape 'x', where a mapping was expected"),
    ],
)
def test_bad_shapes_are_left_out_with_their_reason(
    src: Path, bring: Any, write_image: Write, write_json: Write, bad: Any, reason: str
) -> None:
    write_image(src / "a.jpg", SIZE)
    write_json(src / "a.json", file("a.jpg", [SHAPES[0], bad]))
    done = bring("labelme")
    (said,) = done.report.skipped
    assert reason in said


def test_masks_that_leave_the_image_are_cut(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    write_image(src / "a.jpg", SIZE)
    full = png(np.ones((10, 20)))
    shapes = [
        shape("a", [[-5, -5], [14, 4]], "mask", mask=full),
        shape("a", [[50, 35], [69, 44]], "mask", mask=full),
        shape("a", [[100, 100], [119, 109]], "mask", mask=full),
    ]
    write_json(src / "a.json", file("a.jpg", shapes))
    done = bring("labelme")
    ids = done.ids("train/a") != 0
    assert ids[:5, :15].all()
    assert ids[35:, 50:].all()
    assert ids.sum() == 5 * 15 + 5 * 10
    assert done.report.skipped == {"a shape without a pixel in the image": 1}


def test_two_files_for_one_image(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    write_image(src / "a.jpg", SIZE)
    write_json(src / "a.json", file("a.jpg", SHAPES[:1]))
    write_json(src / "b.json", file("a.jpg", SHAPES[:1]))
    write_json(src / "c.json", file("../../c.jpg", SHAPES[:1]))
    write_json(src / "d.json", file("a.jpg", SHAPES[:1]) | {"imageHeight": "x"})
    done = bring("labelme")
    assert done.report.splits == {"train": 1}
    first, second, third = done.report.failed
    assert "b.json: annotates a.jpg, as a.json does already" in first
    assert "c.json: ../../c.jpg: no such image below" in second
    assert "d.json: height 'x': a whole number" in third


def test_another_layout_is_refused(src: Path, bring: Any, write_image: Write) -> None:
    write_image(src / "a.jpg", SIZE)
    with pytest.raises(FileNotFoundError, match=r"a JSON file with shapes .* was looked for, found a.jpg"):
        bring("labelme")
