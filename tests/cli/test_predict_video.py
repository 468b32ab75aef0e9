"""segattn predict on videos: what is written and printed, and one line for each thing that is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import segattn
from segattn.cli.main import main
from segattn.exporting import fastest
from segattn.machine import limited_threads
from segattn.predicting.video.read import open_source

Command = Callable[..., str]
Film = Callable[..., Path]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def words(trained: Path, tmp_path: Path) -> tuple[object, ...]:
    return ("--model", trained, "--output", tmp_path / "out", "--size", "native")


def test_an_overlay_with_its_legend(run: Command, film: Film, words: tuple[object, ...], tmp_path: Path) -> None:
    about, first, second, third = run("predict", film(), *words).splitlines()
    assert about.startswith("attanet_light_camvid: made for")
    out = tmp_path / "out"
    assert re.fullmatch(rf"{tmp_path}/street\.mp4: ([a-z ]+ <?[\d.]+%(, )?)+", first)
    assert second.split() == [str(out / "street_overlay.mp4"), str(out / "street_legend.png")]
    assert re.fullmatch(
        r"  12 frames of 64x48, 0\.4 s, labelled in [\d.]+ s: [\d.]+ frames/s; "
        r"share of the work: read <?[\d.]+%, network <?[\d.]+%, write <?[\d.]+%",
        third,
    )
    assert names(out) == ["street_legend.png", "street_overlay.mp4"]
    assert len(list(open_source(out / "street_overlay.mp4").frames())) == 12
    assert cv2.imread(str(out / "street_legend.png")) is not None


def test_labels_and_both(run: Command, film: Film, words: tuple[object, ...], tmp_path: Path) -> None:
    source = film(frames=3)
    run("predict", source, *words, "--video", "labels")
    assert names(tmp_path / "out") == ["street_labels.mp4"]
    said = run("predict", source, *words, "--video", "both", "--every", "2", "--smooth", "0.5", "--seconds", "1")
    assert f"\nnote: {tmp_path / 'out' / 'street_labels.mp4'} is replaced once the new one is whole\n" in said
    assert names(tmp_path / "out") == ["street_labels.mp4", "street_legend.png", "street_overlay.mp4"]
    maps = [frame.pixels[..., 0] for frame in open_source(tmp_path / "out/street_labels.mp4").frames()]
    assert [labels.max() < 11 for labels in maps] == [True] * 2


def test_json(run: Command, film: Film, words: tuple[object, ...], tmp_path: Path) -> None:
    said = json.loads(run("predict", film(frames=3), *words, "--json"))
    assert set(said) == {"model", "protocol", "videos", "failed"}
    (row,) = said["videos"]
    assert (row["frames"], row["size"], row["read_at"], row["seconds"]) == (3, [48, 64], [48, 64], 0.1)
    assert set(row["stages"]) == {"read", "network", "write"}
    assert set(row["files"]) == {"overlay", "legend"}


def test_frames_go_through_the_network_beside_one_another(
    run: Command, film: Film, words: tuple[object, ...], tmp_path: Path
) -> None:
    source, written = film(frames=6), []
    with limited_threads(3):
        for more in ((), ("--workers", "1"), ("--smooth", "0.5")):
            said = run("predict", source, *words, "--video", "labels", *more)
            assert ("frames/s, 3 at a time on 1 thread each; share of the work" in said) == (not more)
            written.append((tmp_path / "out" / "street_labels.mp4").read_bytes())
    assert written[0] == written[1]


def test_the_size_at_which_frames_are_read(run: Command, film: Film, words: tuple[object, ...]) -> None:
    last = run("predict", film(frames=2), *words[:-1], "100").splitlines()[-1]
    assert last == "  64x48 frames read at 100x75; --size native to read them as they are"


def test_a_cut_video_exits_with_2_and_leaves_what_was_read(
    film: Film, words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, whole = film("cut.mkv", frames=30), film("whole.mp4", frames=2)
    cut.write_bytes(cut.read_bytes()[:-3000])
    assert main(["predict", str(cut), str(whole), *map(str, words)]) == 2
    said = capsys.readouterr()
    *_, last = said.err.splitlines()
    assert re.fullmatch(rf"segattn: error: {cut}: cut short by 3000 bytes; \d+ frames could be read", last)
    assert "whole_overlay.mp4" in said.out
    assert "cut_overlay.mp4" in said.out
    assert {"cut_overlay.mp4", "whole_overlay.mp4"} <= set(names(tmp_path / "out"))


def test_a_video_that_can_not_be_read_does_not_stop_the_others(
    film: Film, words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_text("no video\n" * 50)
    film("b.mp4", frames=2)
    assert main(["predict", str(tmp_path / "[ab].mp4"), *map(str, words)]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert f"{tmp_path / 'a.mp4'}: no MP4, MOV" in said.err
    assert names(tmp_path / "out") == ["b_legend.png", "b_overlay.mp4"]


def test_a_camera(
    run: Command, fail: Command, words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "camera:0: a camera never ends; give --seconds" in fail("predict", "camera:0", *words)

    class Camera:
        def __init__(self, *_: object) -> None: ...

        def isOpened(self) -> bool:
            return True

        def get(self, key: int) -> float:
            return 1000.0 if key == cv2.CAP_PROP_FPS else 0.0

        def read(self) -> tuple[bool, np.ndarray]:
            return True, np.full((48, 63, 3), 90, np.uint8)

        def release(self) -> None: ...

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    said = run("predict", "camera:0", *words, "--seconds", "0.2", "--video", "labels")
    assert "frames of 63x48, 0.2 s" in said
    assert "an odd number of rows or columns: the results have one more of them, 255 in labels" in said
    assert names(tmp_path / "out") == ["camera0_labels.mp4"]
    monkeypatch.undo()
    labels = next(iter(open_source(tmp_path / "out" / "camera0_labels.mp4").frames())).pixels[..., 0]
    assert labels[:, :63].max() < 11
    assert set(labels[:, 63]) == {255}


def test_one_line_for_what_is_wrong(
    fail: Command, film: Film, words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = film(frames=2)
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.zeros((48, 64, 3), np.uint8))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "take videos and images in separate calls" in fail("predict", source, photo, *words)
    assert "--every: is for videos, and none is named" in fail("predict", photo, *words, "--every", "2")
    for option in ("--confidence", "--fresh", "--parquet"):
        assert f"{option}: is for images only" in fail("predict", source, *words, option)
    assert "--video labels writes none" in fail("predict", source, *words, "--codec", "vp9", "--video", "labels")
    assert "needs the ffmpeg program" in fail("predict", source, *words, "--audio", "keep")
    assert "smooth 2: expected 0" in fail("predict", source, *words, "--smooth", "2")
    assert "no such video" in fail("predict", tmp_path / "none.mp4", *words)
    assert "no video matches this pattern" in fail("predict", tmp_path / "*.mkv", *words)
    assert "would both write street_overlay.mp4" in fail("predict", source, film("street.avi", tag="MJPG"), *words)
    (tmp_path / "out").mkdir(exist_ok=True)
    copy = tmp_path / "out" / "street_overlay.mp4"
    copy.write_bytes(source.read_bytes())
    assert "would be written and is a source itself" in fail("predict", source, copy, *words)
    copy.unlink()
    copy.mkdir()
    assert "street_overlay.mp4: can't be written (is a folder)" in fail("predict", source, *words)


def test_a_full_disk(fail: Command, film: Film, words: tuple[object, ...], tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    source = film(frames=12)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        error = fail("predict", source, *words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error == f"{tmp_path / 'out' / 'street_overlay.mp4'}: can't be written (File too large)"
    assert names(tmp_path / "out") == []


def test_the_engine_runs_videos_too(
    fail: Command,
    film: Film,
    words: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is what labels: here one that names itself when it is first run."""
    assert "--fold: is of torch" in fail("predict", film(), *words, "--engine", "auto", "--fold")

    def named(model: segattn.Segmenter, engine: str, size: tuple[int, int], **_: object) -> fastest.Running:
        def refuse(*_: object) -> None:
            raise ValueError(f"run by {engine}")

        model.backbone.register_forward_pre_hook(refuse)  # type: ignore[union-attr]
        return fastest.Running(model, f"engine: {engine}")

    monkeypatch.setattr(fastest, "on_engine", named)
    assert main(["predict", str(film()), *map(str, words), "--engine", "openvino"]) == 2
    assert capsys.readouterr().err.splitlines() == ["engine: openvino", "segattn: error: run by openvino"]
