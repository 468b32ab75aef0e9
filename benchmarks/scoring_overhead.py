"""What scoring costs around the network: AttaNet-light, 1024x2048, 19 classes, one view.

    python benchmarks/scoring_overhead.py

Prints the median time of the network alone and of each step around it, measured in turn in the same run, and the
share of the steps in percent of the network's time. The plain form (resize all maps, then `argmax`) is measured beside.
With `--threads 1`, times are the processor time of this process, so that other work on the machine is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from segattn.evaluation.argmax import resized_argmax
from segattn.evaluation.evaluate import calibration_of
from segattn.evaluation.inference import predict_labels
from segattn.evaluation.metrics import ConfusionMatrix
from segattn.evaluation.score_map import CoarseMap
from segattn.layers import resize
from segattn.machine import provenance
from segattn.models.attanet import AttaNet

SIZE = (1024, 2048)
CLASSES = 19


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="times that each step is measured")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    blocks = rng.integers(0, CLASSES, (SIZE[0] // 16, SIZE[1] // 16), dtype=np.uint8)
    truth = blocks.repeat(16, 0).repeat(16, 1)
    model = AttaNet(backbone="light").build(CLASSES).eval()
    align = model.align_corners
    confusion = ConfusionMatrix(CLASSES)

    with torch.inference_mode():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
        x = model.normalize(pixels)
        # random maps of the network's own shape: every class wins somewhere, the worst case for nobody's shortcut
        maps = torch.randn_like(model.logits(x))
        labels = resized_argmax(maps, SIZE, align_corners=align).numpy()
        scored = CoarseMap(maps, SIZE, align, "logits")
        steps: dict[str, Callable[[], object]] = {
            "network": lambda: model.logits(x),
            "upsampling and arg-max": lambda: resized_argmax(maps, SIZE, align_corners=align),
            "confusion matrix": lambda: confusion.update(labels, truth),
            "normalisation": lambda: model.normalize(pixels),
            "calibration": lambda: calibration_of(scored, labels, truth, 1.0),
            "plain upsampling and arg-max": lambda: resize(maps, SIZE, align_corners=align).argmax(1),
            "all of it (predict_labels, update)": lambda: confusion.update(predict_labels(model, image), truth),
        }
        rounds = measure(steps, arguments.rounds)

    times = {name: statistics.median(values) for name, values in rounds.items()}
    network = times["network"]
    print(f"{SIZE[0]}x{SIZE[1]}, {CLASSES} classes, {torch.get_num_threads()} threads, medians of {arguments.rounds}")
    for name, seconds in times.items():
        print(f"{name:<36} {1000 * seconds:8.1f} ms  {100 * seconds / network:6.1f} %")
    print(f"calibration, where it is asked for: {100 * times['calibration'] / network:.1f} % of the network's time")
    around = times["upsampling and arg-max"] + times["confusion matrix"]
    print(f"around the network: {100 * around / network:.1f} % of its time", end="")
    print(f" ({100 * (around + times['normalisation']) / network:.1f} % with normalisation)")
    if arguments.json:
        content = {
            **provenance(),
            "threads": torch.get_num_threads(),
            "around_the_network": around / network,
            "with_normalisation": (around + times["normalisation"]) / network,
            "seconds": {
                name: {"median": times[name], "range": [min(values), max(values)]} for name, values in rounds.items()
            },
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


def measure(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each round; every round runs all of them, so that a disturbance meets them alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for round_ in range(rounds + 1):
        for name, step in steps.items():
            start = now()
            step()
            if round_:  # the first round warms up
                times[name].append(now() - start)
    return times


if __name__ == "__main__":
    main()
