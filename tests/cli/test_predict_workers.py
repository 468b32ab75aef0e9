"""segattn predict --workers: the same files, lines, tables and documents as one after another, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from segattn.api import create_model
from segattn.cli.main import main
from segattn.cli.predict_workers import chosen_passes, first_read_at
from segattn.evaluation.protocol import WHOLE
from segattn.machine import limited_threads
from segattn.predicting.collection import collect
from segattn.recipes.catalog import recipe

Command = Callable[..., str]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images of several sizes, and two files that are none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(12):
        size = (40 + 16 * (number % 3), 56)
        assert cv2.imwrite(str(folder / f"{number:02}.png"), random.integers(0, 256, (*size, 3), np.uint8))
    for number in (3, 7):
        (folder / f"{number:02}.png").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize(
    "more", [[], ["--confidence"], ["--protocol", "multi_flip"], ["--parquet"], ["--json"]], ids=" ".join
)
def test_several_workers_do_the_same(
    photos: Path, trained: Path, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("".join(f"photos/{number:02}.png\n" for number in range(12)))
    out = tmp_path / "out"
    said, files = [], []
    for workers in ("1", "3"):
        words = ["predict", str(tmp_path / "list.txt"), "--model", str(trained), "--size", "native"]
        assert main([*words, "--output", str(out), "--workers", workers, *more]) == 2
        output, errors = capsys.readouterr()
        if not more:
            assert ("images/s, 3 at a time on 1 thread each; share of the work: read" in output) == (workers == "3")
        said.append((re.sub(r"[\d.]+ images/s.*\n", "", output), errors))
        files.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
        shutil.rmtree(out)
    assert said[0] == said[1]
    assert "2 of 12 images can't be read; the others are labelled" in said[0][1]
    assert files[0] == files[1]
    assert len(files[0]["failed.txt"].splitlines()) == 2
    if more == ["--json"]:
        rows = json.loads(said[1][0])["images"]
        assert [Path(row["image"]).stem for row in rows] == [f"{n:02}" for n in range(12) if n not in (3, 7)]


def test_a_result_that_can_not_be_written_ends_all(
    fail: Command, photos: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("segattn.predicting.prediction.write_file", full)
    words = [photos, "--model", trained, "--size", "native", "--output", tmp_path / "out", "--workers", "3"]
    assert "No space left on device" in fail("predict", *words)
    assert not list((tmp_path / "out").glob("*.png"))


def test_within_max_memory_windows_and_wholes_are_those_of_one_after_another(
    run: Command, trained: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number, size in enumerate([(480, 640), (64, 64), (470, 640), (96, 64)]):
        assert cv2.imwrite(str(tmp_path / f"photos/{number}.png"), random.integers(0, 256, (*size, 3), np.uint8))
    results = []
    for workers in (1, 2):
        words = [tmp_path / "photos", "--model", trained, "--size", "native", "--max-memory", "35M", "--json"]
        done = json.loads(run("predict", *words, "--output", tmp_path / f"out{workers}", "--workers", workers))
        labels = [(tmp_path / f"out{workers}/{number}_labels.png").read_bytes() for number in range(4)]
        results.append(([row["window"] for row in done["images"]], labels))
    assert results[0] == results[1]
    assert results[0][0] == [256, None, 256, None]


def chosen(folder: Path, device: str, threads: int, **changes: object) -> tuple[int, int]:
    arguments = Namespace(**{"workers": None, "max_memory": None, "size": "trained", **changes})
    images = collect([str(folder)])
    model = create_model("attanet_light_camvid")
    with limited_threads(threads):
        read_at = first_read_at(arguments, images, recipe("attanet_light_camvid"), WHOLE, model)
        passes = chosen_passes(arguments, read_at, images.total, torch.device(device), WHOLE, model)
    return passes.workers, passes.threads


def test_as_many_as_there_are_threads_and_memory(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(photos, "cpu", 4) == (4, 1)
    assert chosen(photos, "cpu", 1) == (1, 1)
    assert chosen(photos, "cpu", 4, workers=2) == (2, 2)
    assert chosen(photos, "meta", 4) == (1, 1)
    assert chosen(photos, "cpu", 4, max_memory=60 << 20) == (2, 2)
    monkeypatch.setattr("segattn.machine.available_memory", lambda: 150 << 20)
    assert chosen(photos, "cpu", 4) == (3, 1)
    assert chosen(photos, "cpu", 4, size="native") == (4, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert chosen(photos, "cpu", 4) == (1, 4)
    monkeypatch.setattr("segattn.machine.available_memory", lambda: None)
    assert chosen(photos, "cpu", 4) == (1, 4)


def test_an_accelerator_refuses_several(photos: Path) -> None:
    with pytest.raises(ValueError, match="--workers 2: is for the CPU, and this is meta"):
        chosen(photos, "meta", 4, workers=2)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["photo.png", "--workers", "0"], "'0': expected a whole number from 1"),
        (["photo.png", "--workers", "many"], "'many': expected a whole number from 1"),
        (["photo.png", "--workers", "2", "--ray", "local"], "--ray-workers says how many the cluster has"),
        (
            ["street.mp4", "--workers", "2", "--smooth", "0.5"],
            "--workers 2: with --smooth each frame needs the one before",
        ),
        (["camera:0", "--workers", "2"], "--workers 2: a camera's frames are labelled as they come"),
        (["scene.tif", "--raster", "--workers", "2"], "--workers: is for images and not for rasters; leave it out"),
    ],
)
def test_one_line_for_what_is_wrong(fail: Command, more: list[str], problem: str) -> None:
    assert problem in fail("predict", *more)


def test_an_engine_is_measured_and_opened_for_the_threads_that_run(
    photos: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, int]] = []

    def on_engine(model: object, engine: str, size: object, *, say: object, workers: int) -> SimpleNamespace:
        asked.append((workers, torch.get_num_threads()))
        return SimpleNamespace(model=model, words="engine: one")

    monkeypatch.setattr("segattn.exporting.fastest.on_engine", on_engine)
    words = ["predict", str(photos), "--model", str(trained), "--size", "native", "--engine", "auto"]
    with limited_threads(4):
        for more in ([], ["--fresh", "--workers", "2"], ["--fresh", "--workers", "1"]):
            assert main([*words, "--output", str(tmp_path / "out"), *more]) == 2
    assert asked == [(4, 1), (2, 2), (1, 4)]
    assert "4 at a time on 1 thread each" in capsys.readouterr().out
