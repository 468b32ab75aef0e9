"""Fuzzers run in processes of their own, so that a crash is seen and memory is given back."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RunBatches = Callable[[str, int, str], "collections.Counter[str]"]


@pytest.fixture
def run_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> RunBatches:
    """Runs a script for each seed below a number, adds up the counts that it prints as JSON, and prints the sums."""

    def run(script: str, batches: int, what: str) -> collections.Counter[str]:
        total: collections.Counter[str] = collections.Counter()
        for seed in range(batches):
            done = subprocess.run(
                [sys.executable, script, str(seed), str(tmp_path)], capture_output=True, text=True, timeout=600
            )
            assert done.returncode == 0, f"seed {seed}, exit code {done.returncode}: {done.stderr[-2000:]}"
            total.update(json.loads(done.stdout))
        with capsys.disabled():
            print(f"\n{what}: {dict(total)}")
        return total

    return run
