"""Audio that is kept: by the system's ffmpeg, and what is said where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from segattn.predicting.video.audio import AudioError, add_audio, require_audio
from segattn.predicting.video.mp4 import set_times

FAKE = """#!{python}
import json, pathlib, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if "framecrc" in sys.argv:
    print("#tb 0: 1/1000\\n0,      -40,       250,      512,     2904, 0x37793f98")
elif {said!r}:
    sys.exit({said!r})
elif sys.argv[-1].startswith("file:"):
    pathlib.Path(sys.argv[-1][5:]).write_bytes(b"with audio")
"""

Fake = Callable[[str], Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts an ffmpeg on the PATH that notes its arguments, and fails with `said` where that is not empty."""

    def put(said: str) -> Path:
        log = tmp_path / "calls.jsonl"
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / "ffmpeg"
        script.write_text(FAKE.format(python=sys.executable, log=str(log), said=said))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return log

    return put


def test_all_tracks_are_copied_beside_the_video(fake: Fake, tmp_path: Path) -> None:
    log = fake("")
    video, source = tmp_path / ".a.part.mp4", tmp_path / "concat:source.mp4"
    video.write_bytes(b"video")
    require_audio(source)
    add_audio(video, source, seconds=2)
    assert video.read_bytes() == b"with audio"
    _, _, call = [json.loads(line) for line in log.read_text().splitlines()]
    joined = " ".join(call)
    assert f"-itsoffset 0.250000 -i file:{video} -t 2.000000 -i file:{source}" in joined
    assert "-map 0:v:0 -map 1:a" in joined
    assert "-c copy" in joined
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.part.mp4", "bin", "calls.jsonl"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Stream map '0:a' matches no streams.", "has no audio to keep; leave --audio keep"),
        ("Could not find tag for codec pcm_s16le", "ffmpeg can't copy its audio into an MP4 file .Could not find tag"),
    ],
)
def test_what_ffmpeg_refuses(fake: Fake, tmp_path: Path, said: str, reason: str) -> None:
    fake(said)
    video = tmp_path / ".a.part.mp4"
    video.write_bytes(b"video")
    for call in (lambda: require_audio(tmp_path / "b.mp4"), lambda: add_audio(video, tmp_path / "b.mp4")):
        with pytest.raises(AudioError, match=rf"b\.mp4: {reason}"):
            call()
    assert video.read_bytes() == b"video"


def test_no_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match="keeping audio needs the ffmpeg program, and none is on the PATH; install it"):
        require_audio(tmp_path / "a.mp4")


@pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="needs the ffmpeg program"
)
def test_the_real_ffmpeg(film: Callable[..., Path], tmp_path: Path) -> None:
    """The sound starts with the source's, the picture where the source's does, and variable times stay."""
    silent, source = film("silent.mp4"), tmp_path / "source.mp4"
    sound = ["-f", "lavfi", "-i", "sine=duration=1", "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac"]
    subprocess.run(["ffmpeg", "-v", "error", "-itsoffset", "0.5", "-i", str(silent), *sound, str(source)], check=True)
    video = film("video.mp4", frames=3)
    set_times(video, array("d", [0, 0.3, 0.35]), 0.4)
    require_audio(source)
    add_audio(video, source)
    asked = ["-v", "error", "-show_entries", "packet=codec_type,pts_time", "-of", "csv=p=0", str(video)]
    said = subprocess.run(["ffprobe", *asked], check=True, capture_output=True, text=True).stdout.split()
    times = {kind: [float(line.split(",")[1]) for line in said if line.startswith(kind)] for kind in ("video", "audio")}
    assert times["video"] == pytest.approx([0.5, 0.8, 0.85], abs=1e-3)
    assert times["audio"][0] == pytest.approx(0, abs=0.05)
    assert times["audio"][-1] == pytest.approx(1, abs=0.05)
    with pytest.raises(AudioError, match="has no audio to keep"):
        require_audio(silent)
