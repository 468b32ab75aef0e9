"""Labels a video: frames are read, labelled and written at the same time, and keep their times."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segattn.contracts import COUNT, Classes, cut, require_model, shown
from segattn.evaluation.geometry import Size
from segattn.evaluation.inference import score_map
from segattn.evaluation.protocol import WHOLE, Protocol, meaning_of, require_probabilities
from segattn.evaluation.score_map import CoarseMap, ScoreMap
from segattn.files import require_unread
from segattn.machine import limited_threads, pick_device, use_threads
from segattn.models.segmenter import Segmenter
from segattn.normalization import require_rgb
from segattn.pictures import counted_shares
from segattn.pictures import overlay as overlaid
from segattn.predicting.predict import ReadingSize, check_reading_size, size_to_read
from segattn.predicting.prediction import resized
from segattn.predicting.stages import run_stages
from segattn.predicting.video.audio import AudioError, require_audio
from segattn.predicting.video.read import Frame, camera_number, open_source
from segattn.predicting.video.write import Codec, VideoWriter, require_place

_SMOOTHEST = 0.99


@dataclass(frozen=True)
class VideoReport:
    """What was done to a video.

    Attributes:
        frames: how many were labelled.
        size: (height, width) of the frames.
        read_at: (height, width) at which the network's protocol was given them.
        duration: of the result, in seconds.
        wall: the seconds that it took.
        stages: the seconds that each stage was at work: they overlap, so that their sum is more than `wall`.
        shares: fraction of all labelled pixels of each class that occurs, the largest first.
        classes: what the ids stand for.
        problems: what could not be read, or kept, one line each; the rest is labelled.
    """

    frames: int
    size: Size
    read_at: Size
    duration: float
    wall: float
    stages: dict[str, float]
    shares: dict[str, float]
    classes: Classes = field(repr=False)
    problems: tuple[str, ...]

    @property
    def frames_per_second(self) -> float:
        """Labelled frames a second."""
        return self.frames / self.wall


class _Labelled(NamedTuple):
    frame: Frame
    labels: NDArray[np.uint8]
    """(H, W) training ids."""
    picture: NDArray[np.uint8] | None = None
    """(H, W, 3), the overlay, where one is written."""


def predict_video(
    model: Segmenter,
    source: str | Path,
    *,
    overlay: str | Path | None = None,
    labels: str | Path | None = None,
    protocol: Protocol = WHOLE,
    size: ReadingSize = "trained",
    every: int = 1,
    smooth: float = 0.0,
    seconds: float | None = None,
    codec: Codec = "mp4v",
    keep_audio: bool = False,
    tint_all: bool = False,
    device: str | None = None,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> VideoReport:
    """Label each frame of a video, and write a video of the same frames at the same times.

    >>> segattn.predict_video(model, "street.mp4", overlay="street_overlay.mp4")

    Frames are decoded, labelled and encoded at the same time. They are turned upright as the file's rotation says, and
    keep their times, whatever rate the file has. A file that is cut short or damaged gives what can be read.

    Args:
        model: in evaluation mode; its device is where the work is done.
        source: a video file, or "camera:0" for a camera of the machine.
        overlay: an .mp4 file to write: the video with the classes' colours over it.
        labels: an .mp4 file to write: training ids as grey values, without loss (FFV1). OpenCV writes an even number of
            rows and columns; one that is added holds 255.
        protocol, size: as in `segattn.predict`.
        every: label only each such frame, which is then shown as long as those that it stands for.
        smooth: 0 labels each frame by itself. Otherwise class probabilities are averaged over time before the largest
            is taken: `smooth` times the average so far, and 1 - `smooth` times this frame's. Flicker gets less and what
            moves lags behind, by smooth / (1 - smooth) frames on average.
        seconds: only so much of the beginning. A camera needs it.
        codec: of the overlay: "mp4v" or "vp9", which browsers play, and which takes fifty times as long to encode.
        keep_audio: copy the audio tracks into the overlay, as they are, by the system's ffmpeg.
        tint_all: lay colours over background and black classes too.
        device: where the model is moved to before; None leaves it where it is.
        workers: frames that go through the network at a time, each on its share of torch's threads; more than 1 pays on
            the CPU only. An engine's model has to be opened for as many (`segattn.exporting.fastest.on_engine`).
        progress: called with the number of frames that are written, after each.

    Returns:
        A `VideoReport`; its `problems` say what could not be read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no video, or none of its frames can be decoded; nothing to write; a result would replace the source;
            there is no ffmpeg, or no audio to keep; or as `segattn.predict`.
        OSError: a result can't be written. Nothing is left of it.
    """
    require_model(model)
    require_rgb(model.normalization, "video")
    check_reading_size(size, protocol)
    _check(every, smooth, seconds, codec, protocol)
    if not isinstance(workers, int) or workers not in COUNT:
        raise ValueError(f"workers {shown(workers)}: expected {COUNT.words}")
    if smooth and workers > 1:
        raise ValueError(f"workers {workers}: with smooth, each frame needs the one before it; take 1")
    source = source if camera_number(source) is not None else Path(source)
    results = [Path(path) for path in (overlay, labels) if path is not None]
    if not results:
        raise ValueError("nothing to write: give overlay=, labels=, or both, the names of .mp4 files")
    for result in results:
        require_place(result)
    if len(results) == 2 and results[0] == results[1]:
        raise ValueError(f"{results[0]}: is named for the overlay and for the labels; give two names")
    frames = open_source(source, every=every, seconds=seconds)
    if isinstance(source, Path):
        require_unread(results, [source])
    if keep_audio:
        if overlay is None or not isinstance(source, Path):
            raise ValueError("audio is kept of a video file, in its overlay; there is no such here")
        require_audio(source)
    if device is not None:
        model.to(pick_device(str(device)))
    new_writer = partial(VideoWriter, rate=frames.rate / every, pixel_aspect=frames.pixel_aspect)
    overlay_writer = None if overlay is None else new_writer(Path(overlay), codec=codec)
    labels_writer = None if labels is None else new_writer(Path(labels), codec=None)
    writers = [writer for writer in (overlay_writer, labels_writer) if writer is not None]
    labeller = _Labeller(model, protocol, size, smooth)
    counts = np.zeros(256, np.int64)
    done = 0

    def tinted(result: _Labelled) -> _Labelled:
        if overlay_writer is None:
            return result
        return result._replace(picture=overlaid(result.frame.pixels, result.labels, model.classes, tint_all=tint_all))

    def write(result: _Labelled) -> None:
        nonlocal done
        counts[:] += np.bincount(result.labels.ravel(), minlength=256)
        if overlay_writer is not None:
            assert result.picture is not None
            overlay_writer.write(result.picture, result.frame.time)
        if labels_writer is not None:
            labels_writer.write(result.labels, result.frame.time)
        done += 1
        if progress is not None:
            progress(done)

    try:
        threads = torch.get_num_threads() // workers or 1
        begin = partial(use_threads, threads)
        with limited_threads(threads) if workers > 1 else nullcontext():
            times = run_stages(frames.frames(), labeller, write, encode=tinted, workers=workers, begin=begin)
        problems = list(frames.problems)
        for writer in writers:
            audio = source if keep_audio and writer is overlay_writer and isinstance(source, Path) else None
            try:
                writer.finish(frames.end, audio_of=audio, seconds=seconds)
            except AudioError as error:
                problems.append(str(error))
    finally:
        for writer in writers:
            writer.discard()
    return VideoReport(
        frames=done,
        size=labeller.size_of_frames,
        read_at=labeller.read_at,
        duration=frames.end,
        wall=times.wall,
        stages=times.stages,
        shares=counted_shares(counts, model.classes),
        classes=model.classes,
        problems=tuple(problems),
    )


class _Labeller:
    """Labels one frame after the other, each by itself or with those before it."""

    def __init__(self, model: Segmenter, protocol: Protocol, size: ReadingSize, smooth: float) -> None:
        self._model, self._protocol, self._size, self._smooth = model, protocol, size, smooth
        self._average: Tensor | None = None
        self.size_of_frames: Size = (0, 0)
        self.read_at: Size = (0, 0)

    def __call__(self, frame: Frame) -> _Labelled:
        height, width = frame.pixels.shape[:2]
        self.size_of_frames = height, width
        self.read_at = size_to_read(self._model, (height, width), self._protocol, self._size)
        image = resized(frame.pixels, self.read_at)
        scored = score_map(self._model, image, self._protocol, size=(height, width))
        if self._smooth:
            scored = self._smoothed(scored)
        return _Labelled(frame, scored.labels().cpu().numpy())

    @torch.inference_mode()
    def _smoothed(self, scored: ScoreMap) -> ScoreMap:
        scored = scored.coarse()
        now = scored.maps
        if scored.meaning == "logits":
            now = (now / self._model.temperature).softmax(1)
        self._average = now if self._average is None else torch.lerp(now, self._average, self._smooth)
        return CoarseMap(self._average, scored.size, scored.align_corners, "probabilities")


def _check(every: int, smooth: float, seconds: float | None, codec: str, protocol: Protocol) -> None:
    if not isinstance(every, int) or every not in COUNT:
        raise ValueError(f"every {shown(every)}: expected {COUNT.words}")
    if not 0 <= smooth <= _SMOOTHEST:
        raise ValueError(f"smooth {smooth:g}: expected 0 (each frame by itself) to {_SMOOTHEST:g}")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ValueError(f"seconds {seconds:g}: expected more than 0")
    if codec not in get_args(Codec):
        raise ValueError(f"codec {cut(str(codec))}: expected {' or '.join(get_args(Codec))}")
    if smooth:
        require_probabilities(meaning_of(protocol))
