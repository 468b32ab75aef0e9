"""How long the `segattn` command takes before it works: `--help`, and `predict` by a network and by an exported file.

    python benchmarks/startup.py
    python benchmarks/startup.py --bare ENVIRONMENT/bin/python

Medians over fresh processes of wall time and of processor time (user + system, which other work on the machine changes
little), and the seconds that imports take (`python -X importtime`, wall time, the median of three). The first run of
each, which may find no bytecode and nothing in the file cache, is left out. Forms take turns, so that all see the same
machine.

The exported file is AttaNet-light's as ONNX. An image of 32x32 pixels, read as it is, leaves the network nothing to do:
what it takes is start-up. `--bare` names the Python of an environment without PyTorch (docs/export.md says how to make
one); the exported file is then measured there too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
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

import segattn
from segattn.machine import provenance
from segattn.weights.checkpoint import describe_model

SIZES = {"480x360": (360, 480), "32x32": (32, 32)}
_MODEL = "attanet_light_camvid"
_ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""With bytecode, as an installed package has it."""


def run(command: list[str], threads: int) -> tuple[float, float]:
    """Wall and processor seconds."""
    environment = {**_ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def import_seconds(command: list[str]) -> float:
    """The seconds that all imports of a command take, each without those inside it."""
    timed = [command[0], "-X", "importtime", *command[1:]]
    said = subprocess.run(timed, check=True, capture_output=True, text=True, env=_ENVIRONMENT).stderr
    return sum(map(int, re.findall(r"^import time: +(\d+) \|", said, re.MULTILINE))) / 1e6


def commands(folder: Path, bare: Path | None) -> dict[str, list[str]]:
    """What is measured, by name."""
    images = {}
    for name, size in SIZES.items():
        images[name] = str(folder / f"{name}.png")
        assert cv2.imwrite(images[name], np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    file = folder / "light.onnx"
    model = segattn.create_model(_MODEL, weights="default")
    segattn.export(model, file, description=describe_model(segattn.recipe(_MODEL), model.classes))
    here = [sys.executable, "-m", "segattn"]
    out = ["--output", str(folder / "out")]
    found = {"--help": [*here, "--help"], "predict, 480x360": [*here, "predict", images["480x360"], *out]}
    pythons = {"exported file": sys.executable} | ({} if bare is None else {"exported file, no torch": str(bare)})
    for where, python in pythons.items():
        for name, image in images.items():
            words = ["predict", image, "--model", str(file), "--size", "native", *out]
            found[f"predict, {where}, {name}"] = [python, "-m", "segattn", *words]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bare", type=Path, metavar="PYTHON", help="of an environment without PyTorch")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args()
    results: dict[str, Any] = {**provenance(), "threads": args.threads, "runs": args.runs}
    with tempfile.TemporaryDirectory() as folder:
        measured = commands(Path(folder), args.bare)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in measured}
        for _ in range(args.runs + 1):
            for name, command in measured.items():
                times[name].append(run(command, args.threads))
        for name, command in measured.items():
            wall, processor = zip(*times[name][1:], strict=True)
            results[name] = {
                "wall_s": round(statistics.median(wall), 3),
                "wall_s_range": [round(min(wall), 3), round(max(wall), 3)],
                "processor_s": round(statistics.median(processor), 3),
                "processor_s_range": [round(min(processor), 3), round(max(processor), 3)],
                "imports_s": round(statistics.median(import_seconds(command) for _ in range(3)), 3),
            }
            print(f"{name}: {json.dumps(results[name])}", flush=True)
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
