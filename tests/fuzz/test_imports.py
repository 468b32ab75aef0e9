"""Seeded hostile exports of every labelling tool: imported into a folder that can be read, or refused in one line."""

from __future__ import annotations

import base64
import collections
import io
import json
import random
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segattn.datasets.formats import encode_rle

BATCHES, CASES = 4, 350
_LONGEST_MESSAGE = 2000
_MOST_SECONDS = 10.0
_MEMORY = 3 << 30
_HEIGHT, _WIDTH = 20, 30
_SQUARE = [[2, 2], [15.5, 2], [15, 12.25], [2, 12]]
_TOOLS = ("coco", "labelme", "label-studio", "cvat", "yolo", "rgb", "voc")


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _json_of(tool: str) -> Any:
    flat = [value for point in _SQUARE for value in point]
    if tool == "coco":
        encoded = encode_rle(np.eye(_HEIGHT, _WIDTH, dtype=np.bool_))["counts"]
        outlines = ([flat], {"size": [20, 30], "counts": [40, 10, 550]}, {"size": [20, 30], "counts": encoded})
        rows = [
            {"id": n, "image_id": n % 2, "category_id": 1 + n % 2, "segmentation": outline, "iscrowd": int(n == 5)}
            for n, outline in enumerate((*outlines, *outlines))
        ]
        images = [{"id": n, "file_name": f"{n}.png", "height": _HEIGHT, "width": _WIDTH} for n in range(2)]
        return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    if tool == "labelme":
        mask = base64.b64encode(_png(np.ones((4, 5), np.uint8))).decode()
        shapes: list[Any] = [
            {"label": "a", "points": _SQUARE, "shape_type": "polygon", "group_id": None},
            {"label": "b", "points": _SQUARE[:2], "shape_type": "rectangle"},
            {"label": "a", "points": _SQUARE[1:3], "shape_type": "circle"},
            {"label": "b", "points": [[1, 1], [5, 4]], "shape_type": "mask", "mask": mask},
        ]
        return {"shapes": shapes, "imagePath": "0.png", "imageHeight": _HEIGHT, "imageWidth": _WIDTH}
    sizes = {"original_width": _WIDTH, "original_height": _HEIGHT, "image_rotation": 0}
    values = (
        ("polygon", {"points": _SQUARE}),
        ("rectangle", {"x": 10, "y": 10, "width": 20, "height": 30, "rotation": 15}),
        ("ellipse", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 0}),
        ("brush", {"format": "rle", "rle": [0, 0, 9, 96, 57, 27, 224, 150, 47, 255]}),
    )
    result = [
        {"id": kind, "type": f"{kind}labels", "value": {**value, f"{kind}labels": ["a"]}, **sizes}
        for kind, value in values
    ]
    return [{"id": n, "data": {"image": f"/x/{n}.png"}, "annotations": [{"result": result}]} for n in range(2)]


def _text_of(tool: str) -> tuple[str, bytes]:
    """A file's path, and its content."""
    if tool == "cvat":
        points = ";".join(f"{x},{y}" for x, y in _SQUARE)
        shapes = (
            f'<polygon label="a" points="{points}" z_order="1"/>'
            '<box label="b" xtl="1" ytl="1" xbr="9" ybr="9" rotation="20"/>'
            '<ellipse label="a" cx="9" cy="9" rx="4" ry="5"/>'
            '<mask label="b" rle="2, 5, 5" left="1" top="2" width="4" height="3"/>'
        )
        images = "".join(f'<image name="{n}.png" width="30" height="20">{shapes}</image>' for n in range(2))
        labels = "<labels><label><name>a</name><color>#ff0000</color></label></labels>"
        return "annotations.xml", f"<annotations><meta><task>{labels}</task></meta>{images}</annotations>".encode()
    if tool == "yolo":
        return "labels/0.txt", b"0 0.1 0.1 0.5 0.1 0.5 0.6\n1 0.2 0.2 0.9 0.2 0.9 0.9\n"
    if tool == "rgb":
        return "legend.csv", b"name,r,g,b\nbackground,0,0,0\na,255,0,0\n"
    return "labelmap.txt", b"# label\nbackground:0,0,0::\na:255,0,0::\n"


def _deep(value: Any, rng: random.Random, changed: Any, depth: int) -> Any:
    """`value` with something `depth` levels below its top changed."""
    if depth and isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return {**value, key: _deep(value[key], rng, changed, depth - 1)}
    if depth and isinstance(value, list) and value:
        place = rng.randrange(len(value))
        return [*value[:place], _deep(value[place], rng, changed, depth - 1), *value[place + 1 :]]
    return changed(value, rng)


def _renumbered(data: bytes, rng: random.Random) -> bytes:
    """A text with one of its numbers, or words, replaced."""
    parts = re.split(r"([-\w.]+)", data.decode())
    values = (
        "",
        "0",
        "-1",
        "1e999",
        "nan",
        "9" * 5000,
        "131073",
        "99999999999",
        "2.5",
        "../../x",
        "<",
        "&x;",
        "\x1b",
        "é",
    )
    parts[rng.randrange(1, len(parts), 2)] = rng.choice(values)
    return "".join(parts).encode()


def _write(tool: str, folder: Path, rng: random.Random, changed: Any, mutated: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)
    images = {"voc": "JPEGImages", "labelme": ".", "coco": "x"}.get(tool, "images")
    (folder / images).mkdir(exist_ok=True)
    for number in range(2):
        data = _png(noise)
        (folder / images / f"{number}.png").write_bytes(mutated(data, rng) if rng.random() < 0.05 else data)
    if tool in ("coco", "labelme", "label-studio"):
        content = _json_of(tool)
        for _ in range(rng.choice((1, 1, 2))):
            content = _deep(content, rng, changed, rng.choice((2, 3, 4, 6)))
        data = json.dumps(content).encode()
        (folder / "a.json").write_bytes(mutated(data, rng) if rng.random() < 0.1 else data)
        return
    path, data = _text_of(tool)
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_bytes(mutated(data, rng) if rng.random() < 0.2 else _renumbered(data, rng))
    if tool == "yolo":
        text = b"train: images\nnames: [a, b]\n"
        (folder / "data.yaml").write_bytes(mutated(text, rng) if rng.random() < 0.3 else text)
    if tool in ("rgb", "voc"):
        masks = folder / ("masks" if tool == "rgb" else "SegmentationClass")
        masks.mkdir()
        for number in range(2):
            pixels = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[np.eye(_HEIGHT, _WIDTH, dtype=np.uint8)]
            (masks / f"{number}.png").write_bytes(mutated(_png(pixels), rng) if rng.random() < 0.3 else _png(pixels))


def _run_batch(seed: int, base: Path) -> None:
    """The cases of one seed; prints what became of them. Runs in a process of its own, which a crash would end."""
    from test_annotations import _changed, _mutated  # beside this file

    from segattn.datasets.folder import FolderDataset
    from segattn.datasets.imports.run import import_data

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    rng = random.Random(seed)
    counts: collections.Counter[str] = collections.Counter()
    folder = base / f"case{seed}"
    for index in range(CASES):
        shutil.rmtree(folder, ignore_errors=True)
        source, target = folder / "src", folder / "dst"
        source.mkdir(parents=True)
        tool = _TOOLS[index % len(_TOOLS)]
        _write(tool, source, rng, _changed, _mutated)
        start, messages = time.monotonic(), []
        try:
            report = import_data(tool, source, target)
            messages = [*report.failed, *report.skipped, *report.notes]
            for split in report.splits:
                dataset = FolderDataset(target, split)
                counts["masks made"] += len([dataset[number] for number in range(len(dataset))])
            counts["shapes left out"] += sum(report.skipped.values())
            counts["images refused"] += len(report.failed)
        except (ValueError, OSError) as error:
            messages = [str(error)]
            counts["exports refused"] += 1
            assert not (target / "dataset.yaml").exists(), index
        except BaseException as error:
            raise AssertionError(f"case {index} of seed {seed}, {tool}") from error
        assert time.monotonic() - start < _MOST_SECONDS, index
        for message in messages:
            one_line = message.isprintable() and len(message) <= _LONGEST_MESSAGE
            assert one_line, (index, message[:500])
        assert {path.name for path in folder.iterdir()} <= {"src", "dst"}, index
        counts["cases"] += 1
    assert [path.name for path in base.glob("*") if not path.name.startswith("case")] == [], "a name led out"
    print(json.dumps(counts))


@pytest.mark.slow
def test_hostile_exports_are_imported_or_refused(
    run_batches: Callable[[str, int, str], collections.Counter[str]],
) -> None:
    total = run_batches(__file__, BATCHES, "hostile exports")
    assert total["cases"] == BATCHES * CASES == 1400
    assert total["masks made"] > 500
    assert total["shapes left out"] > 100
    assert total["exports refused"] > 200


if __name__ == "__main__":
    _run_batch(int(sys.argv[1]), Path(sys.argv[2]))
