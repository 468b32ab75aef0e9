"""Takes audio over from one video file into another, as it is, by the system's own ffmpeg in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from segattn.contracts import cut

_QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error")
_COPY = ("-c", "copy", "-f")


class AudioError(ValueError):
    """The audio of a file can't be taken over."""


def require_audio(source: Path) -> None:
    """Find out before long work whether the audio of a file can be put into an MP4 file.

    Raises:
        AudioError: there is no ffmpeg, no audio, or a kind of it that MP4 does not take.
    """
    command = [
        _ffmpeg(),
        *_QUIET,
        "-t",
        "1",
        "-i",
        _file(source),
        "-map",
        "0:a",
        "-movflags",
        "frag_keyframe+empty_moov",
    ]
    done = subprocess.run(
        [*command, *_COPY, "mp4", "-"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise _refusal(source, done.stderr.decode("utf-8", "replace"))


def _ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found is None:
        raise AudioError(
            "keeping audio needs the ffmpeg program, and none is on the PATH; install it (apt install ffmpeg, "
            "brew install ffmpeg) or drop the audio"
        )
    return found


def add_audio(video: Path, source: Path, *, seconds: float | None = None) -> None:
    """Put all audio tracks of `source` beside the one track of `video`, which is replaced; nothing is encoded.

    Args:
        seconds: how much of the beginning.

    Raises:
        AudioError: it can't be done, and `video` is as it was.
    """
    ffmpeg = _ffmpeg()
    both = video.with_name(f"{video.stem}.audio{video.suffix}")
    part = () if seconds is None else ("-t", f"{seconds:.6f}")
    command = [
        *(ffmpeg, *_QUIET, "-y"),
        *("-itsoffset", f"{_start(ffmpeg, source):.6f}", "-i", _file(video), *part, "-i", _file(source)),
        *("-map", "0:v:0", "-map", "1:a", "-map_metadata", "-1", *_COPY, "mp4", _file(both)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            os.replace(both, video)
            return
        raise _refusal(source, done.stderr)
    finally:
        both.unlink(missing_ok=True)


def _refusal(source: Path, said: str) -> AudioError:
    if "matches no streams" in said:
        return AudioError(f"{source}: has no audio to keep; leave --audio keep (keep_audio=True) out")
    return AudioError(f"{source}: ffmpeg can't copy its audio into an MP4 file ({cut(said)})")


def _start(ffmpeg: str, source: Path) -> float:
    """When the first frame of a video is shown, in seconds from where its earliest track starts."""
    command = [ffmpeg, *_QUIET, "-i", _file(source), "-map", "0:v:0", "-frames:v", "1", *_COPY, "framecrc", "-"]
    said = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout
    base = re.search(r"^#tb 0: (\d+)/(\d+)$", said, re.MULTILINE)
    first = re.search(r"^0, +-?\d+, +(-?\d+),", said, re.MULTILINE)  # track, decoding time, presentation time
    if base is None or first is None:
        return 0.0
    return max(int(first[1]) * int(base[1]) / int(base[2]), 0.0)


def _file(path: Path) -> str:
    return f"file:{path.absolute()}"
