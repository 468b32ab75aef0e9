"""`segattn.predict_video`: the same labels as `segattn.predict` gives for each frame, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import segattn
from segattn.evaluation.inference import score_map
from segattn.evaluation.protocol import PROTOCOLS
from segattn.evaluation.score_map import CoarseMap
from segattn.machine import limited_threads
from segattn.predicting.video import label
from segattn.predicting.video.read import open_source

Film = Callable[..., Path]


@pytest.fixture
def model(trained: Path) -> segattn.Segmenter:
    return segattn.load_model(trained)[1]


def ids(path: Path) -> list[np.ndarray]:
    """The label maps in a video of them."""
    return [frame.pixels[..., 0] for frame in open_source(path).frames()]


def test_labels_are_those_of_each_frame(model: segattn.Segmenter, film: Film, tmp_path: Path) -> None:
    source = film(frames=6)
    report = segattn.predict_video(
        model, source, labels=tmp_path / "l.mp4", overlay=tmp_path / "o.mp4", size="native", device="cpu"
    )
    expected = [segattn.predict(model, frame.pixels, size="native") for frame in open_source(source).frames()]
    for labels, each in zip(ids(tmp_path / "l.mp4"), expected, strict=True):
        assert np.array_equal(labels, each.labels)
    overlays = [frame.pixels.astype(int) for frame in open_source(tmp_path / "o.mp4").frames()]
    drawn = expected[3].overlay()[:, :64].astype(int)
    assert np.abs(overlays[3] - drawn).mean() < 25
    assert (report.frames, report.size, report.read_at, report.problems) == (6, (48, 64), (48, 64), ())
    assert report.duration == pytest.approx(0.2)
    assert report.frames_per_second == report.frames / report.wall
    assert sum(report.shares.values()) == pytest.approx(1)
    largest = next(iter(report.shares))
    all_labels = np.stack([each.labels for each in expected])
    assert report.shares[largest] == pytest.approx((all_labels == model.classes.names.index(largest)).mean())
    assert set(report.stages) == {"read", "network", "write"}


def test_frames_abreast_have_the_labels_and_order_of_one_after_another(
    model: segattn.Segmenter, film: Film, tmp_path: Path
) -> None:
    source = film(frames=9)
    with limited_threads(3):
        for workers in (1, 3):
            files = {"labels": tmp_path / f"l{workers}.mp4", "overlay": tmp_path / f"o{workers}.mp4"}
            segattn.predict_video(model, source, **files, size="native", workers=workers)
        assert torch.get_num_threads() == 3
    for kind in "lo":
        assert (tmp_path / f"{kind}1.mp4").read_bytes() == (tmp_path / f"{kind}3.mp4").read_bytes()
    with pytest.raises(ValueError, match="workers 2: with smooth, each frame needs the one before it"):
        segattn.predict_video(model, source, labels=tmp_path / "x.mp4", smooth=0.5, workers=2)
    with pytest.raises(ValueError, match="workers 0: expected"):
        segattn.predict_video(model, source, labels=tmp_path / "x.mp4", workers=0)
    assert not (tmp_path / "x.mp4").exists()


def test_every_second_frame_is_shown_twice_as_long(model: segattn.Segmenter, film: Film, tmp_path: Path) -> None:
    source = film(frames=5)
    counts: list[int] = []
    segattn.predict_video(model, source, labels=tmp_path / "l.mp4", every=2, size="native", progress=counts.append)
    result = open_source(tmp_path / "l.mp4")
    assert [frame.time for frame in result.frames()] == pytest.approx([0, 2 / 30, 4 / 30], abs=1e-4)
    assert counts == [1, 2, 3]


def test_smoothing_averages_probabilities(model: segattn.Segmenter, film: Film, tmp_path: Path) -> None:
    source = film(frames=5)
    model.temperature = 1e-5  # logits of random weights are that small
    segattn.predict_video(model, source, labels=tmp_path / "l.mp4", smooth=0.75, size="native")
    average, alike = None, []

    def labels_of(maps: torch.Tensor) -> np.ndarray:
        return CoarseMap(maps, scored.size, scored.align_corners, "probabilities").labels().numpy()

    for frame, labels in zip(open_source(source).frames(), ids(tmp_path / "l.mp4"), strict=True):
        scored = score_map(model, frame.pixels).coarse()
        now = (scored.maps / model.temperature).softmax(1)
        average = now if average is None else 0.75 * average + 0.25 * now
        assert (labels_of(average) == labels).mean() > 0.999
        alike.append((labels_of(now) == labels).mean())
    assert alike[0] > 0.999
    assert min(alike) < 0.99
    several = segattn.protocol("multi_flip")
    segattn.predict_video(model, source, protocol=several, labels=tmp_path / "m.mp4", smooth=1e-9, size="native")
    for frame, labels in zip(open_source(source).frames(), ids(tmp_path / "m.mp4"), strict=True):
        assert (score_map(model, frame.pixels, several).labels().numpy() == labels).mean() > 0.99
    with pytest.raises(ValueError, match="there is no confidence"):
        segattn.predict_video(model, source, labels=tmp_path / "x.mp4", smooth=0.5, protocol=PROTOCOLS["danet_single"])


def test_a_cut_video_gives_a_whole_file_of_what_was_read(model: segattn.Segmenter, film: Film, tmp_path: Path) -> None:
    source = film("a.mkv", frames=30)
    source.write_bytes(source.read_bytes()[:-3000])
    report = segattn.predict_video(model, source, overlay=tmp_path / "o.mp4", size="native")
    assert "cut short by 3000 bytes" in report.problems[-1]
    assert 0 < report.frames < 30
    assert len(list(open_source(tmp_path / "o.mp4").frames())) == report.frames


def test_an_error_in_the_middle_leaves_nothing(
    model: segattn.Segmenter, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, scored, calls = film(), label.score_map, []

    def failing(*given: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("the network has failed")
        return scored(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(label, "score_map", failing)
    with pytest.raises(RuntimeError, match="the network has failed"):
        segattn.predict_video(model, source, overlay=tmp_path / "o.mp4", labels=tmp_path / "l.mp4", size="native")
    assert [path.name for path in tmp_path.iterdir()] == ["street.mp4"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "nothing to write"),
        ({"overlay": "street.mp4"}, "is a source itself"),
        ({"overlay": "a.avi"}, "ends in .mp4"),
        ({"overlay": "a.mp4", "labels": "a.mp4"}, "give two names"),
        ({"overlay": "a.mp4", "every": 0}, "every 0: expected 1 or more"),
        ({"overlay": "a.mp4", "smooth": 1.0}, "smooth 1: expected 0"),
        ({"overlay": "a.mp4", "smooth": float("nan")}, "smooth nan: expected 0"),
        ({"overlay": "a.mp4", "seconds": 0}, "seconds 0: expected more"),
        ({"labels": "a.mp4", "keep_audio": True}, "audio is kept of a video file, in its overlay"),
        ({"overlay": "a.mp4", "size": "huge"}, "size huge: expected"),
        ({"overlay": "a.mp4", "codec": "h264"}, "codec h264: expected mp4v or vp9"),
    ],
)
def test_what_is_refused(
    model: segattn.Segmenter, film: Film, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], reason: str
) -> None:
    source = film()
    before = source.read_bytes()
    monkeypatch.chdir(source.parent)
    with pytest.raises(ValueError, match=reason):
        segattn.predict_video(model, source, **changes)  # type: ignore[arg-type]
    assert source.read_bytes() == before
    assert [path.name for path in source.parent.iterdir()] == ["street.mp4"]


def test_a_plain_module_is_no_model(film: Film) -> None:
    with pytest.raises(ValueError, match="wrap"):
        segattn.predict_video(torch.nn.Conv2d(3, 2, 1), film(), overlay="a.mp4")  # type: ignore[arg-type]


class FakeCamera:
    """Four pictures, and then no more."""

    left = 4

    def __init__(self, *_: object) -> None: ...

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return 25.0 if key == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return self.left >= 0, np.full((48, 64, 3), 90, np.uint8) if self.left >= 0 else None

    def release(self) -> None: ...


def test_a_camera(model: segattn.Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", FakeCamera)
        report = segattn.predict_video(model, "camera:0", labels=tmp_path / "l.mp4", seconds=60, size="native")
    assert report.frames == 4
    assert report.problems[0].startswith("camera:0: gave no more frames")
    assert len(ids(tmp_path / "l.mp4")) == 4
