"""Reads the frames of a video file or a camera with their times, upright, by OpenCV's own reader."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import cut
from segattn.predicting.video.containers import missing_bytes, opencv_path, require_video

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg would print what is wrong with a frame; we say it

MAX_PIXELS = 1 << 26
"""Of a frame: 8192x8192."""
_ATTEMPTS = 100  # to read on after frames that can't be decoded
_USUAL_RATE = 30.0  # frames a second, where a file or camera states nothing
_FASTEST = 1000.0


class Frame(NamedTuple):
    """A frame: its number among those of the video, its time in seconds from the first, and (H, W, 3) uint8 RGB."""

    number: int
    time: float
    pixels: NDArray[np.uint8]


class FrameSource(Protocol):
    """What gives frames.

    Attributes:
        name: how errors call it.
        rate: frames a second, as stated.
        count: of the frames, as far as it is known; 0 otherwise.
        pixel_aspect: width of a pixel by its height.
        end: when the last frame ends, in seconds; known once all are read.
        problems: what could not be read, one line each; known once all are read.
    """

    name: str
    rate: float
    count: int
    pixel_aspect: Fraction
    end: float
    problems: list[str]

    def frames(self) -> Iterator[Frame]: ...


def open_source(source: str | Path, *, every: int = 1, seconds: float | None = None) -> FrameSource:
    """A video file, or `camera:0`, `camera:1`, ... for a camera of the machine.

    Args:
        every: only each such frame: the first, and so on.
        seconds: only so much of its beginning; a camera needs it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no video, or one that can't be read; no such camera.
    """
    number = camera_number(source)
    if number is None:
        return VideoFile(Path(source), every=every, seconds=seconds)
    if seconds is None:
        raise ValueError(f"{source}: a camera never ends; give --seconds (seconds= in Python)")
    return Camera(number, every=every, seconds=seconds)


def camera_number(source: str | Path) -> int | None:
    """N of `camera:N`; None for what names a file."""
    found = re.fullmatch(r"camera:(\d{1,3})", str(source))
    return int(found[1]) if found else None


class VideoFile:
    """A video file as frames; see `FrameSource`."""

    def __init__(self, path: Path, *, every: int = 1, seconds: float | None = None) -> None:
        """Opens the file; arguments and errors as `open_source`."""
        self.name = str(path)
        self.problems: list[str] = []
        self.end = 0.0
        self._path, self._every, self._seconds = path, every, seconds
        kind = require_video(path)
        self._missing = missing_bytes(path, kind)
        self._video = _opened(f"file:{opencv_path(path)}", cv2.CAP_FFMPEG)
        if not self._video.isOpened():
            if self._missing:
                raise ValueError(
                    f"{path}: cut short by {self._missing} bytes, its index among them; nothing can be read"
                )
            raise ValueError(
                f"{path}: damaged, without a video track, or of a codec that OpenCV's FFmpeg does not have"
            )
        get = self._video.get
        width, height = int(get(cv2.CAP_PROP_FRAME_WIDTH)), int(get(cv2.CAP_PROP_FRAME_HEIGHT))
        _check_size(self.name, width, height)
        self.rate = _sane_rate(get(cv2.CAP_PROP_FPS))
        stated = get(cv2.CAP_PROP_FRAME_COUNT)
        self._stated = int(stated) if 0 < stated < 1e9 else 0
        limit = self._stated if seconds is None else min(self._stated, round(seconds * self.rate))
        self.count = -(-limit // every)
        self.pixel_aspect = self._pixel_aspect()
        tag = int(get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True)
        self._codec = "".join(chr(byte) for byte in tag if 32 < byte < 127) or "without a name"

    def _pixel_aspect(self) -> Fraction:
        across, down = (int(self._video.get(key)) for key in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN))
        if across <= 0 or down <= 0 or not 0.1 < across / down < 10:
            return Fraction(1)
        turned = int(self._video.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90
        return Fraction(down, across) if turned else Fraction(across, down)

    def frames(self) -> Iterator[Frame]:
        """The frames, once.

        Raises:
            ValueError: none can be decoded, or the first is larger than is read.
        """
        number, start, last, gap = 0, 0.0, -1.0, 1.0 / self.rate
        failed, first_failed, failing, odd_times = 0, 0.0, 0, 0
        shape: tuple[int, ...] | None = None
        complete = True
        while failing < _ATTEMPTS:
            if not self._video.grab():  # the end, or a frame that can't be decoded: then the next one can be read
                failing += 1
                continue
            now = self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if number == 0:
                start = now
            if failing:
                first_failed = first_failed if failed else max(last, 0.0)
                failed, failing = failed + failing, 0
            now -= start
            if now <= last:
                odd_times += 1
                now = last + gap
            elif number:
                gap = now - last
            if self._seconds is not None and now >= self._seconds:
                complete = False
                break
            last = now
            if number % self._every == 0:
                picture = self._retrieved(number)
                if shape is not None and picture.shape != shape:
                    self.problems.append(
                        f"{self.name}: frame {number} is {_times(picture.shape)}, those before {_times(shape)}; "
                        "read up to there, cut the video at it to label the rest"
                    )
                    complete = False
                    break
                shape = picture.shape
                _check_size(self.name, shape[1], shape[0])
                yield Frame(number, now, picture)
            number += 1
        self._video.release()
        if number == 0:
            raise ValueError(
                f"{self.name}: no frame can be decoded; damaged, or of a codec that OpenCV lacks ({self._codec})"
            )
        self.end = last + gap if self._seconds is None else min(last + gap, max(self._seconds, last))
        self.problems += self._said(number, failed, first_failed, odd_times, last + start + gap / 2, complete)

    def _retrieved(self, number: int) -> NDArray[np.uint8]:
        """The picture of the frame that was grabbed, (H, W, 3) RGB."""
        try:
            return np.asarray(cv2.cvtColor(self._video.retrieve()[1], cv2.COLOR_BGR2RGB), np.uint8)
        except cv2.error as error:  # such as too little memory for it
            raise ValueError(f"{self.name}: frame {number} can't be converted ({cut(str(error))})") from None

    def _said(
        self, number: int, failed: int, first_failed: float, odd_times: int, read_to: float, complete: bool
    ) -> list[str]:
        lines = []
        if failed:
            lines.append(f"{self.name}: {_frames(failed)} can't be decoded, the first after {first_failed:.2f} s")
        if odd_times:
            lines.append(f"{self.name}: {_frames(odd_times)} stated no later time than the one before; spaced evenly")
        if complete and self._missing:
            lines.append(f"{self.name}: cut short by {self._missing} bytes; {_frames(number)} could be read")
        elif complete and number + failed < self._stated:
            lost = self._lost_after(read_to)
            if lost:
                lines.append(
                    f"{self.name}: the last {_frames(lost)} can't be decoded; the {number} before could be read"
                )
        return lines

    def _lost_after(self, seconds: float) -> int:
        """The number of frames after that time which the file holds, decoded or not."""
        packets = _opened(f"file:{opencv_path(self._path)}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
        lost = 0
        while packets.isOpened() and packets.grab():
            lost += packets.get(cv2.CAP_PROP_POS_MSEC) / 1000 > seconds
        packets.release()
        return lost


class Camera:
    """A camera as frames, each timed when it arrives; see `FrameSource`."""

    def __init__(self, number: int, *, every: int, seconds: float) -> None:
        """Opens the camera; arguments and errors as `open_source`."""
        self.name = f"camera:{number}"
        self.problems: list[str] = []
        self.end = 0.0
        self.pixel_aspect = Fraction(1)
        self.count = 0
        self._every, self._seconds = every, seconds
        self._video = _opened(number)
        if not self._video.isOpened():
            raise ValueError(f"{self.name}: no such camera, or in use by another program")
        self.rate = _sane_rate(self._video.get(cv2.CAP_PROP_FPS))

    def frames(self) -> Iterator[Frame]:
        """The frames from now on, once; a camera that stops gives what there was.

        Raises:
            ValueError: it gives none.
        """
        start, number, now = 0.0, 0, 0.0
        while True:
            done, picture = self._video.read()
            arrived = time.monotonic()
            start = start if number else arrived
            if not done:
                if number:
                    self.problems.append(f"{self.name}: gave no more frames after {now:.1f} s")
                break
            if arrived - start >= self._seconds:
                break
            now = arrived - start
            if number % self._every == 0:
                yield Frame(number, now, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
            number += 1
        self._video.release()
        if number == 0:
            raise ValueError(f"{self.name}: gives no frame")
        self.end = now + 1 / self.rate


def _opened(*what: Any) -> Any:
    """A `cv2.VideoCapture` of what it takes, without OpenCV's own words on the standard error stream."""
    before = cv2.utils.logging.setLogLevel(0)
    try:
        return cv2.VideoCapture(*what)
    finally:
        cv2.utils.logging.setLogLevel(before)


def _sane_rate(stated: float) -> float:
    return stated if 0.01 <= stated <= _FASTEST else _USUAL_RATE


def _check_size(name: str, width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"{name}: frames of {width}x{height}; from 1 to {MAX_PIXELS} pixels are read")


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def _times(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
