"""Writes frames with their times to an MP4 file by OpenCV's own writer; it appears whole or not at all."""

from __future__ import annotations

import errno
import shutil
from array import array
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE
from segattn.files import UnwritableError, move_into_place, naming_file
from segattn.predicting.video.audio import add_audio
from segattn.predicting.video.containers import opencv_path
from segattn.predicting.video.mp4 import CutShortError, set_times

Codec = Literal["mp4v", "vp9"]
"""Of pictures: MPEG-4 part 2, or VP9, which browsers play, and which takes fifty times as long to encode."""

_TAGS = {"mp4v": "mp4v", "vp9": "vp09"}
_LOSSLESS = "FFV1"
_LEAST_ROOM = 1 << 20  # bytes; OpenCV says nothing of a disk that is full


class VideoWriter:
    """An MP4 file that is being written, under a hidden name until `finish`.

    OpenCV writes an even number of rows and columns: pictures of others have the last one twice, labels have 255 there.
    """

    def __init__(self, path: Path, *, rate: float, pixel_aspect: Fraction, codec: Codec | None) -> None:
        """See the class; nothing is written before the first frame.

        Args:
            rate: frames a second, about, by which the encoder shares out bits.
            codec: None for labels, which are kept exactly.
        """
        self.path = path
        self.times = array("d")
        self._hidden = path.with_name(f".{path.stem}.part{path.suffix}")
        self._rate, self._pixel_aspect, self._codec = rate, pixel_aspect, codec
        self._writer: cv2.VideoWriter | None = None

    def write(self, picture: NDArray[np.uint8], time: float) -> None:
        """Add a frame, (H, W, 3) RGB or (H, W) labels, shown from that time on, in seconds.

        Raises:
            UnwritableError: there is no room.
        """
        height, width = picture.shape[:2]
        if picture.ndim == 3:
            picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8)
        if height % 2 or width % 2:
            border = (0, height % 2, 0, width % 2)
            kind = cv2.BORDER_REPLICATE if picture.ndim == 3 else cv2.BORDER_CONSTANT
            picture = np.asarray(cv2.copyMakeBorder(picture, *border, kind, value=IGNORE), np.uint8)
        with naming_file(self.path):
            if self._writer is None:
                self._writer = self._opened(picture)
            if shutil.disk_usage(self.path.parent).free < _LEAST_ROOM:
                raise OSError(errno.ENOSPC, "No space left on device")
        self._writer.write(picture)
        self.times.append(time)

    def _opened(self, picture: NDArray[np.uint8]) -> cv2.VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._hidden.write_bytes(b"")  # the system's own reason, where it can't be
        tag = _TAGS[self._codec] if self._codec else _LOSSLESS
        size = picture.shape[1], picture.shape[0]
        rate = min(max(round(self._rate, 3), 0.1), 1000.0)
        writer = cv2.VideoWriter(
            opencv_path(self._hidden), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*tag), rate, size, picture.ndim == 3
        )
        if not writer.isOpened():
            raise OSError(f"this OpenCV has no encoder for {tag} of {size[0]}x{size[1]}, or no room to begin")
        return writer

    def finish(self, end: float, *, audio_of: Path | None = None, seconds: float | None = None) -> None:
        """Close the file, give its frames their times, and give it its name.

        Args:
            end: when the last frame ends, in seconds.
            audio_of: a file whose audio tracks are taken over, `seconds` of them at most.

        Raises:
            UnwritableError: it can't be written whole.
            AudioError: the audio can't be taken over; the video is written without it.
        """
        if self._writer is None:
            return
        self._writer.release()
        with naming_file(self.path):
            try:
                set_times(self._hidden, self.times, end, self._pixel_aspect)
            except CutShortError as error:
                with self._hidden.open("ab", buffering=0) as file:  # what stopped OpenCV stops this too, and says why
                    for _ in range(16):
                        file.write(bytes(1 << 20))
                raise OSError(f"OpenCV has not written it whole: {error}") from None
        try:
            if audio_of is not None:
                add_audio(self._hidden, audio_of, seconds=seconds)
        finally:
            move_into_place(self._hidden, self.path)

    def discard(self) -> None:
        """Leave nothing behind; after `finish` there is nothing to do."""
        if self._writer is not None:
            self._writer.release()
        with suppress(OSError):
            self._hidden.unlink()


def require_place(path: Path) -> None:
    """Find out before long work that a video can be given this name.

    Raises:
        ValueError: no .mp4, or no UTF-8.
        UnwritableError: it is a folder.
    """
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"{path}: expected a name that ends in .mp4")
    opencv_path(path)
    if path.is_dir():
        raise UnwritableError(f"{path}: can't be written (is a folder)")
