"""`segattn data import voc` and `rgb`: masks that are drawn already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segattn.datasets.base import distinct_colours
from segattn.datasets.imports.legend import parse_legend
from segattn.datasets.imports.rgb import _key

Write = Callable[..., None]
SIZE = 40, 60
COLOURS = {"background": (0, 0, 0), "road": (128, 64, 128), "car": (0, 0, 142), "ignore": (70, 130, 180)}


def some_ids(seed: int, values: list[int]) -> np.ndarray:
    return np.random.default_rng(seed).choice(values, SIZE).astype(np.uint8)


def write_palette(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    image.putpalette([value for colour in distinct_colours(256) for value in colour])
    image.save(path)


def write_colours(path: Path, ids: np.ndarray, colours: dict[str, tuple[int, int, int]] = COLOURS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(list(colours.values()), np.uint8)[ids]).save(path)


@pytest.fixture
def devkit(src: Path, write_image: Write) -> Path:
    """VOC2012 with 2 images for train, 1 for val, one that no list names, and one name without a mask."""
    folder = src / "VOCdevkit/VOC2012"
    for number in range(4):
        write_image(folder / "JPEGImages" / f"2007_{number}.jpg", SIZE)
        write_palette(folder / "SegmentationClass" / f"2007_{number}.png", some_ids(number, [0, 1, 15, 255]))
        write_palette(folder / "SegmentationObject" / f"2007_{number}.png", some_ids(number, [0, 1, 2]))
    lists = folder / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_0\n2007_1\n")
    (lists / "val.txt").write_text("2007_2\n2007_9\n")
    (lists / "trainval.txt").write_text("2007_0\n2007_1\n2007_2\n")
    return folder


@pytest.mark.usefixtures("devkit")
def test_vocs_own_indices_and_splits(bring: Any) -> None:
    done = bring("voc")
    assert done.report.splits == {"train": 2, "val": 1}
    assert [(row.name, row.id) for row in done.report.classes] == [("background", 0), ("aeroplane", 1), ("person", 15)]
    for name, seed in (("train/2007_0", 0), ("val/2007_2", 2)):
        assert np.array_equal(done.ids(name), some_ids(seed, [0, 1, 15, 255]))
    text = str(done.report)
    assert "the indices are taken as VOC's own 21 classes" in text
    assert "not imported: 1 mask that no list in ImageSets/Segmentation names" in text
    assert "not imported: 1 listed name without a mask" in text
    assert done.is_fine()


def test_labelme2vocs_names_by_line(bring: Any, devkit: Path) -> None:
    (devkit / "class_names.txt").write_text("_background_\n" + "\n".join(f"c{n}" for n in range(1, 16)))
    done = bring("voc")
    assert [row.name for row in done.report.classes] == ["background", "c1", "c15"]
    assert np.array_equal(done.ids("train/2007_1"), some_ids(1, [0, 1, 15, 255]))


def test_an_index_without_a_name_stops_that_image_alone(bring: Any, devkit: Path) -> None:
    write_palette(devkit / "SegmentationClass/2007_1.png", some_ids(1, [0, 1, 34]))
    done = bring("voc")
    assert done.report.splits == {"train": 1, "val": 1}
    (line,) = done.report.failed
    assert "2007_1.png: no name for index 34; 21 classes are known (class_names.txt" in line


def test_cvats_segmentation_masks(src: Path, bring: Any, write_image: Write) -> None:
    for name in ("a", "sub/b"):
        write_image(src / f"JPEGImages/{name}.png", SIZE)
        write_colours(src / f"SegmentationClass/{name}.png", some_ids(len(name), [0, 1, 2, 3]))
    (src / "ImageSets/Segmentation").mkdir(parents=True)
    (src / "ImageSets/Segmentation/default.txt").write_text("a\nsub/b\n")
    head = "# label:color_rgb:parts:actions\n"
    rows = [f"{name}:{','.join(map(str, colour))}::" for name, colour in reversed(COLOURS.items())]
    (src / "labelmap.txt").write_text(head + "\n".join(rows) + "\n")
    for tool in ("voc", "cvat"):
        done = bring(tool, target=src.parent / tool)
        assert [(row.name, row.id) for row in done.report.classes] == [("background", 0), ("car", 1), ("road", 2)]
        table = np.array([0, 2, 1, 255], np.uint8)
        assert np.array_equal(done.ids("train/a"), table[some_ids(1, [0, 1, 2, 3])])
        assert np.array_equal(done.ids("train/sub/b"), table[some_ids(5, [0, 1, 2, 3])])
        assert done.is_fine()
    with Image.open(src.parent / "voc/masks/train/a.png") as mask:
        assert mask.getpalette()[3:6] == list(COLOURS["car"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda src: None, r"SegmentationClass/\*.png was looked for, found nothing"),
        (lambda src: write_palette(src / "SegmentationClass/a.png", some_ids(0, [0])), "JPEGImages/.* was looked for"),
        (
            lambda src: [write_palette(src / one / "SegmentationClass/a.png", some_ids(0, [0])) for one in ("x", "y")],
            "SegmentationClass is in 'x/' and 'y/'; give one of these folders",
        ),
    ],
)
def test_other_layouts_of_voc_are_refused(src: Path, bring: Any, make: Callable[[Path], Any], message: str) -> None:
    make(src)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        bring("voc")


LEGENDS = {
    "class_dict.csv": "name,r,g,b\n" + "\n".join(f"{name},{r},{g},{b}" for name, (r, g, b) in COLOURS.items()),
    "plain.csv": "\n".join(f"{name}, {r}, {g}, {b}" for name, (r, g, b) in COLOURS.items()),
    "other.csv": "Blue,Red,Green,Label\n" + "\n".join(f"{b},{r},{g},{name}" for name, (r, g, b) in COLOURS.items()),
    "labelmap.txt": "# x\n" + "\n".join(f"{name}:{r},{g},{b}::" for name, (r, g, b) in COLOURS.items()),
    "label_colors.txt": "\n".join(f"{r} {g} {b}\t{name}" for name, (r, g, b) in COLOURS.items()),
    "legend.json": json.dumps(COLOURS),
    "classes.json": json.dumps({"classes": [{"name": name, "color": list(c)} for name, c in COLOURS.items()]}),
    "hex.json": json.dumps([{"label": name, "rgb": "#{:02x}{:02x}{:02x}".format(*c)} for name, c in COLOURS.items()]),
}


@pytest.mark.parametrize("name", LEGENDS)
def test_legends_of_all_forms(name: str) -> None:
    assert parse_legend(name, LEGENDS[name].encode()) == {colour: label for label, colour in COLOURS.items()}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "0 colours"),
        ("a.csv", "a,b\n1,2", "heading a,b: name,r,g,b was expected"),
        ("a.csv", "road,1,2,300", "red, green and blue of 0 to 255"),
        ("a.csv", "road,1,2,3\nroad,4", "row 'road,4'"),
        ("a.csv", "road,1,2,3\ncar,1,2,3", r"colour \(1, 2, 3\) is both road and car"),
        ("a.txt", "road", "line 'road': name:red,green,blue was expected"),
        ("a.txt", "road:1,2", "red, green and blue"),
        ("a.txt", ":1,2,3", "class name ''"),
        ("a.json", "[" * 100_000, "brackets too deep"),
        ("a.json", "5", "was expected"),
        ("a.json", '{"a": [1, 2, NaN]}', "red, green and blue"),
        ("a.json", '[{"name": "a"}]', "colour None"),
        ("a.json", json.dumps({str(n): [n >> 8, n & 255, 0] for n in range(2000)}), "2000 colours"),
        ("a.csv", "x" * (2 << 20), "bytes, and a legend of at most"),
    ],
)
def test_bad_legends_are_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_legend(name, text.encode())


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/train/a.jpg", "masks/train/a.png"),
        ("train/images/x/a.jpg", "train/labels/x/a.png"),
        ("train/a.png", "train_labels/a_L.png"),
        ("train/a.png", "trainannot/a.png"),
        ("a.jpg", "a_mask.png"),
        ("img/a_rgb.png", "gt/a_gt.png"),
        ("JPEGImages/a.jpg", "SegmentationClass/a.png"),
    ],
)
def test_pairs_by_name(image: str, mask: str) -> None:
    assert _key(image) == (_key(mask)[0], False)
    assert _key(mask)[1]


@pytest.mark.parametrize("layout", ["images/{}.jpg masks/{}.png", "{0}.jpg {0}_mask.png"])
def test_colours_become_ids(src: Path, bring: Any, write_image: Write, layout: str) -> None:
    image, mask = layout.split()
    for number in range(3):
        write_image(src / image.format(number), SIZE)
        write_colours(src / mask.format(number), some_ids(number, [0, 1, 2, 3]))
    write_image(src / image.format("without"), SIZE)
    (src / "legend.csv").write_text(LEGENDS["plain.csv"])
    done = bring("rgb")
    assert done.report.splits == {"train": 3}
    for number in range(3):
        truth = np.array([0, 1, 2, 255], np.uint8)[some_ids(number, [0, 1, 2, 3])]
        assert np.array_equal(done.ids(f"train/{number}"), truth)
    assert "not imported: 1 image without a mask" in str(done.report)
    assert done.is_fine()


def test_classes_are_ignored_on_request(src: Path, bring: Any, write_image: Write) -> None:
    write_image(src / "images/a.jpg", SIZE)
    write_colours(src / "masks/a.png", some_ids(0, [1, 2]))
    (src / "legend.csv").write_text(LEGENDS["plain.csv"])
    done = bring("rgb", ignore=("car",))
    assert set(np.unique(done.ids("train/a"))) == {1, 255}
    assert [row.name for row in done.report.classes] == ["road"]
    assert done.is_fine()


def test_colours_without_a_name_and_lossy_masks(src: Path, bring: Any, write_image: Write) -> None:
    for name in ("a", "b", "c", "d"):
        write_image(src / f"images/{name}.jpg", SIZE)
    write_colours(src / "masks/a.png", some_ids(0, [0, 1]))
    write_colours(src / "masks/b.png", np.eye(*SIZE, dtype=np.uint8), {"background": (0, 0, 0), "x": (1, 2, 3)})
    write_colours(src / "masks/c.jpg", some_ids(0, [0, 1]))
    write_colours(src / "masks/d.png", some_ids(0, [0, 1])[:20])
    (src / "legend.csv").write_text(LEGENDS["plain.csv"])
    done = bring("rgb")
    assert done.report.splits == {"train": 1}
    first, second, third = done.report.failed
    assert "b.png: no name for (1, 2, 3) in 40 pixels; add it to the legend" in first
    assert "c.jpg: JPEG changes colours" in second
    assert "d.jpg: is 60x40, and its annotations are for 60x20" in third


def test_the_size_of_a_mask_says_how_its_image_is_turned(src: Path, bring: Any, write_image: Write) -> None:
    for name, shape in (("upright", SIZE[::-1]), ("stored", SIZE)):
        write_image(src / f"images/{name}.jpg", SIZE, orientation=6)
        write_colours(src / f"masks/{name}.png", np.ones(shape, np.uint8))
    (src / "legend.csv").write_text(LEGENDS["plain.csv"])
    done = bring("rgb")
    assert sorted(path.name for path in (done.target / "images/train").iterdir()) == ["stored.png", "upright.jpg"]
    assert done.is_fine()


def test_what_is_missing_or_unclear_is_said(src: Path, bring: Any, write_image: Write, tmp_path: Path) -> None:
    write_image(src / "images/a.jpg", SIZE)
    with pytest.raises(FileNotFoundError, match=r"a legend such as labelmap.txt, .* was looked for, found images/"):
        bring("rgb")
    (src / "legend.csv").write_text(LEGENDS["plain.csv"])
    with pytest.raises(FileNotFoundError, match=r"masks .* was looked for"):
        bring("rgb")
    write_colours(src / "masks/a.png", some_ids(0, [0, 1]))
    (src / "labelmap.txt").write_text(LEGENDS["labelmap.txt"])
    with pytest.raises(ValueError, match=r"labelmap.txt, legend.csv are all legends; choose one with --legend"):
        bring("rgb")
    assert bring("rgb", legend=src / "legend.csv").report.complete
    write_colours(src / "masks/a_mask.png", some_ids(0, [0, 1]))
    with pytest.raises(ValueError, match="both seem to be the mask of a; keep one"):
        bring("rgb", legend=src / "legend.csv", target=tmp_path / "x")
