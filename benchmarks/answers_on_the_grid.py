"""What it costs to put answers on their pixels: AttaNet-light's forward pass, on the grid and with corners aligned.

    python benchmarks/answers_on_the_grid.py --threads 1

Prints both medians and the ratio grid / corners of pairs that are measured in turn in the same run: its median, and the
middle half of the pairs.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from segattn.models.attanet import AttaNet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=60, help="pairs that are measured")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    corners = AttaNet(backbone="light").build(11).eval()
    grid = AttaNet(backbone="light", align_corners="grid").build(11).eval()
    image = torch.rand(1, 3, *arguments.size)
    with torch.inference_mode():
        for _ in range(5):
            seconds(corners, image), seconds(grid, image)
        pairs = [(seconds(corners, image), seconds(grid, image)) for _ in range(arguments.rounds)]
    ratios = [b / a for a, b in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"corners {1000 * statistics.median(a for a, _ in pairs):.1f} ms", end=", ")
    print(f"grid {1000 * statistics.median(b for _, b in pairs):.1f} ms, ratio {middle:.3f} ({low:.3f} to {high:.3f})")


def seconds(model: nn.Module, image: Tensor) -> float:
    start = time.perf_counter()
    model(image)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
