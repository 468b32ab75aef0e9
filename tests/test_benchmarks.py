"""Measurements stay runnable: each says what it takes, and what only a GPU can measure runs through without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
COMMANDS = sorted(path for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.stem)
def test_it_starts(file: Path) -> None:
    done = subprocess.run([sys.executable, file, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert file.name in done.stdout


def test_the_gpu_measurement_runs_through_without_one(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--smoke", "--output", out]
    done = subprocess.run([sys.executable, BENCHMARKS / "gpu.py", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = json.loads(out.read_text())
    assert measured["failed"] == measured["skipped"] == []
    assert measured["finished"]
    assert all(measured[part] for part in ("parity", "attanet", "attention", "training", "networks", "compiled"))
