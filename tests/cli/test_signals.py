"""Signals to whole commands: what is written is whole, what is said is one line, and a training goes on later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.machine import usable_cores
from segattn.predicting.finished import FILE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds loading processes in /proc"),
]
TRAIN = (
    *("train", "attanet_light_camvid", "--samples", "0", "--schedule.iterations", "40", "--schedule.warmup", "null"),
    *("--training.batch_size", "2", "--training.workers", "2", "--training.log_every", "1"),
    *("--training.checkpoint_every", "2", "--training.validate_every", "40"),
    *("--augmentation.3.height", "48", "--augmentation.3.width", "64"),
)


class Command:
    """`segattn` in a process group of its own."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "segattn", *map(str, words)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def wait_for(self, happened: Callable[[], bool]) -> None:
        for _ in range(1200):
            if happened():
                return
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.1)
        raise AssertionError("nothing happened for two minutes")

    def end(self) -> tuple[int, str]:
        """Exit code and standard error."""
        try:
            errors = self.process.communicate(timeout=120)[1]
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        assert "Traceback" not in errors, errors
        return self.process.returncode, errors

    def workers(self) -> list[int]:
        """The forked copies of the process, which load data."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        own = Path(f"/proc/{pid}/cmdline").read_bytes()
        return [int(child) for child in children if Path(f"/proc/{child}/cmdline").read_bytes() == own]


@pytest.fixture
def many(camvid: Path) -> Path:
    """The data set with 300 validation images of 480x360."""
    rng = np.random.default_rng(0)
    for kind, pixels in (
        ("images", rng.integers(0, 256, (360, 480, 3), np.uint8)),
        ("labels", rng.integers(0, 11, (360, 480), np.uint8)),
    ):
        folder = camvid / kind / "val"
        for path in folder.iterdir():
            path.unlink()
        assert cv2.imwrite(str(folder / "p000.png"), pixels)
        for index in range(1, 300):
            os.link(folder / "p000.png", folder / f"p{index:03}.png")
    return camvid


def written(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png")) if folder.is_dir() else []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_stopped_command_leaves_whole_files(
    command: str, number: signal.Signals, code: int, many: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words: tuple[object, ...] = ("predict", many / "images/val", "--model", trained, "--output", out)
    if command == "evaluate":
        words = ("evaluate", trained, "--data.root", many, "--submission", out, "--output", tmp_path / "report")
    running = Command(*words, "--device", "cpu")
    running.wait_for(lambda: len(written(out)) > 2)
    os.killpg(running.process.pid, number)
    assert running.end()[0] == code
    files = written(out)
    assert 2 < len(files) < 300
    for path in files:
        assert path.name.startswith(".") or cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None, path
    if number == signal.SIGINT:
        assert not [path for path in out.rglob("*") if path.name.startswith(".") and path.name != FILE]
    assert not list((tmp_path / "report").glob("*.html"))


def started(camvid: Path, run: Path) -> Command:
    """A training that has done some steps and saved them."""
    running = Command(*TRAIN, "--data.root", camvid, "--output", run)
    running.wait_for((run / "state.pt").exists)
    return running


def require_end(camvid: Path, run: Path) -> None:
    code, errors = Command(*TRAIN, "--data.root", camvid, "--output", run).end()
    assert code == 0, errors
    assert f"continuing {run} after step " in errors
    assert len((run / "log.jsonl").read_text().splitlines()) == 41  # 40 steps, each once, and the validation


def test_sigterm_to_the_group_saves_and_the_run_goes_on(camvid: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    running = started(camvid, run)
    assert len(running.workers()) == min(2, usable_cores())
    os.killpg(running.process.pid, signal.SIGTERM)
    code, errors = running.end()
    assert code == 3, errors
    assert "stopped by SIGTERM after step " in errors
    assert f"all is saved in {run}" in errors
    require_end(camvid, run)


def test_a_killed_loading_process_is_one_line_and_the_run_goes_on(camvid: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    running = started(camvid, run)
    os.kill(running.workers()[0], signal.SIGKILL)
    code, errors = running.end()
    assert code == 2, errors
    (line,) = [line for line in errors.splitlines() if line.startswith("segattn: error: ")]
    assert errors.endswith(f"{line}\n")
    assert str(run) in line
    assert "killed" in line
    require_end(camvid, run)
