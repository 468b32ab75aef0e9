"""Lists and tables as other programs write them or as they break, and results of another model in the same folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segattn.cli.main import main
from segattn.predicting.parquet_labels import read_labels

Command = Callable[..., str]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("one.png", "two.png"):
        assert cv2.imwrite(str(folder / name), random.integers(0, 256, (40, 56, 3), np.uint8))
    return folder


def words(source: object, trained: Path, out: Path, *more: object) -> list[str]:
    return [str(word) for word in ("predict", "--model", trained, "--size", "native", "--output", out, *more, source)]


def found(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*_labels.png"))


def test_a_list_of_notepad(run: Command, photos: Path, trained: Path, tmp_path: Path) -> None:
    (photos / "list.txt").write_bytes(b"\xef\xbb\xbfone.png\r\n\r\ntwo.png\r\n")
    run(*words(photos / "list.txt", trained, tmp_path / "out"))
    assert found(tmp_path / "out") == ["one_labels.png", "two_labels.png"]


def test_a_list_of_powershell_is_refused_whole(fail: Command, photos: Path, trained: Path, tmp_path: Path) -> None:
    (photos / "list.txt").write_bytes("one.png\ntwo.png\n".encode("utf-16"))
    error = fail(*words(photos / "list.txt", trained, tmp_path / "out"))
    assert f"{photos / 'list.txt'}: holds null bytes; a list is text in UTF-8 (not UTF-16)" in error
    assert not (tmp_path / "out").exists()


def test_rows_that_name_no_file_leave_the_others(
    photos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = [".", "/", "..", "", "o\0ne.png", "a.p\0ng", "one." + "x" * 300, "x/" * 2500 + "a.png", None]
    pq.write_table(pa.table({"path": [*odd, "two.png"]}), photos / "table.parquet")
    assert main(words(photos / "table.parquet", trained, tmp_path / "out")) == 2
    assert "9 of 10 images can't be read; the others are labelled" in capsys.readouterr().err
    assert found(tmp_path / "out") == ["two_labels.png"]


def test_a_null_byte_in_the_name_of_bytes(
    photos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (photos / "one.png").read_bytes()
    pq.write_table(pa.table({"path": ["a\0b", "fine"], "bytes": [content] * 2}), photos / "table.parquet")
    assert main(words(photos / "table.parquet", trained, tmp_path / "out")) == 2
    assert "no null byte" in capsys.readouterr().err
    assert found(tmp_path / "out") == ["fine_labels.png"]


def test_an_image_column_of_paths(run: Command, photos: Path, trained: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["one.png", "two.png"]}), photos / "table.parquet")
    run(*words(photos / "table.parquet", trained, tmp_path / "out"))
    assert found(tmp_path / "out") == ["one_labels.png", "two_labels.png"]


def test_a_damaged_table_says_where(fail: Command, photos: Path, trained: Path, tmp_path: Path) -> None:
    table = photos / "table.parquet"
    pq.write_table(pa.table({"path": [f"{number}.png" for number in range(2000)]}), table)
    damaged = bytearray(table.read_bytes())
    damaged[60:4000] = b"\xaa" * 3940
    table.write_bytes(damaged)
    assert f"{table}: damaged from row 0 on" in fail(*words(table, trained, tmp_path / "out"))


def test_one_name_from_two_sources_is_not_written_twice(
    photos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "other").mkdir()
    assert cv2.imwrite(str(photos / "other/one.png"), np.zeros((40, 56, 3), np.uint8))
    for folder in (photos, photos / "other"):
        (folder / "list.txt").write_text("one.png\nOne.png\n")
    lists = (photos / "list.txt", photos / "other/list.txt")
    for _ in range(2):  # what is refused is no image that was labelled before
        assert main(words(photos / "two.png", trained, tmp_path / "out", *lists)) == 2
        errors = capsys.readouterr().err
        assert errors.count("an earlier image in this call has results of the same name") == 3, errors
    expected = tmp_path / "alone"
    assert main(words(photos / "one.png", trained, expected)) == 0
    assert (tmp_path / "out/one_labels.png").read_bytes() == (expected / "one_labels.png").read_bytes()
    (photos / "two.txt").write_text("two.png\n")
    capsys.readouterr()
    assert main(words(photos / "two.png", trained, tmp_path / "new", photos / "two.txt")) == 2
    assert "two.png: an earlier image in this call" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [(), ("--parquet",)])
def test_a_single_image_of_another_model_is_not_taken_for_finished(
    kind: tuple[str, ...], run: Command, photos: Path, trained: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", ("--protocol", "multi_flip")
    run(*words(photos, trained, out, *kind))
    assert "2 of 2 images were labelled before" in run(*words(photos, trained, out, *kind))
    run(*words(photos / "one.png", trained, out, *kind))
    assert "2 of 2 images were labelled before" in run(*words(photos, trained, out, *kind))
    run(*words(photos / "one.png", trained, out, *kind, *other))
    assert "labelled before" not in run(*words(photos, trained, out, *kind))


def test_tables_that_are_replaced_are_named_and_others_stay(
    run: Command, photos: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    pq.write_table(pa.table({"path": ["../photos/one.png"]}), out / "labels-mine.parquet")
    said: dict[str, Any] = json.loads(run(*words(photos, trained, out, "--parquet", "--json")))
    assert (said["labelled"], said["tables"]) == (2, [str(out / "labels-00000-00000.parquet")])
    assert "replaced" not in " ".join(said["notes"])
    assert "1 tables of labels of an earlier call" in run(*words(photos, trained, out, "--parquet", "--fresh"))
    assert (out / "labels-mine.parquet").exists()


def test_a_damaged_table_of_labels_is_named(
    fail: Command, run: Command, photos: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(*words(photos, trained, out, "--parquet"))
    (out / "labels-00000-00001.parquet").write_bytes(b"PAR1")
    assert f"{out / 'labels-00000-00001.parquet'}: damaged" in fail(*words(photos, trained, out, "--parquet"))


def test_a_name_that_is_no_text_does_not_cost_a_table(
    photos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "list.txt").write_bytes(b"one.png\nnon\xff.png\ntwo.png\n")
    (photos / "non\udcff.png").write_bytes((photos / "one.png").read_bytes())
    assert main(words(photos / "list.txt", trained, tmp_path / "out", "--parquet")) == 2
    assert "a name that is not UTF-8" in capsys.readouterr().err
    assert list(read_labels(sorted((tmp_path / "out").glob("*.parquet")))) == ["one", "two"]
