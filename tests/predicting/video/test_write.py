"""Videos that are written: their times, exact labels, and a disk that is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.files import UnwritableError
from segattn.predicting.video import write
from segattn.predicting.video.write import Codec, VideoWriter, require_place

resource = pytest.importorskip("resource")
TIMES = [0.0, 0.03, 0.5, 0.52, 3.0]


def written(
    path: Path, pictures: list[np.ndarray], codec: Codec | None, times: list[float] = TIMES, end: float = 4.0
) -> tuple[list[float], list[np.ndarray]]:
    """The times and pictures (BGR) that OpenCV finds in a file of these pictures."""
    writer = VideoWriter(path, rate=30.0, pixel_aspect=Fraction(1), codec=codec)
    for picture, time in zip(pictures, times, strict=True):
        writer.write(picture, time)
    assert not path.exists()
    writer.finish(end)
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    found: tuple[list[float], list[np.ndarray]] = ([], [])
    while True:
        done, picture = video.read()
        if not done:
            return found
        found[0].append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        found[1].append(picture)


@pytest.mark.parametrize("codec", ["mp4v", "vp9"])
def test_pictures_and_times(tmp_path: Path, codec: Codec) -> None:
    pictures = [np.full((48, 64, 3), (40 * number, 90, 200), np.uint8) for number in range(5)]
    times, found = written(tmp_path / "a.mp4", pictures, codec)
    assert times == pytest.approx(TIMES, abs=1e-4)
    for picture, got in zip(pictures, found, strict=True):
        assert np.abs(got[..., ::-1].astype(int) - picture).mean() < 6
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_labels_are_kept_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 256, (48, 64), np.uint8) for _ in range(5)]
    times, found = written(tmp_path / "a.mp4", maps, None)
    assert times == pytest.approx(TIMES, abs=1e-4)
    assert all(np.array_equal(got, np.dstack([labels] * 3)) for labels, got in zip(maps, found, strict=True))


@pytest.mark.parametrize("shape", [(47, 63), (1, 1), (1, 40)])
def test_odd_sizes_lose_nothing(tmp_path: Path, shape: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 11, shape, np.uint8)
    _, (found,) = written(tmp_path / "a.mp4", [labels], None, [0.0])
    assert found.shape[:2] == (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
    assert np.array_equal(found[: shape[0], : shape[1], 0], labels)
    assert (found[shape[0] :] == 255).all()
    _, (found,) = written(tmp_path / "b.mp4", [np.full((*shape, 3), 90, np.uint8)], "mp4v", [0.0])
    assert found.shape[:2] == (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
    assert np.abs(found.astype(int) - 90).max() < 12


def test_lengths_beyond_the_fine_clock(tmp_path: Path) -> None:
    """32 bits of ticks of 1/90000 s are 13 hours."""
    labels = [np.zeros((4, 4), np.uint8)] * 3
    times, _ = written(tmp_path / "a.mp4", labels, None, [0.0, 50_000.5, 100_000.25], 200_000.0)
    assert times == [0.0, 50_000.5, 100_000.25]


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    writer = VideoWriter(path, rate=30.0, pixel_aspect=Fraction(1), codec="mp4v")
    writer.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    assert path.read_bytes() == b"old"
    writer.discard()
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"old"


@contextmanager
def full(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes, which is how a full disk looks from inside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 100, 20_000, 60_000])
def test_a_full_disk(tmp_path: Path, limit: int) -> None:
    rng = np.random.default_rng(0)
    writer = VideoWriter(tmp_path / "a.mp4", rate=30.0, pixel_aspect=Fraction(1), codec=None)

    def write_all() -> None:
        for number in range(30):
            writer.write(rng.integers(0, 256, (48, 64), np.uint8), number / 30)
        writer.finish(1.0)

    with full(limit), pytest.raises(UnwritableError, match=r"a\.mp4: can't be written \("):
        write_all()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_nearly_full_ends_the_work_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_LEAST_ROOM", 1 << 62)
    writer = VideoWriter(tmp_path / "a.mp4", rate=30.0, pixel_aspect=Fraction(1), codec=None)
    with pytest.raises(UnwritableError, match=r"a\.mp4: can't be written \(No space left on device\)"):
        writer.write(np.zeros((48, 64), np.uint8), 0.0)
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_names_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.avi: expected a name that ends in \.mp4"):
        require_place(tmp_path / "a.avi")
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(UnwritableError, match="is a folder"):
        require_place(tmp_path / "a.mp4")
    with pytest.raises(UnwritableError, match=r"can't be written \(File name too long\)"):
        written(tmp_path / f"{'a' * 250}.mp4", [np.zeros((4, 4), np.uint8)], None, [0.0])
