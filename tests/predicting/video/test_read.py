"""Frames and their times, from files that are whole, turned, cut, damaged, or no video at all."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from struct import pack
from typing import Any

import cv2
import numpy as np
import pytest

from segattn.predicting.video import read
from segattn.predicting.video.containers import missing_bytes, require_video
from segattn.predicting.video.mp4 import set_times
from segattn.predicting.video.read import Frame, FrameSource, open_source
from segattn.predicting.video.write import require_place

Film = Callable[..., Path]


def all_of(source: FrameSource) -> list[Frame]:
    return list(source.frames())


def test_every_frame_comes_with_its_time(film: Film) -> None:
    source = open_source(film())
    frames = all_of(source)
    assert [frame.number for frame in frames] == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx([number / 30 for number in range(12)])
    assert (source.count, source.rate, source.end, source.problems) == (12, 30, pytest.approx(0.4), [])
    bright = frames[11].pixels[10:22, 24:36].mean((0, 1))  # written as blue 30, green 140, red 250
    assert bright == pytest.approx([250, 140, 30], abs=25)


@pytest.mark.parametrize(("name", "tag"), [("a.avi", "MJPG"), ("a.mkv", "FFV1"), ("a.mov", "mp4v"), ("a.webm", "VP80")])
def test_kinds_of_file(film: Film, name: str, tag: str) -> None:
    source = open_source(film(name, tag=tag))
    assert len(all_of(source)) == 12
    assert source.problems == []


def test_only_some_of_the_frames(film: Film) -> None:
    source = open_source(film(), every=5)
    assert source.count == 3
    assert [frame.number for frame in all_of(source)] == [0, 5, 10]
    assert source.end == pytest.approx(0.4)
    source = open_source(film(), seconds=0.2)
    assert len(all_of(source)) == source.count == 6
    assert source.end == pytest.approx(0.2)


def test_variable_rates(film: Film) -> None:
    path, times = film(frames=5), [0.0, 0.04, 0.5, 0.51, 2.0]
    set_times(path, array("d", times), 2.5)
    source = open_source(path)
    assert [frame.time for frame in all_of(source)] == pytest.approx(times, abs=1e-4)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_frames_are_turned_upright(film: Film, matrix: tuple[int, ...], turns: int) -> None:
    """The matrix of the track's header is what phones write: a quarter turn to the right, a half, one to the left."""
    lying = all_of(open_source(film("lying.mp4")))[3].pixels
    path = film("turned.mp4")
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 0x10000 for value in matrix)
    data[place : place + 36] = pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    upright = all_of(open_source(path))[3].pixels
    assert np.array_equal(upright, np.rot90(lying, turns))


def test_pixels_that_are_not_square(film: Film) -> None:
    path = film(frames=3)
    set_times(path, array("d", [0, 0.1, 0.2]), 0.3, Fraction(16, 11))
    assert open_source(path).pixel_aspect == Fraction(16, 11)


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_a_cut_file_gives_what_is_there_and_says_so(film: Film, name: str) -> None:
    path = film(name, frames=40)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    source = open_source(path)
    assert 5 < len(all_of(source)) < 40
    last = source.problems[-1]
    assert f"cut short by {len(whole) - len(whole) * 2 // 3} bytes" in last
    assert last.endswith("frames could be read")


def test_an_mp4_file_cut_before_its_index(film: Film) -> None:
    path = film()
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(
        ValueError, match=r"street\.mp4: cut short by \d+ bytes, its index among them; nothing can be read"
    ):
        open_source(path)


def test_frames_that_can_not_be_decoded_are_counted_and_the_rest_is_read(film: Film) -> None:
    path = film("a.mkv", tag="MJPG")
    data = bytearray(path.read_bytes())
    starts = [place for place in range(len(data)) if data[place : place + 3] == b"\xff\xd8\xff"]
    for start in starts[4:6]:
        data[start : start + 600] = bytes(600)
    path.write_bytes(data)
    source = open_source(path)
    assert [round(30 * frame.time) for frame in all_of(source)] == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert source.problems == [f"{path}: 2 frames can't be decoded, the first after 0.10 s"]


def test_last_frames_that_can_not_be_decoded(film: Film) -> None:
    path = film("a.mkv", tag="MJPG")
    data = bytearray(path.read_bytes())
    starts = [place for place in range(len(data)) if data[place : place + 3] == b"\xff\xd8\xff"]
    for start in starts[10:]:
        data[start : start + 600] = bytes(600)
    path.write_bytes(data)
    source = open_source(path)
    assert len(all_of(source)) == 10
    assert source.problems == [f"{path}: the last 2 frames can't be decoded; the 10 before could be read"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello\n" * 100, "no MP4, MOV, MKV, .* file by its first bytes"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "no MP4, MOV, MKV"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "no MP4, MOV, MKV"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(500), "damaged, without a video track, or of a codec"),
        (b"\x1aE\xdf\xa3" + b"\xff" * 500, "damaged, without a video track"),
        (b"RIFF\x00\x00\x00\x00AVI LIST" + bytes(300), "damaged, without a video track"),
    ],
)
def test_no_video(tmp_path: Path, content: bytes, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.mp4: .*{reason}"):
        open_source(path)
    assert capfd.readouterr().err == ""


def test_names_that_opencv_can_not_take(film: Film) -> None:
    """OpenCV 5.0.0 ends the process with a segmentation fault."""
    path = film()
    other = path.with_name("street\udcff.mp4")
    try:
        path.rename(other)
    except (OSError, UnicodeError):
        pytest.skip("the file system takes UTF-8 only")
    with pytest.raises(ValueError, match="not UTF-8, which OpenCV can't take"):
        open_source(other)
    with pytest.raises(ValueError, match="not UTF-8, which OpenCV can't take"):
        require_place(other)
    path = path.with_name("%03d é 日本.mp4")
    other.rename(path)
    assert len(all_of(open_source(path))) == 12


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such video"):
        open_source(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="is a folder"):
        open_source(tmp_path)


def test_huge_frames_are_refused_before_they_are_decoded(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(ValueError, match="frames of 64x48; from 1 to 3071 pixels are read"):
        open_source(film())


def test_no_frames(film: Film) -> None:
    path = film("a.avi", frames=1, tag="MJPG")
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\xd8\xff")
    data[start : start + 600] = bytes(600)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no frame can be decoded"):
        all_of(open_source(path))


def test_lengths_of_files(film: Film) -> None:
    for name in ("a.mp4", "a.mkv", "a.avi"):
        path = film(name)
        kind = require_video(path)
        assert missing_bytes(path, kind) == 0
        path.write_bytes(path.read_bytes()[:-100])
        assert missing_bytes(path, kind) == 100, name


class FakeVideo:
    """What `cv2.VideoCapture` does for a camera: pictures of a number, until there are no more."""

    def __init__(self, pictures: int) -> None:
        self.pictures = iter(range(pictures))

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, Any]:
        number = next(self.pictures, None)
        return (False, None) if number is None else (True, np.full((48, 64, 3), number, np.uint8))

    def release(self) -> None:
        self.released = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A second passes each time that somebody looks."""
    ticks = itertools.count(100.0)
    monkeypatch.setattr(read.time, "monotonic", lambda: next(ticks))
    return iter(())


def test_a_camera(monkeypatch: pytest.MonkeyPatch, clock: None) -> None:
    asked = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda *what: asked.append(what) or FakeVideo(1000))
    source = open_source("camera:2", seconds=5)
    frames = all_of(source)
    assert asked == [(2,)]
    assert [frame.time for frame in frames] == [0, 1, 2, 3, 4]
    assert source.problems == []
    source = open_source("camera:0", seconds=5, every=2)
    assert [frame.number for frame in all_of(source)] == [0, 2, 4]


def test_a_camera_that_stops(monkeypatch: pytest.MonkeyPatch, clock: None) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *what: FakeVideo(3))
    source = open_source("camera:0", seconds=5)
    assert len(all_of(source)) == 3
    assert source.problems == ["camera:0: gave no more frames after 2.0 s"]
    monkeypatch.setattr(cv2, "VideoCapture", lambda *what: FakeVideo(0))
    with pytest.raises(ValueError, match="camera:0: gives no frame"):
        all_of(open_source("camera:0", seconds=5))


def test_no_camera(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="camera:99: no such camera"):
        open_source("camera:99", seconds=1)
    with pytest.raises(ValueError, match="a camera never ends; give --seconds"):
        open_source("camera:99")
    assert capfd.readouterr().err == ""
