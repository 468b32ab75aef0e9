"""Time and memory of each view of `segattn.explain`, against a forward pass of the same network on the same image.

    python benchmarks/explain.py --threads 1 --output benchmarks/results/explain.json

Per network and view (`--show` of the command): a whole call of `segattn.explain` for one pixel with that view alone,
which runs the network once and reads it; without files and page. The forward pass is `model.logits` of the normalised
image, without gradients.

- time: the median over rounds of the ratio of the two, taken right after one another. With `--threads 1`, times are the
  processor time of this process, so that other work on the machine is not counted;
- memory: the largest resident size of a fresh process that builds the network and makes the view, or runs the network,
  or only builds it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import segattn
from segattn.explaining.explain import shown_by
from segattn.machine import peak_memory, provenance
from segattn.models.segmenter import Segmenter

NETWORKS: dict[str, tuple[str, str]] = {
    "attanet": ("efficientnet_lite0_os16", "attanet"),
    "danet": ("resnet50_os8", "danet"),
    "acfnet": ("efficientnet_lite0_os16", "acfnet"),
    "agent": ("agent_pvt_t", "semantic_fpn"),
    "van": ("van_tiny", "light_ham"),
    "upernet": ("van_tiny", "upernet"),
    "semantic_fpn": ("van_tiny", "semantic_fpn"),
}
"""Backbone and head of each, with 19 classes."""


def build(network: str) -> Segmenter:
    torch.manual_seed(0)
    return segattn.build(*NETWORKS[network], num_classes=19).eval()


def painted(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def forward(model: Segmenter, image: NDArray[np.uint8]) -> None:
    with torch.no_grad():
        model.logits(model.normalize(torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()))


def make(model: Segmenter, image: NDArray[np.uint8], view: str) -> None:
    if view == "forward":
        forward(model, image)
    elif view != "built":
        segattn.explain(model, image, show=[view])


def seconds(run: Callable[[], Any]) -> float:
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = now()
    run()
    return now() - start


def peak_mib(network: str, view: str, size: tuple[int, int], threads: int) -> float:
    """Of a fresh process."""
    words = [str(number) for number in (*size, threads)]
    command = [sys.executable, __file__, "--one", network, view, *words]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(
    network: str, views: list[str] | None, size: tuple[int, int], rounds: int, threads: int
) -> dict[str, dict[str, Any]]:
    model, image = build(network), painted(*size)
    views = [view for view in shown_by(model) if views is None or view in views]
    forward(model, image)
    peaks = {form: peak_mib(network, form, size, threads) for form in ("built", "forward")}
    rows: dict[str, dict[str, Any]] = {}
    for view in views:
        pairs = [
            (seconds(lambda: forward(model, image)), seconds(lambda view=view: make(model, image, view)))
            for _ in range(rounds)
        ]
        peak = peak_mib(network, view, size, threads)
        rows[view] = {
            "forward_s": round(statistics.median(pair[0] for pair in pairs), 3),
            "view_s": round(statistics.median(pair[1] for pair in pairs), 3),
            "time_ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 2),
            "built_mib": round(peaks["built"]),
            "forward_mib": round(peaks["forward"]),
            "view_mib": round(peak),
            "rounds": rounds,
            "peak_ratio": round(peak / peaks["forward"], 2),
            "running_ratio": round((peak - peaks["built"]) / (peaks["forward"] - peaks["built"]), 2),
        }
        print(f"{network} {view}: {json.dumps(rows[view])}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="512x1024", help="HEIGHTxWIDTH")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--views", nargs="+", help="default: all that a network has")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="JSON file to write; what it holds of other views is kept")
    parser.add_argument("--one", nargs=5, metavar=("NETWORK", "VIEW", "HEIGHT", "WIDTH", "THREADS"), help="one peak")
    args = parser.parse_args()
    if args.one:
        network, view, height, width, threads = args.one
        torch.set_num_threads(int(threads))
        make(build(network), painted(int(height), int(width)), view)
        print(peak_memory() / 1024**2)
        return
    torch.set_num_threads(args.threads)
    height, width = map(int, args.size.split("x"))
    results: dict[str, Any] = {}
    if args.output and args.output.exists():
        results = json.loads(args.output.read_text())
    results |= {**provenance(), "threads": args.threads, "size": [height, width]}
    for network in args.networks:
        rows = measure(network, args.views, (height, width), args.rounds, args.threads)
        results[network] = {**results.get(network, {}), **rows}
        if args.output:
            args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
