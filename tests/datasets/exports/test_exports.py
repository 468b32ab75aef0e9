"""`segattn data export`: what tools' own libraries read is what was written, and importing it again gives it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from segattn.datasets.exports.labelme import LabelmeWriter
from segattn.datasets.exports.run import WRITERS, export_data
from segattn.datasets.exports.samples import named_classes
from segattn.datasets.folder import FolderDataset
from segattn.datasets.formats import decode_rle, encode_rle
from segattn.datasets.imports.run import Choices, import_data

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
SIZE = 50, 70
NAMES = ("background", "plate", "defect")


def smooth(seed: int, values: list[int]) -> np.ndarray:
    """Blobs with holes, islands in them, and single pixels."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((*SIZE, len(values))).astype(np.float32), (0, 0), 3)
    ids = np.array(values, np.uint8)[noise.reshape(*SIZE, -1).argmax(axis=2)]
    ids[rng.random(SIZE) < 0.02] = rng.choice(values)
    return ids


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images of train with background and ignored pixels, in sub-folders; one turned."""
    root = tmp_path / "data"
    for number, name in enumerate(("one/a", "two/a")):
        for kind in ("images", "masks"):
            (root / kind / "train" / name).parent.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
        exif = Image.Exif()
        if number == 1:
            pixels, exif[0x0112] = np.rot90(pixels).copy(), 6
        Image.fromarray(pixels).save(root / "images/train" / f"{name}.jpg", exif=exif)
        Image.fromarray(smooth(number, [0, 1, 2, 255])).save(root / "masks/train" / f"{name}.png")
    rows = "".join(f"  - {{name: {name}, color: [{number}, 0, 9]}}\n" for number, name in enumerate(NAMES))
    (root / "dataset.yaml").write_text(f"classes:\n{rows}upright: true\n")
    return root


@pytest.mark.parametrize("tool", WRITERS)
def test_what_is_exported_and_imported_is_the_same(data: Path, tmp_path: Path, tool: str) -> None:
    report = export_data(tool, data, tmp_path / "out")
    assert (report.images, report.split) == (2, "train")
    reader = {"palette": "voc"}.get(tool, tool)
    done = import_data(reader, tmp_path / "out", tmp_path / "back", choices=Choices(val=0))
    assert done.complete
    assert done.skipped == {}
    before, after = FolderDataset(data, "train"), FolderDataset(tmp_path / "back", "train")
    assert after.classes.names == NAMES
    assert [pair.name for pair in before.pairs] == [pair.name for pair in after.pairs]
    for one, other in zip(before, after, strict=True):
        assert one.mask is not None
        assert np.array_equal(one.mask, other.mask)
        assert np.array_equal(one.image, other.image)
    if tool != "labelme":  # whose files say no colours
        again = export_data(tool, tmp_path / "back", tmp_path / "again")
        assert again.shapes == report.shapes


def test_cocos_own_library_reads_it(data: Path, tmp_path: Path) -> None:
    export_data("coco", data, tmp_path / "out")
    api = COCO(tmp_path / "out/annotations/instances_train.json")
    names = {row["name"]: row["id"] for row in api.loadCats(api.getCatIds())}
    assert set(names) == {"plate", "defect", "ignore"}
    for row, sample in zip(api.loadImgs(api.getImgIds()), FolderDataset(data, "train"), strict=True):
        for annotation in api.loadAnns(api.getAnnIds(imgIds=row["id"])):
            value = {names["plate"]: 1, names["defect"]: 2, names["ignore"]: 255}[annotation["category_id"]]
            inside = api.annToMask(annotation) == 1
            assert np.array_equal(inside, sample.mask == value)
            assert annotation["area"] == inside.sum()
            left, top, width, height = annotation["bbox"]
            assert inside[top : top + height, left : left + width].sum() == inside.sum()


@pytest.mark.parametrize("fill", [0, 1])
def test_run_lengths_there_and_back(fill: int) -> None:
    rng = np.random.default_rng(0)
    for size in ((1, 1), (3, 5), (40, 60), (300, 200)):
        for inside in (rng.random(size) < 0.5, np.full(size, bool(fill)), rng.random(size) < 0.001):
            assert np.array_equal(decode_rle(encode_rle(inside)), inside)


def test_labelmes_polygons_are_exact_when_drawn_in_order(tmp_path: Path) -> None:
    writer = LabelmeWriter(tmp_path, "train", named_classes("camvid"))
    rng = np.random.default_rng(0)
    for number in range(30):
        ids = rng.integers(0, 3, SIZE, np.uint8) if number % 3 == 0 else smooth(number, [0, 1, 2, 255])
        writer.add("a", ".png", ids)
        shapes = json.loads((tmp_path / "train/a.json").read_text())["shapes"]
        canvas = Image.new("L", SIZE[::-1], 77)
        values = {"sky": 0, "building": 1, "pole": 2, "__ignore__": 255}
        for shape in shapes:
            assert shape["shape_type"] == "polygon"
            xy = [tuple(point) for point in shape["points"]]
            assert len(xy) >= 3
            value = values[shape["label"]]
            ImageDraw.Draw(canvas).polygon(xy, outline=value, fill=value)
        assert np.array_equal(np.asarray(canvas), ids)


def test_holes_are_drawn_over_and_background_alone_is_not(tmp_path: Path) -> None:
    ids = np.zeros((20, 20), np.uint8)
    ids[2:18, 2:18], ids[5:15, 5:15], ids[8:12, 8:12] = 1, 0, 2
    (tmp_path / "names.txt").write_text("background\nplate\ndefect\n")
    writer = LabelmeWriter(tmp_path, "train", named_classes(str(tmp_path / "names.txt")))
    writer.add("a", ".png", ids)
    writer.finish()
    shapes = json.loads((tmp_path / "train/a.json").read_text())["shapes"]
    assert [shape["label"] for shape in shapes] == ["plate", "_background_", "defect"]
    assert (tmp_path / "labels.txt").read_text() == "__ignore__\n_background_\nplate\ndefect\n"


def test_predictions_with_their_images(tmp_path: Path, data: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "predictions").mkdir()
    ids = smooth(0, [0, 1, 2])
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "photos/a.jpg")
    Image.fromarray(ids).save(tmp_path / "predictions/a_labels.png")
    Image.fromarray(ids).save(tmp_path / "predictions/a_overlay.png")
    words: dict[str, Any] = {"images": tmp_path / "photos", "classes": str(data)}
    assert export_data("coco", tmp_path / "predictions", tmp_path / "out", **words).images == 1
    done = import_data("coco", tmp_path / "out", tmp_path / "back", choices=Choices(val=0))
    assert [row.name for row in done.classes] == list(NAMES)
    assert np.array_equal(FolderDataset(tmp_path / "back", "train")[0].mask, ids)


def test_splits_lie_side_by_side(data: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (data / kind / "train/one").rename(data / kind / "val")
    for split in ("train", "val"):
        export_data("palette", data, tmp_path / "out", split=split)
    done = import_data("voc", tmp_path / "out", tmp_path / "back")
    assert done.splits == {"train": 1, "val": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tool": "cvat"}, "unknown tool 'cvat'"),
        ({"source": "nowhere"}, "nowhere: no such folder"),
        ({"source": "empty"}, "dataset.yaml or label images .* were looked for, found nothing"),
        ({"source": "predictions"}, "holds label images; --images says where"),
        ({"source": "predictions", "images": "nowhere", "classes": "camvid"}, "nowhere: no such folder; the images"),
        ({"source": "predictions", "images": "empty", "classes": "camvid"}, "empty: no image a, whose labels are"),
        ({"source": "predictions", "images": "empty", "classes": "camvit"}, "--classes camvit: neither .* mean camvid"),
        ({"split": "dev"}, "has no split 'dev'; it has train"),
        ({"target": "data/out"}, "lies in .* or around it"),
        ({"target": "predictions"}, "is there already and no export of this kind"),
        ({"target": "file"}, "file: is a file"),
    ],
)
def test_what_is_refused(data: Path, tmp_path: Path, change: dict[str, str], message: str) -> None:
    for name in ("empty", "predictions"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    Image.fromarray(smooth(0, [0, 1])).save(tmp_path / "predictions/a_labels.png")
    words: dict[str, Any] = {"tool": "coco", "source": "data", "target": "out"} | change
    for key in ("source", "target", "images"):
        if key in words:
            words[key] = tmp_path / words[key]
    call: Callable[..., Any] = export_data
    with pytest.raises((ValueError, OSError), match=message):
        call(words.pop("tool"), words.pop("source"), words.pop("target"), **words)
    assert not (tmp_path / "out").exists()


def test_ids_that_are_no_class_stop(tmp_path: Path) -> None:
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "photos/a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "labels/a.png")
    with pytest.raises(ValueError, match=r"label 77 .* give the --classes of the model"):
        export_data("coco", tmp_path / "labels", tmp_path / "out", images=tmp_path / "photos", classes="camvid")


def test_noise_is_no_work_for_labelme(tmp_path: Path) -> None:
    writer = LabelmeWriter(tmp_path, "train", named_classes("camvid"))
    with pytest.raises(ValueError, match="more than 20000 pieces"):
        writer.add("a", ".png", np.random.default_rng(0).integers(0, 9, (400, 400), np.uint8))
