"""What holds for every tool: names, splits, restarts, and what is refused before work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segattn.datasets.folder import FolderDataset
from segattn.datasets.imports import run
from segattn.datasets.imports.plan import class_ids, target_names, with_splits
from segattn.datasets.imports.run import JOURNAL, Choices, import_data
from segattn.datasets.imports.source import Files, Found, Job, clean_name, split_in_file_name, split_in_path

Write = Callable[..., None]


@pytest.fixture
def export(src: Path, write_image: Write, write_json: Write) -> None:
    """Ten images with one square each, of two classes."""
    images, rows = [], []
    for number in range(10):
        write_image(src / f"{number}.png", (20, 30))
        images.append({"id": number, "file_name": f"{number}.png"})
        square = [2, 2, 12, 2, 12, 12, 2, 12]
        rows.append({"id": number, "image_id": number, "category_id": 1 + (number == 4), "segmentation": [square]})
    categories = [{"id": 1, "name": "many"}, {"id": 2, "name": "one"}]
    write_json(src / "a.json", {"images": images, "annotations": rows, "categories": categories})


@pytest.mark.usefixtures("export")
def test_val_is_chosen_by_names_and_no_class_is_left_to_it_alone(bring: Any, tmp_path: Path) -> None:
    done = bring("coco", val=0.5)
    assert sum(done.report.splits.values()) == 10
    assert 1 <= done.report.splits["val"] <= 7
    assert (done.target / "masks/train/4.png").exists()
    assert "became val by a hash of their names" in str(done.report)
    assert done.is_fine()
    assert done.is_fine("val")
    again = bring("coco", val=0.5, target=tmp_path / "again")
    assert [row["name"] for row in again.report.images] == [row["name"] for row in done.report.images]
    assert "val" not in bring("coco", val=0, target=tmp_path / "none").report.splits


def jobs(*names: str, labels: str = "a", split: str | None = None) -> list[Job]:
    return [Job(Path(name), name, split, lambda canvas: None, frozenset(labels)) for name in names]


def test_others_stay_where_they_are_when_images_come() -> None:
    names = [f"{number}.jpg" for number in range(50)]
    first, _ = with_splits(jobs(*names[:40]), 0.2)
    more, _ = with_splits(jobs(*names), 0.2)
    assert [job.split for job in first] == [job.split for job in more[:40]]
    assert {job.split for job in first} == {"train", "val"}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_are_split_without_emptying_train(count: int) -> None:
    split, _ = with_splits(jobs(*(f"{number}.jpg" for number in range(count))), 0.9)
    assert "train" in {job.split for job in split}
    assert ("val" in {job.split for job in split}) == (count > 1)


def test_own_splits_stay() -> None:
    own = jobs("a.jpg", split="train") + jobs("b.jpg", split="val")
    assert with_splits(own, 0.5) == (own, None)
    names = with_splits(jobs("a.jpg", "b.jpg", split="train") + jobs("c.jpg", split="test"), 0.5)[0]
    assert [job.split for job in names].count("test") == 1


def test_names_differ_on_every_system() -> None:
    names = target_names(jobs("a.jpg", "A.jpg", "images/x/a.jpg", "x/a.jpg", "b.jpg", "b.png", split="train"))
    assert len({name.casefold() for name in names}) == 6
    long = target_names(jobs("é" * 120 + ".jpg", "é" * 120 + "2.jpg", split="train"))
    assert all(len(name.encode()) < 230 for name in long)
    assert len(set(long)) == 2


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train/a.jpg", "train"),
        ("images/valid/a.jpg", "val"),
        ("val2017/a.jpg", "val"),
        ("Testing/a.jpg", "test"),
        ("training_photos/a.jpg", None),
        ("train.jpg", None),
    ],
)
def test_splits_by_folder(path: str, split: str | None) -> None:
    assert split_in_path(path) == split


def test_splits_by_file_name() -> None:
    assert split_in_file_name("annotations/instances_val2017.json") == "val"
    assert split_in_file_name("train/_annotations.coco.json") == "train"
    assert split_in_file_name("instances_default.json") is None


def test_ids_are_in_the_tools_order_with_background_first() -> None:
    found = Found()
    for name in ("b", "_background_", " a ", "__ignore__", "dirt"):
        found.add_class(name)
    assert class_ids(found, ["dirt"]) == {"b": 1, "background": 0, "a": 2, "ignore": 255, "dirt": 255}
    with pytest.raises(ValueError, match=r"--ignore dir: no such class; there are b, .* Did you mean dirt"):
        class_ids(found, ["dir"])


def test_many_classes_are_fine_while_few_are_annotated() -> None:
    found = Found({f"c{number}": None for number in range(1200)}, jobs("a.jpg", labels=""))
    assert class_ids(found, []) == {"background": 0}
    found.jobs = [Job(Path("a"), "a", None, lambda canvas: None, frozenset(found.classes))]
    with pytest.raises(ValueError, match="1200 classes are annotated, and masks hold 253"):
        class_ids(found, [])


@pytest.mark.parametrize("name", [None, 5, "", "  ", "x" * 101, "a\0b", "\x1b[2J"])
def test_names_that_are_none(name: object) -> None:
    with pytest.raises(ValueError, match="class name"):
        clean_name(name)


@pytest.mark.usefixtures("export")
def test_a_stopped_import_goes_on_and_ends_the_same(
    src: Path, tmp_path: Path, bring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bring("coco", target=tmp_path / "whole")
    made = 0
    original = run.palette_png

    def interrupted(*words: Any) -> bytes:
        nonlocal made
        made += 1
        if made == 4:
            raise KeyboardInterrupt
        return original(*words)

    monkeypatch.setattr(run, "palette_png", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bring("coco")
    target = tmp_path / "dst"
    assert not (target / "dataset.yaml").exists()
    assert len(list(target.glob("masks/train/*.png"))) == 3
    with open(target / JOURNAL, "ab") as file:
        file.write(b'{"name": "train/9", "ima')  # a line that a kill cut
    done = bring("coco")
    assert (done.report.kept, done.report.made) == (3, 7)
    assert not list(target.rglob("*.part"))
    for path in sorted(whole.target.rglob("*")):
        if path.is_file() and path.name not in ("import_report.json", JOURNAL):
            assert (target / path.relative_to(whole.target)).read_bytes() == path.read_bytes()
    one, other = (json.loads((folder / "import_report.json").read_text()) for folder in (whole.target, target))
    assert [one[key] for key in ("classes", "splits", "images")] == [
        other[key] for key in ("classes", "splits", "images")
    ]
    (target / "masks/train/0.png").unlink()
    assert bring("coco").report.kept == 9
    assert (target / "masks/train/0.png").exists()


@pytest.mark.usefixtures("export")
def test_a_folder_that_holds_something_else_is_refused(src: Path, tmp_path: Path, bring: Any) -> None:
    bring("coco")
    with pytest.raises(ValueError, match="holds an import of other annotations or with other options"):
        bring("coco", skip_empty=True)
    (src / "a.json").write_text((src / "a.json").read_text().replace("many", "some"))
    with pytest.raises(ValueError, match="holds an import of other annotations or with other options"):
        bring("coco")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("")
    with pytest.raises(ValueError, match="full: is there already and not an empty folder"):
        bring("coco", target=tmp_path / "full")


@pytest.mark.usefixtures("export")
def test_what_is_refused_before_work(src: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cases = [
        ("koko", src, "new", {}, "unknown tool 'koko'. Known: coco, labelme"),
        ("coco", tmp_path / "nowhere", "new", {}, "nowhere: no such folder"),
        ("coco", src / "a.json", "new", {}, "a.json: is a file; give the folder that it lies in"),
        ("coco", src, "src/new", {}, "lies in .*src or around it"),
        ("coco", src, ".", {}, "or around it"),
        ("coco", src, "file", {}, "file: is a file; a new or empty folder"),
        ("coco", src, "new", {"val": 1.0}, "--val 1.0: a share from 0 to below 1"),
        ("coco", src, "new", {"val": float("nan")}, "--val nan"),
        ("coco", src, "new", {"unlabelled": "x"}, "background or ignore was expected"),
    ]
    for tool, source, target, choices, message in cases:
        with pytest.raises((ValueError, OSError), match=message):
            import_data(tool, source, tmp_path / target, choices=Choices(**choices))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "src"]


@pytest.mark.usefixtures("export")
def test_broken_images_do_not_stop_the_others(src: Path, bring: Any) -> None:
    (src / "3.png").write_bytes((src / "3.png").read_bytes()[:200])
    (src / "5.png").write_bytes(b"")
    done = bring("coco")
    assert done.report.splits == {"train": 8}
    assert len(done.report.failed) == 2
    assert not done.report.complete
    assert done.is_fine()
    assert not (done.target / "images/train/3.png").exists()


def test_images_are_found_where_names_agree_best(src: Path, write_image: Write) -> None:
    for name in ("one/train/a.jpg", "two/a.jpg", "two/val/a.jpg", "b.JPG"):
        write_image(src / name)
    files = Files(src)
    assert files.find("a.jpg", near="two") == "two/a.jpg"
    assert files.find("/data/somebody/two/a.jpg") == "two/a.jpg"
    assert files.find("C:\\photos\\train\\a.jpg") == "one/train/a.jpg"
    assert files.find("a.jpg", split="val") == "two/val/a.jpg"
    assert files.find("x/b.jpg") == "b.JPG"
    with pytest.raises(ValueError, match=r"3 images have this name, such as one/train/a.jpg and two/a.jpg"):
        files.find("a.jpg")


@pytest.mark.usefixtures("export")
def test_a_full_disk_is_said(bring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(run, "write_file", full)
    with pytest.raises(OSError, match="No space left"):
        bring("coco")


def test_names_that_yaml_reads_otherwise(src: Path, bring: Any, write_image: Write, write_json: Write) -> None:
    names = ["no", "on", "null", "~", "1", "017", "0x1F", "1:1", "1e3", "2024-01-31"]
    names += ["a: b", "# x", "é", "'", '"', "{x}", "-"]
    write_image(src / "a.png", (40, 40))
    rows = []
    for number in range(len(names)):
        left, top = 8 * (number % 5), 8 * (number // 5)
        square = [left, top, left + 6, top, left + 6, top + 6, left, top + 6]
        rows.append({"id": number, "image_id": 0, "category_id": number, "segmentation": [square]})
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    images = [{"id": 0, "file_name": "a.png"}]
    write_json(src / "a.json", {"images": images, "annotations": rows, "categories": categories})
    done = bring("coco")
    assert [row.name for row in done.report.classes] == ["background", *names]
    assert FolderDataset(done.target, "train").classes.names == ("background", *names)
    assert done.is_fine()
