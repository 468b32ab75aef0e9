"""Images and results at addresses, by fsspec's own file systems: memory://, local:// and ones that refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from segattn.cli.main import main
from segattn.predicting.addresses import Store, find_addresses, read_address
from segattn.predicting.collection import collect
from segattn.predicting.finished import FILE, finished_in
from segattn.predicting.parquet_labels import table_bytes

Command = Callable[..., str]


@pytest.fixture
def bucket() -> Iterator[Any]:
    """memory://bucket with two images of 56x40, a leftover, a text and a sub-folder with an image."""
    memory = MemoryFileSystem()
    random = np.random.default_rng(0)
    for name in ("one.png", "two.png", ".hidden.png", "deeper/three.png"):
        png = cv2.imencode(".png", random.integers(0, 256, (40, 56, 3), np.uint8))[1].tobytes()
        memory.pipe_file(f"/bucket/{name}", png)
    memory.pipe_file("/bucket/list.txt", b"# a comment\none.png\nmemory://bucket/deeper/three.png\nnone.png\n")
    yield memory
    memory.rm("/bucket", recursive=True)


class Refusing(MemoryFileSystem):
    """Raises what drivers of object stores raise."""

    protocol = "refusing"
    error: Exception = PermissionError("Access Denied")

    def ls(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error

    info = isfile = isdir = glob = pipe_file = ls


@pytest.fixture
def refusing() -> type[Refusing]:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    return Refusing


def words(source: object, trained: Path, out: object, *more: str) -> list[str]:
    return ["predict", str(source), "--model", str(trained), "--size", "native", "--output", str(out), *more]


def test_addresses_name_images_as_folders_and_patterns_do(bucket: Any) -> None:
    assert find_addresses("memory://bucket") == ["memory:///bucket/one.png", "memory:///bucket/two.png"]
    assert find_addresses("memory://bucket/**/*.png")[0] == "memory:///bucket/deeper/three.png"
    assert find_addresses("memory://bucket/one.png") == ["memory://bucket/one.png"]
    images = collect(["memory://bucket", "memory://bucket/list.txt"])
    assert images.total == 5
    assert [item.name for item in images.items()] == ["bucket/one", "bucket/two", "one", "bucket/deeper/three", "none"]
    assert [item.source for item in collect(["memory://bucket/list.txt"]).items()] == [
        "memory://bucket/one.png",
        "memory://bucket/deeper/three.png",
        "memory://bucket/none.png",
    ]


def test_images_at_addresses_are_labelled_as_files_are(
    bucket: Any, run: Command, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("one.png", "two.png"):
        (tmp_path / "photos" / name).write_bytes(bucket.cat_file(f"/bucket/{name}"))
    run(*words(tmp_path / "photos", trained, tmp_path / "files"))
    run(*words("memory://bucket", trained, tmp_path / "out"))
    run(*words(f"file://{tmp_path}/photos", trained, tmp_path / "again"))
    for name in ("one", "two"):
        expected = (tmp_path / f"files/{name}_labels.png").read_bytes()
        assert (tmp_path / f"out/bucket/{name}_labels.png").read_bytes() == expected
        assert (tmp_path / f"again/{name}_labels.png").read_bytes() == expected
    assert main(words("memory://bucket/list.txt", trained, tmp_path / "listed")) == 2
    errors = capsys.readouterr().err
    assert "memory://bucket/none.png: no such file; check the address" in errors
    assert "1 of 3 images can't be read" in errors
    assert (tmp_path / "listed/bucket/deeper/three_labels.png").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://bucket/photos", "s3://bucket/photos: needs a package that is not installed: pip install s3fs"),
        ("nowhere://bucket/photos", "Protocol not known: nowhere"),
        ("memory://bucket/absent", "memory://bucket/absent: no such file or folder; check the address"),
        ("memory://bucket/*.bmp", "no images there"),
        ("memory://bucket/none.txt", "memory://bucket/none.txt: no such file"),
    ],
)
def test_addresses_that_name_nothing_are_one_line(
    bucket: Any, fail: Command, trained: Path, tmp_path: Path, source: str, message: str
) -> None:
    assert message in fail(*words(source, trained, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError("Access Denied"), "(Access Denied; it needs credentials"),
        (RuntimeError("Unable to locate credentials"), "(Unable to locate credentials; it needs credentials"),
        (TimeoutError("timed out\nafter 3 tries"), "(timed out after 3 tries)"),
    ],
)
def test_what_drivers_raise_is_one_line(
    refusing: type[Refusing], fail: Command, trained: Path, tmp_path: Path, error: Exception, message: str
) -> None:
    refusing.error = error
    said = fail(*words("refusing://bucket/photos", trained, tmp_path / "out"))
    assert f"refusing://bucket/photos: can't be read {message}" in said
    with pytest.raises(OSError, match=r"refusing://bucket/labels/x\.png: can.t be written"):
        Store("refusing://bucket/labels").write("x.png", b"")


def test_only_ray_writes_to_an_address(fail: Command, trained: Path) -> None:
    assert "only --ray ADDRESS" in fail(*words("photo.png", trained, "memory://bucket/labels"))


@pytest.mark.parametrize("kind", ["folder", "memory", "local"])
def test_what_is_finished_at_an_address_is_known(kind: str, bucket: Any, tmp_path: Path) -> None:
    roots = {"folder": tmp_path / "out", "memory": "memory://bucket/labels", "local": f"local://{tmp_path}/out"}
    store = Store(roots[kind])
    assert finished_in(store, {"model": "a"}, parquet=False, fresh=False) == {}
    store.write("deep/one_labels.png", b"1")
    assert list(finished_in(store, {"model": "a"}, parquet=False, fresh=False)) == ["deep/one"]
    assert finished_in(store, {"model": "b"}, parquet=False, fresh=False) == {}
    assert finished_in(store, {"model": "b"}, parquet=False, fresh=False) == {}  # older than what b made
    assert finished_in(store, {"model": "b"}, parquet=True, fresh=False) == {}
    store.write("labels-0.parquet", table_bytes([{"name": "deep/one", "labels": b""}]))
    assert list(finished_in(store, {"model": "b"}, parquet=True, fresh=False)) == ["deep/one"]
    assert finished_in(store, {"model": "b"}, parquet=True, fresh=True) == {}
    assert set(store.files()) == {FILE, "deep/one_labels.png"}
    assert store.read("none") is None
    assert read_address("memory://bucket/one.png").startswith(b"\x89PNG")
