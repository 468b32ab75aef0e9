"""`segattn data import coco`, against the masks that pycocotools draws."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
Write = Callable[..., None]
SIZE = 40, 60
CATEGORIES = [{"id": 7, "name": "plate", "supercategory": "x"}, {"id": 3, "name": "defect"}, {"id": 9, "name": "never"}]


def annotation(number: int, image: int, category: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "image_id": image, "category_id": category, "segmentation": segmentation, "area": 1.0,
        "bbox": [0, 0, 1, 1], "iscrowd": 0, **more,
    }  # fmt: skip


def packed(inside: np.ndarray, *, text: bool) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(inside.astype(np.uint8)))
    if text:
        return {"size": list(rle["size"]), "counts": rle["counts"].decode()}
    runs = np.diff(np.flatnonzero(np.diff(np.r_[2, inside.T.ravel(), 2])))
    counts = [*([0] if inside[0, 0] else []), *runs.tolist()]
    return {"size": list(inside.shape), "counts": counts}


@pytest.fixture
def export(src: Path, write_image: Write, write_json: Write) -> Callable[..., None]:
    """COCO's own layout: annotations/instances_train2017.json, train2017/, val2017/."""

    def write(annotations: list[dict[str, Any]], *, split: str = "train", count: int = 2, **size: Any) -> None:
        images = []
        for number in range(count):
            name = f"{number:012}.jpg"
            write_image(src / f"{split}2017" / name, SIZE)
            images.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1], **size})
        content = {"info": {}, "images": images, "annotations": annotations, "categories": CATEGORIES}
        write_json(src / "annotations" / f"instances_{split}2017.json", content)

    return write


def some_annotations(image: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(image)
    blob = np.zeros(SIZE, np.bool_)
    blob[5:30, 20:50] = rng.random((25, 30)) < 0.5
    corner = np.zeros(SIZE, np.bool_)
    corner[:3, :4] = True
    outline = lambda: (rng.uniform(0, 1, (6, 2)) * SIZE[::-1]).round(2).ravel().tolist()  # noqa: E731
    return [
        annotation(10 * image, image, 7, [outline(), outline()]),
        annotation(10 * image + 1, image, 3, packed(blob, text=True)),
        annotation(10 * image + 2, image, 7, packed(corner, text=False)),
        annotation(10 * image + 3, image, 3, [outline()]),
    ]


def test_masks_are_those_of_cocos_own_library(src: Path, bring: Any, export: Any) -> None:
    export([*some_annotations(0), *some_annotations(1)])
    export(some_annotations(0), split="val", count=1)
    done = bring("coco")
    for split, count in (("train", 2), ("val", 1)):
        api = COCO(src / "annotations" / f"instances_{split}2017.json")
        for number in range(count):
            truth = np.zeros(SIZE, np.uint8)
            for row in api.loadAnns(api.getAnnIds(imgIds=number)):
                truth[api.annToMask(row) == 1] = {7: 1, 3: 2}[row["category_id"]]
            assert np.array_equal(done.ids(f"{split}/{number:012}"), truth)
    assert [(row.name, row.id) for row in done.report.classes] == [("background", 0), ("plate", 1), ("defect", 2)]
    assert done.report.unused == ("never",)
    assert done.report.splits == {"train": 2, "val": 1}
    assert done.is_fine()
    assert done.is_fine("val")
    first = src / "train2017" / f"{0:012}.jpg"
    assert (done.target / "images/train" / first.name).read_bytes() == first.read_bytes()


def test_crowds_are_ignored_below_all_others(bring: Any, export: Any, tmp_path: Path) -> None:
    crowd = np.zeros(SIZE, np.bool_)
    crowd[:, :30] = True
    square = [10, 10, 20, 10, 20, 20, 10, 20]
    rows = [annotation(1, 0, 3, [square]), annotation(2, 0, 7, packed(crowd, text=True), iscrowd=1)]
    export(rows, count=1)
    done = bring("coco")
    ids = done.ids("train/000000000000")
    assert (ids[10:20, 10:20] == done.id_of("defect")).all()
    assert np.array_equal(ids == 255, crowd & (ids != done.id_of("defect")))
    assert done.report.ignored_regions == 1
    assert "1 annotation with iscrowd: 1 became 255" in str(done.report)
    with pytest.raises(ValueError, match="with other options"):
        bring("coco", crowd="class")
    done = bring("coco", crowd="class", target=tmp_path / "other")
    assert np.array_equal(done.ids("train/000000000000") == done.id_of("plate"), crowd)


def test_images_without_annotations_are_background_or_left_out(bring: Any, export: Any, tmp_path: Path) -> None:
    export(some_annotations(0), count=2)
    done = bring("coco")
    assert not done.ids("train/000000000001").any()
    assert done.report.background_only == 1
    done = bring("coco", skip_empty=True, target=tmp_path / "other")
    assert done.report.splits == {"train": 1}
    assert done.report.left_out == 1
    assert not (done.target / "masks/train/000000000001.png").exists()
    assert done.is_fine()


def test_unlabelled_pixels_are_ignored_on_request(bring: Any, export: Any) -> None:
    export(some_annotations(0), count=1)
    done = bring("coco", unlabelled="ignore")
    assert [row.name for row in done.report.classes] == ["plate", "defect"]
    assert set(np.unique(done.ids("train/000000000000"))) == {1, 2, 255}
    assert done.is_fine()


@pytest.mark.parametrize(("said", "same_file"), [((40, 60), False), ((60, 40), True)])
def test_turned_images_agree_with_their_masks(
    src: Path, bring: Any, write_image: Write, write_json: Write, said: tuple[int, int], same_file: bool
) -> None:
    write_image(src / "a.jpg", SIZE, orientation=6)  # stored 60x40 (width x height), shown 40x60
    images = [{"id": 1, "file_name": "a.jpg", "height": said[0], "width": said[1]}]
    square = annotation(1, 1, 7, [[10, 10, 20, 10, 20, 20, 10, 20]])
    write_json(src / "a.json", {"images": images, "annotations": [square], "categories": CATEGORIES})
    done = bring("coco")
    assert done.ids("train/a").shape == said
    (copy,) = (done.target / "images/train").iterdir()
    assert (copy.read_bytes() == (src / "a.jpg").read_bytes()) is same_file
    assert copy.suffix == (".jpg" if same_file else ".png")
    assert done.is_fine()


def test_where_sizes_do_not_tell_it_is_said(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    write_image(src / "a.jpg", SIZE, orientation=3)  # upside down
    images = [{"id": 1, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}]
    square = annotation(1, 1, 7, [[10, 10, 20, 10, 20, 20, 10, 20]])
    write_json(src / "a.json", {"images": images, "annotations": [square], "categories": CATEGORIES})
    done = bring("coco")
    assert "1 image turned (EXIF orientation) so that the size does not tell" in str(done.report)
    stored = np.asarray(Image.open(src / "a.jpg"))
    assert np.array_equal(np.asarray(Image.open(done.target / "images/train/a.png")), stored)


def test_roboflows_layout_and_equal_names(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    for split in ("train", "valid", "test"):
        write_image(src / split / "a.jpg", SIZE)
        content = {
            "images": [{"id": 0, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}],
            "annotations": [annotation(0, 0, 7, [[1, 1, 30, 1, 30, 30]])],
            "categories": CATEGORIES,
        }
        write_json(src / split / "_annotations.coco.json", content)
    done = bring("coco")
    assert done.report.splits == {"train": 1, "val": 1, "test": 1}
    assert sorted(path.parent.name for path in done.target.glob("images/*/a.jpg")) == ["test", "train", "val"]


def test_equal_names_stay_apart(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    images = []
    for number, name in enumerate(("one/a.jpg", "two/a.jpg", "two/A.png", "two/a.jpeg")):
        write_image(src / "images" / name, SIZE)
        images.append({"id": number, "file_name": name})
    rows = [annotation(number, number, 7, [[1, 1, 5 + number, 1, 5, 9]]) for number in range(4)]
    write_json(src / "a.json", {"images": images, "annotations": rows, "categories": CATEGORIES})
    done = bring("coco")
    names = sorted(path.relative_to(done.target / "masks").as_posix() for path in done.target.glob("masks/**/*.png"))
    assert names == ["train/one/a.png", "train/two/A-png.png", "train/two/a-jpeg.png", "train/two/a-jpg.png"]
    assert done.is_fine()


def test_names_lead_nowhere(src: Path, bring: Any, write_image: Write, write_json: Write, tmp_path: Path) -> None:
    write_image(tmp_path / "outside.jpg", SIZE)
    write_image(src / "inside.jpg", SIZE)
    names = [
        "../outside.jpg",
        str(tmp_path / "outside.jpg"),
        "..\\outside.jpg",
        "",
        "x\0y",
        5,
        None,
        "../src/inside.jpg",
    ]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    rows = [annotation(1, 7, 7, [[1, 1, 30, 1, 30, 30]])]
    write_json(src / "a.json", {"images": images, "annotations": rows, "categories": CATEGORIES})
    done = bring("coco")
    assert done.report.splits == {"train": 1}
    assert len(done.report.failed) == 7
    assert not done.report.complete
    assert "no such image below" in done.report.failed[0]


HUGE = 10**30
BAD = [
    ([[1, 2, 3, 4]], "an outline of 2 points"),
    ([[1, 2, float("nan"), 4, 5, 6]], "NaN or infinite"),
    ([[1, 2, HUGE, 4, 5, 6]], "beyond 131072 pixels"),
    ([], "without a segmentation"),
    (None, "without a segmentation"),
    ("polygon", "polygons or run lengths were expected"),
    ([[500, 500, 600, 500, 600, 600]], "without a pixel in the image"),
    ({"size": [40, 60], "counts": [HUGE, 1]}, "run lengths add up to"),
    ({"size": [40, 60], "counts": [2300, -1, 101]}, "can't be negative"),
    ({"size": [40, 60], "counts": "oooooooooooooooooooooo"}, "longer than any mask"),
    ({"size": [1 << 20, 1 << 20], "counts": [1 << 40]}, "are read at most"),
    ({"size": [60, 40], "counts": [2400]}, "run lengths of 40x60 in an image of 60x40"),
]


@pytest.mark.parametrize(("segmentation", "reason"), BAD)
def test_bad_shapes_are_left_out_with_their_reason(bring: Any, export: Any, segmentation: Any, reason: str) -> None:
    export([annotation(1, 0, 7, [[1, 1, 30, 1, 30, 30]]), annotation(2, 0, 3, segmentation)], count=1)
    done = bring("coco")
    (said,) = done.report.skipped
    assert reason in said
    assert done.report.complete
    assert "1 shape not drawn:" in str(done.report)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "brackets too deep"),
        ("{", "not readable as JSON"),
        ("[]", "a JSON file with images, annotations and categories was looked for, found a.json"),
        ('{"images": [1], "annotations": [], "categories": []}', "images.0: a mapping with id and file_name"),
        ('{"images": [], "annotations": [[]], "categories": []}', "annotations.0: a mapping with image_id"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "class name None: text was expected"),
        ('{"images": [], "annotations": [], "categories": []}', "no image to import"),
        ('{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []}', "no such image below"),
        (f'{{"images": {"9" * 5000}, "annotations": [], "categories": []}}', "not readable as JSON"),
    ],
)
def test_other_files_are_refused(src: Path, bring: Any, text: str, message: str) -> None:
    (src / "a.json").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        bring("coco")
    assert not (src.parent / "dst" / "dataset.yaml").exists()


def test_two_files_for_one_image_are_refused_until_one_is_chosen(src: Path, bring: Any, export: Any) -> None:
    export(some_annotations(0), count=1)
    first = src / "annotations/instances_train2017.json"
    (src / "annotations/instances_more.json").write_text(first.read_text())
    with pytest.raises(ValueError, match=r"as annotations/instances_more.json does already; name the files to read"):
        bring("coco")
    assert bring("coco", annotations=("annotations/instances_more.json",)).report.complete


def test_an_image_of_another_size_is_left_out(bring: Any, export: Any) -> None:
    export(some_annotations(0), count=2, height=41)
    with pytest.raises(ValueError, match=r"none of 2 images .* is 60x40, and its annotations are for 60x41"):
        bring("coco")


def test_json_of_the_report(bring: Any, export: Any) -> None:
    export(some_annotations(0), count=1)
    done = bring("coco")
    report = json.loads((done.target / "import_report.json").read_text())
    assert report["images"][0]["source"] == "train2017/000000000000.jpg"
    assert report["classes"][1]["shapes"] == 2
    with Image.open(done.target / "masks/train/000000000000.png") as mask:
        assert mask.getpalette()[3:6] == [128, 0, 0]
