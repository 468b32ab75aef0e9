"""Where a network's time goes, by kind of operator, and how near each kind comes to the machine's matrix product.

    OMP_NUM_THREADS=1 python benchmarks/limits.py --output benchmarks/results/limits.json

Each operator of a forward pass in evaluation is timed where it reaches torch's dispatcher, by the processor's clock,
and its multiply-adds are counted from the shapes (2 FLOP each); the median of --rounds passes. Kinds: convolutions by
their kernel ("depthwise" where each channel has its own), products of matrices, attention, norms, the rest elementwise,
resizing and pooling, and copies, which change no value. "of the product" is GFLOP/s by those of a large float32 product
in the same process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter, defaultdict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import segattn
from segattn.machine import provenance
from segattn.synthetic.write import draw_street

RECIPES = ("light_ham_d256_van_tiny_ade20k", "fpn_agent_pvt_s_ade20k", "upernet_agent_swin_t_ade20k")
PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
"""Operators that multiply matrices, and the number of the first factor among their arguments."""
NORMS = ("native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit_no_training")
MOVES = ("clone", "copy_", "cat", "_to_copy", "roll", "constant_pad_nd", "stack", "index")
POOLS = ("_adaptive_avg_pool2d", "avg_pool2d", "max_pool2d_with_indices", "mean")


def kind_of(func: Any, args: Any, out: Any) -> tuple[str, int]:
    """The kind of an operator, and its FLOP."""
    name = func.overloadpacket.__name__
    if name == "convolution":
        weight, groups = args[1], args[8]
        flop = 2 * out.numel() * prod(weight.shape[1:])
        kernel = "x".join(map(str, weight.shape[2:]))
        return f"depthwise {kernel}" if groups == weight.shape[0] > 1 else f"convolution {kernel}", flop
    if name in PRODUCTS:
        return "matrix product", 2 * out.numel() * args[PRODUCTS[name]].shape[-1]
    if "attention" in name:
        q, k, v = args[:3]
        return "attention", 2 * q.shape[:-1].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1])
    if name in NORMS:
        return "norm", 0
    if name in MOVES:
        return "copy", 0
    if name in POOLS or name.startswith("upsample"):
        return "resize and pool", 0
    return "elementwise", 0


class Watch(TorchDispatchMode):
    """Seconds and FLOP by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: Counter[str] = Counter()
        self.flop: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.process_time()
        out = func(*args, **(kwargs or {}))
        taken = time.process_time() - start
        kind, flop = kind_of(func, args, out)
        self.seconds[kind] += taken
        self.flop[kind] += flop
        return out


def product_rate(side: int = 1536) -> float:
    """GFLOP/s of a large product: the best of five."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        torch.mm(a, b)
        best = min(best, time.process_time() - start)
    return 2 * side**3 / best / 1e9


def measure(name: str, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    model = segattn.create_model(name).eval()
    street = draw_street(np.random.default_rng(0), size)[0]
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    with torch.no_grad():  # in inference mode, whole layers reach the dispatcher and not their operators
        x = model.normalize(torch.from_numpy(np.ascontiguousarray(street.transpose(2, 0, 1)))[None])
        model.logits(x)
        for _ in range(rounds):
            with Watch() as watch:
                model.logits(x)
            for kind, taken in watch.seconds.items():
                seconds[kind].append(taken)
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    kinds = sorted(medians, key=medians.__getitem__, reverse=True)
    rows = {kind: {"ms": 1e3 * medians[kind], "gflop": watch.flop[kind] / 1e9} for kind in kinds}
    return {"recipe": name, "size": size, "product_gflop_s": product_rate(), "kinds": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--size", default="512x1024", help="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    torch.set_num_threads(1)
    results = []
    for name in options.recipes:
        result = measure(name, (height, width), options.rounds)
        results.append(result)
        total = sum(row["ms"] for row in result["kinds"].values())
        print(f"{name}: {total:.0f} ms, a large product {result['product_gflop_s']:.0f} GFLOP/s", flush=True)
        for kind, row in result["kinds"].items():
            if row["ms"] > 0.005 * total:
                rate = row["gflop"] / row["ms"] * 1e3
                of = f"{rate:6.1f} GFLOP/s, {rate / result['product_gflop_s']:.0%} of the product" if rate else ""
                print(f"  {kind:18} {row['ms']:8.1f} ms {row['ms'] / total:6.1%}  {of}", flush=True)
    if options.output:
        options.output.write_text(json.dumps({"provenance": provenance(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
