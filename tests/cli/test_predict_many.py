"""Many images: lists, tables, results as a table, and calls that do the rest of one that was stopped."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from segattn.cli.main import main
from segattn.predicting.collection import collect, result_name
from segattn.predicting.parquet_labels import read_labels

Command = Callable[..., str]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images in two folders, two of one name."""
    random = np.random.default_rng(0)
    for name in ("a/one.png", "a/two.png", "b/one.png", "b/three.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "photos" / name), random.integers(0, 256, (40, 56, 3), np.uint8))
    return tmp_path / "photos"


def found(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*_labels.png"))


def words(source: Path, trained: Path, out: Path, *more: str) -> list[str]:
    return ["predict", str(source), "--model", str(trained), "--size", "native", "--output", str(out), *more]


def test_a_list_keeps_its_folders_apart_and_names_what_is_bad(
    photos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a/broken.png").write_bytes(b"no image")
    lines = ["# a comment", "a/one.png", "", str(photos / "b/one.png"), "a/broken.png", "a/none.png", "a/one.jpg"]
    (photos / "list.txt").write_text("\n".join([*lines, "s3://bucket/x.png", "../photos/b/three.jpg", ""]))
    assert main(words(photos / "list.txt", trained, tmp_path / "out")) == 2
    said, errors = capsys.readouterr()
    absolute = "/".join(photos.parts[1:])
    expected = sorted(["a/one_labels.png", f"{absolute}/b/one_labels.png", "photos/b/three_labels.png"])
    assert found(tmp_path / "out") == expected
    failed = (tmp_path / "out/failed.txt").read_text().splitlines()
    assert len(failed) == 4
    for reason in (
        "broken.png",
        "none.png",
        "a/one.jpg: an earlier image in",
        "s3://bucket/x.png: needs a package that is not installed: pip install s3fs",
    ):
        assert any(reason in line for line in failed), reason
        assert reason in errors
    assert "4 of 7 images can't be read; the others are labelled" in errors
    assert "share of the work: read" in said
    for name in ("a/broken.png", "a/none.png"):
        assert cv2.imwrite(str(photos / name), np.zeros((40, 56, 3), np.uint8))
    (photos / "list.txt").write_text("a/broken.png\na/none.png\na/one.png\n")
    assert main(words(photos / "list.txt", trained, tmp_path / "out")) == 0
    assert not (tmp_path / "out/failed.txt").exists()


def test_what_is_finished_is_left_and_what_is_not_is_done(
    run: Command, photos: Path, trained: Path, tmp_path: Path
) -> None:
    out, source = tmp_path / "out", photos / "a"
    run(*words(source, trained, out))
    times = {file: os.stat(out / file).st_mtime_ns for file in found(out)}
    said = run(*words(source, trained, out))
    assert "note: 2 of 2 images were labelled before" in said
    assert times == {file: os.stat(out / file).st_mtime_ns for file in found(out)}
    (out / "one_overlay.png").unlink()
    assert "1 of 2 images were labelled before" in run(*words(source, trained, out))
    assert times["two_labels.png"] == os.stat(out / "two_labels.png").st_mtime_ns
    assert "labelled before" not in run(*words(source, trained, out, "--fresh"))
    assert "labelled before" not in run(*words(source, trained, out, "--tint-all"))
    assert "labelled before" not in run(*words(source, trained, out, "--protocol", "multi_flip", "--tint-all"))
    assert "2 of 2" in run(*words(source, trained, out, "--protocol", "multi_flip", "--tint-all"))
    later = os.stat(out / "one_labels.png").st_mtime_ns + 10**9
    os.utime(source / "one.png", ns=(later, later))
    assert "1 of 2 images were labelled before" in run(
        *words(source, trained, out, "--protocol", "multi_flip", "--tint-all")
    )
    one = run("predict", source / "two.png", "--model", trained, "--output", out)
    assert "labelled before" not in one
    listed = json.loads(run(*words(source, trained, out, "--json")))
    assert len(listed["images"]) + listed["finished"] == 2


def test_tables_of_paths_and_of_images(run: Command, photos: Path, trained: Path, tmp_path: Path) -> None:
    run(*words(photos / "a", trained, tmp_path / "files"))
    expected = {name: (tmp_path / f"files/{name}_labels.png").read_bytes() for name in ("one", "two")}
    paths = ["a/one.png", "a/two.png"]
    data = [(photos / path).read_bytes() for path in paths]
    pairs = [{"bytes": content, "path": path} for content, path in zip(data, paths, strict=True)]
    tables = {
        "paths": {"id": [0, 1], "path": paths},
        "images": {"image": data},
        "both": {"path": paths, "bytes": data},
        "pairs": {"image": pairs},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), photos / f"{name}.parquet")
        run(*words(photos / f"{name}.parquet", trained, tmp_path / name))
        files = [tmp_path / name / file for file in found(tmp_path / name)]
        assert [file.read_bytes() for file in files] == list(expected.values()), name
    assert found(tmp_path / "images") == ["image00000000_labels.png", "image00000001_labels.png"]
    assert found(tmp_path / "pairs") == ["a/one_labels.png", "a/two_labels.png"]


def test_labels_as_a_table(
    run: Command, fail: Command, photos: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*words(photos / "a", trained, tmp_path / "files"))
    monkeypatch.setattr("segattn.predicting.parquet_labels._ROWS", 3)
    out = tmp_path / "out"
    (photos / "list.txt").write_text("a/one.png\na/two.png\nb/one.png\nb/three.jpg\n")
    said = run(*words(photos / "list.txt", trained, out, "--parquet"))
    parts = sorted(out.glob("*.parquet"))
    assert [file.name for file in parts] == ["labels-00000-00000.parquet", "labels-00000-00001.parquet"]
    assert str(parts[1]) in said
    labels = read_labels(parts)
    assert list(labels) == ["a/one", "a/two", "b/one", "b/three"]
    assert labels["a/two"] == (tmp_path / "files/two_labels.png").read_bytes()
    assert Image.open(io.BytesIO(labels["b/three"])).size == (56, 40)
    parts[1].unlink()
    assert "3 of 4 images were labelled before" in run(*words(photos / "list.txt", trained, out, "--parquet"))
    assert read_labels(sorted(out.glob("*.parquet"))) == labels
    run(*words(photos / "list.txt", trained, out, "--parquet", "--protocol", "multi_flip"))
    assert list(read_labels(sorted(out.glob("*.parquet")))) == list(labels)
    error = fail(*words(photos / "list.txt", trained, tmp_path / "no", "--parquet", "--confidence"))
    assert "leave out --parquet" in error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"# nothing\n\n", "names no images"),
        ("none.txt", None, "no such file"),
        ("other.parquet", {"url": ["x"]}, "has the columns url; expected one of paths"),
        ("broken.parquet", b"PAR1 no", "no Parquet file, or a damaged one"),
    ],
)
def test_lists_that_name_nothing_are_one_line(
    fail: Command, trained: Path, tmp_path: Path, name: str, content: bytes | dict[str, list[str]] | None, message: str
) -> None:
    path = tmp_path / name
    if isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    elif content is not None:
        path.write_bytes(content)
    error = fail(*words(path, trained, tmp_path / "out"))
    assert message in error
    assert str(path) in error
    assert not (tmp_path / "out").exists()


def test_a_listed_image_is_not_replaced_by_its_labels(
    photos: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (photos / "a/one.png").read_bytes()
    (photos / "a/one.png").rename(photos / "a/one_labels.png")
    os.symlink(photos / "a/one_labels.png", photos / "a/one.png")
    (photos / "list.txt").write_text("a/one.png\na/two.png\n")
    assert main(words(photos / "list.txt", trained, photos)) == 2
    assert "a/one.png: would be replaced by its own results" in capsys.readouterr().err
    assert (photos / "a/one_labels.png").read_bytes() == before


def test_a_list_is_read_as_it_is_come_to(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"x/{number}.png\n" for number in range(1000)))
    images = collect([str(tmp_path / "list.txt")])
    assert images.total == 1000
    items = images.items()
    assert next(items).source == tmp_path / "x/0.png"
    (tmp_path / "list.txt").write_text("")
    assert sum(1 for _ in items) < 1000


@pytest.mark.parametrize(
    ("text", "name"),
    [("a/b.c.png", "a/b.c"), ("/a/b.png", "a/b"), ("../../b.png", "b"), ("s3://k/a/b.jpg", "k/a/b"), ("..", "image")],
)
def test_names_stay_below_the_output_folder(text: str, name: str) -> None:
    assert result_name(text) == name
