"""How long the `segattn` command takes before it works: `--help`, and `predict` of one small image.

    python benchmarks/startup.py

Medians over fresh processes of wall time and of processor time (user + system, which other work on the machine changes
little). The first run of each, which may find nothing in the file cache, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segattn.machine import provenance

SIZE = (360, 480)


def run(words: list[str], threads: int) -> tuple[float, float]:
    """Wall and processor seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "segattn", *words], check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args()
    results: dict[str, Any] = {**provenance(), "threads": args.threads, "runs": args.runs}
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        assert cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8))
        commands = {
            "--help": ["--help"],
            "predict, 480x360": ["predict", str(image), "--output", str(Path(folder) / "out")],
        }
        for name, words in commands.items():
            wall, processor = zip(*(run(words, args.threads) for _ in range(args.runs + 1)), strict=True)
            results[name] = {
                "wall_s": round(statistics.median(wall[1:]), 2),
                "processor_s": round(statistics.median(processor[1:]), 2),
                "processor_s_range": [round(min(processor[1:]), 2), round(max(processor[1:]), 2)],
            }
            print(f"{name}: {json.dumps(results[name])}", flush=True)
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
