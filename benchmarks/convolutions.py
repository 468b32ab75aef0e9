"""How fast the convolutions of a ResNet's third stage are, by map size and memory layout, beside a matrix product.

    for pages in 0 1; do THP_MEM_ALLOC_ENABLE=$pages python benchmarks/convolutions.py --threads 1; done

The maps are those of DANet and ACFNet at 768x768 and 1024x2048; ACFNet's have odd sides. THP_MEM_ALLOC_ENABLE=1 is what
the `segattn` command sets: torch then asks Linux for large pages. With one thread, times are processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segattn.machine import provenance

CONVOLUTIONS = ((1024, 256, 1, 1), (256, 1024, 1, 1), (256, 256, 3, 2))
MAPS = ((96, 96), (97, 97), (128, 256), (129, 257))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    product = 2 * 2048**3 / seconds(lambda: a @ b, options.rounds)[0] / 1e9
    large_pages = os.environ.get("THP_MEM_ALLOC_ENABLE") == "1"
    print(f"GFLOP/s, medians; large pages {'asked for' if large_pages else 'left alone'}; matrix product {product:.1f}")
    rows: list[dict[str, Any]] = []
    for inputs, outputs, kernel, dilation in CONVOLUTIONS:
        padding = dilation * (kernel // 2)
        plain = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
        innermost = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
        innermost.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for height, width in MAPS:
            x = torch.randn(1, inputs, height, width)
            y = x.contiguous(memory_format=torch.channels_last)
            flops = 2 * inputs * outputs * kernel**2 * height * width
            row: dict[str, Any] = {"convolution": f"{kernel}x{kernel} {inputs}->{outputs}", "map": f"{height}x{width}"}
            for name, conv, map_ in (("plain", plain, x), ("channels last", innermost, y)):
                median, low, high = seconds(lambda conv=conv, map_=map_: conv(map_), options.rounds)  # type: ignore[misc]
                row[name] = {"gflops": flops / median / 1e9, "range": [flops / high / 1e9, flops / low / 1e9]}
            rows.append(row)
            speeds = "  ".join(f"{name} {row[name]['gflops']:6.1f}" for name in ("plain", "channels last"))
            print(f"{row['convolution']:14}  {row['map']:8}  {speeds}", flush=True)
    if options.json:
        about = {**provenance(), "threads": options.threads, "large_pages": large_pages, "product_gflops": product}
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def seconds(run: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median, least and most."""
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    run()
    times = []
    for _ in range(rounds):
        start = now()
        run()
        times.append(now() - start)
    return statistics.median(times), min(times), max(times)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
