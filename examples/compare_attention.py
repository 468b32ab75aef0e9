"""The same backbone under four heads: what does each kind of attention cost?

    python examples/compare_attention.py
    python examples/compare_attention.py van_tiny 512 512

Networks are built without memory for their weights and nothing is computed, so any size takes seconds.
"""

from __future__ import annotations

import sys

import torch

import segattn
from segattn.measure.complexity import Complexity, complexity

HEADS = {
    "fcn": "no attention",
    "attanet": "strip attention",
    "danet": "position and channel attention",
    "acfnet": "class centres",
}


def compare(backbone: str, size: tuple[int, int], num_classes: int = 19) -> dict[str, Complexity]:
    """Parameters and multiply-accumulates by head, for one image of `size` (height, width)."""
    with torch.device("meta"):
        models = {head: segattn.build(backbone, head, num_classes=num_classes) for head in HEADS}
    return {head: complexity(model, size) for head, model in models.items()}


def main(backbone: str = "resnet18", height: str = "512", width: str = "1024") -> None:
    """Print the table."""
    print(f"{backbone}, one image of {height}x{width}")
    print(f"{'head':<8} {'':<30} {'parameters':>12} {'of the head':>12} {'GMACs':>8}")
    for head, cost in compare(backbone, (int(height), int(width))).items():
        own = dict(cost.parts)["head"]
        print(f"{head:<8} {HEADS[head]:<30} {cost.parameters:>12,} {own:>12,} {cost.macs / 1e9:>8.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
