"""What `check` finds in a CamVid tree with one of everything that can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segattn.contracts import Classes, Sample
from segattn.datasets.camvid import CamVid
from segattn.datasets.check import check, check_named
from segattn.datasets.folder import FolderDataset


def write(root, name, image=(6, 8), mask=None):
    for folder in ("images/train", "labels/train"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / "images/train" / f"{name}.jpg"), np.full((*image, 3), 100, np.uint8))
    mask = np.zeros(image, np.uint8) if mask is None else mask
    cv2.imwrite(str(root / "labels/train" / f"{name}.png"), mask)


@pytest.fixture
def root(tmp_path):
    mask = np.zeros((6, 8), np.uint8)
    mask[:2] = 3
    mask[2] = 255
    write(tmp_path, "a", mask=mask)
    write(tmp_path, "b")
    return tmp_path


def test_a_good_data_set(root):
    report = check(CamVid(root, "train"))
    assert report.ok
    assert report.samples == 2
    assert [(row.value, row.meaning, row.pixels, row.images) for row in report.values] == [
        (0, "sky", 24 + 48, 2),
        (3, "road", 16, 1),
        (255, "ignored", 8, 1),
    ]
    assert report.sizes == ((8, 6, 2),)
    assert set(report.absent) == {*CamVid.classes.names} - {"sky", "road"}
    assert report.notes == ()
    text = str(report)
    assert "nothing wrong found" in text
    assert "75.00%       2  sky" in text
    assert json.loads(report.to_json())["values"][1] == {"value": 3, "meaning": "road", "pixels": 16, "images": 1}


def test_everything_that_is_wrong_is_found_at_once(root):
    odd = np.zeros((6, 8), np.uint8)
    odd[0, :3] = 77
    write(root, "c", mask=odd)
    write(root, "d", mask=odd)
    write(root, "e", mask=np.zeros((8, 6), np.uint8))
    write(root, "f", mask=np.zeros((3, 4), np.uint8))
    write(root, "g")
    write(root, "h")
    image, label = root / "images/train/g.jpg", root / "labels/train/h.png"
    image.write_bytes(image.read_bytes()[:200])
    label.write_bytes(b"")

    report = check(CamVid(root, "train"))
    assert not report.ok
    found = [(problem.kind, Path(problem.path).name) for problem in report.problems]
    assert found == [
        ("size", "e.png"),
        ("size", "f.png"),
        ("image", "g.jpg"),
        ("label", "h.png"),
        ("unknown id", "c.png"),
    ]
    by_name = {Path(problem.path).name: problem for problem in report.problems}
    assert by_name["c.png"].what == "value 77 has no class: 6 pixels in 2 label files"
    assert "11-class" in by_name["c.png"].fix
    assert "upright" in by_name["e.png"].fix
    assert by_name["f.png"].what == "is 4x3, f.jpg is 8x6"
    assert "cut short" in by_name["g.jpg"].what
    assert by_name["g.jpg"].fix == "copy it again"
    assert "empty" in by_name["h.png"].what
    assert next(row for row in report.values if row.value == 77).meaning == "unknown"
    assert report.sizes == ((8, 6, 7),)
    assert "5 problems" in str(report)


def test_a_missing_partner_is_reported_with_both_counts(root):
    (root / "labels/train/b.png").unlink()
    report = check_named("camvid", root, "train")
    (problem,) = report.problems
    assert problem.kind == "layout"
    assert "no label file for b.jpg" in problem.what
    assert "2 images" in problem.what
    assert problem.fix == "complete the copy"
    assert json.loads(report.to_json())["problems"][0]["kind"] == "layout"


def test_a_count_that_is_not_the_published_one_is_a_note(root):
    report = check_named("camvid", root, "train")
    assert report.ok
    assert report.notes == ("2 samples, the published split has 367; a part of it can't be compared with papers",)
    with pytest.raises(ValueError, match="unknown data set"):
        check_named("camvit", root, "train")


def test_mostly_ignored_labels_are_a_note(tmp_path):
    write(tmp_path, "a", mask=np.full((6, 8), 255, np.uint8))
    report = check(CamVid(tmp_path, "train"))
    assert report.notes == ("100 percent of the pixels are ignored or unknown",)


class Own:
    """Somebody's own data set."""

    classes = Classes(names=("no", "yes"), palette=((0, 0, 0), (255, 255, 255)))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        image = np.zeros((4, 4, 3), np.uint8)
        if index == 1:
            raise ValueError("one.tif: is damaged; copy it again")
        if index == 2:
            return Sample(image, np.full((4, 5), 2, np.uint8), "two", Path("two.tif"))
        return Sample(image, None if index == 3 else np.eye(4, dtype=np.uint8), str(index), Path(f"{index}.tif"))


def test_own_data_sets():
    report = check(Own())
    assert [(row.value, row.meaning, row.pixels) for row in report.values] == [
        (0, "no", 12),
        (1, "yes", 4),
        (2, "unknown", 20),
    ]
    assert report.unlabelled == 1
    assert [problem.kind for problem in report.problems] == ["image", "size", "unknown id"]
    assert report.problems[2].fix == "masks hold 0..1 and 255"


def turned_folder(root: Path, more: str = "") -> None:
    """Images that are stored upside down, with masks drawn on what is seen: red above, of the class crack."""
    (root / "images/train").mkdir(parents=True)
    (root / "masks/train").mkdir(parents=True)
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:20], stored[20:] = (30, 30, 200), (200, 30, 30)
    exif = Image.Exif()
    exif[274] = 3
    for name in "ab":
        Image.fromarray(stored).save(root / f"images/train/{name}.jpg", quality=95, exif=exif)
        mask = np.zeros((40, 60), np.uint8)
        mask[:20] = 1
        cv2.imwrite(str(root / f"masks/train/{name}.png"), mask)
    (root / "dataset.yaml").write_text(
        "classes:\n- {name: a, color: [0, 0, 0]}\n- {name: crack, color: [9, 9, 9]}\n" + more
    )


def test_images_that_are_stored_turned_are_named_and_read_upright(tmp_path):
    turned_folder(tmp_path)
    report = check(FolderDataset(tmp_path, "train"))
    text = str(report)
    assert not report.ok
    for name in "ab":
        assert f"{name}.jpg: has the EXIF orientation 3, and dataset.yaml doesn't say" in text
    sample = FolderDataset(tmp_path, "train")[0]
    np.testing.assert_allclose(sample.image[sample.mask == 1].mean(0), (200, 30, 30), atol=8)


@pytest.mark.parametrize(("upright", "colour"), [("true", (200, 30, 30)), ("false", (30, 30, 200))])
def test_a_data_set_says_whether_images_are_read_upright(tmp_path, upright, colour):
    turned_folder(tmp_path, f"upright: {upright}\n")
    dataset = FolderDataset(tmp_path, "train")
    assert check(dataset).ok
    sample = dataset[0]
    np.testing.assert_allclose(sample.image[sample.mask == 1].mean(0), colour, atol=8)
