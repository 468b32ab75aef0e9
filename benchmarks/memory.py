"""What `--max-memory` takes a network's pass to need, beside what a process grows by.

    python benchmarks/memory.py --output benchmarks/results/memory.json

Each row is a process of its own that labels a painted street once at a small size, and then one of the row's size; the
growth of its resident size at its largest is compared with what its tensors take, worked out from shapes alone
(`segattn.models.shapes.forward_bytes`). Then an image of 24 megapixels is labelled within bounds, and images through
protocols that look more than once, beside what the scores of all classes at the image's size would take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from segattn.machine import peak_memory, provenance, reset_peak
from segattn.synthetic.write import draw_street

RECIPES = (
    "attanet_light_camvid",
    "attanet_lite0_camvid",
    "attanet_r18_cityscapes",
    "danet_r50_cityscapes",
    "acfnet_r101_cityscapes",
    "light_ham_d256_van_tiny_ade20k",
    "fpn_agent_pvt_t_ade20k",
    "upernet_agent_swin_t_ade20k",
)
SIZES = ((512, 1024), (1536, 2048))
LOOKS = (
    ("attanet_light_camvid", "multi_flip", (1536, 2048)),
    ("attanet_light_camvid", "slide_1024", (4000, 6000)),
    ("light_ham_d256_van_tiny_ade20k", "mmseg_multi_flip_32", (1536, 2048)),
)
PHOTO, BOUNDS = (4000, 6000), (None, 1 << 30, 512 << 20, 256 << 20)


def grow(name: str, size: tuple[int, int]) -> None:
    import segattn
    from segattn.evaluation.inference import predict_labels
    from segattn.models.shapes import forward_bytes

    model = segattn.create_model(name).eval()
    tensors = forward_bytes(model, size)
    street, _ = draw_street(np.random.default_rng(0), size)
    predict_labels(model, np.ascontiguousarray(street[:256, :256]))
    reset_peak()
    before = peak_memory()
    predict_labels(model, street)
    print(json.dumps({"recipe": name, "size": size, "tensors": tensors, "growth": peak_memory() - before}))


def look(name: str, protocol: str, size: tuple[int, int]) -> None:
    import segattn
    from segattn.evaluation.inference import predict_labels

    model = segattn.create_model(name).eval()
    street, _ = draw_street(np.random.default_rng(0), size)
    predict_labels(model, np.ascontiguousarray(street[:256, :256]), segattn.protocol(protocol))
    reset_peak()
    before, start = peak_memory(), time.perf_counter()
    predict_labels(model, street, segattn.protocol(protocol))
    row = {"growth": peak_memory() - before, "seconds": time.perf_counter() - start}
    scores = 4 * model.num_classes * size[0] * size[1]
    print(json.dumps({"recipe": name, "protocol": protocol, "size": size, "all scores": scores, **row}))


def bound(memory: int | None) -> None:
    import segattn

    model = segattn.create_model("attanet_light_camvid", weights="default")
    street = draw_street(np.random.default_rng(0), PHOTO)[0]
    segattn.predict(model, np.ascontiguousarray(street[:256, :256]), size="native")
    if memory is not None:  # what is worked out is kept, and is no part of the growth
        segattn.predict(model, street[:600, :600], size="native", max_memory=memory)
    reset_peak()
    before, start = peak_memory(), time.perf_counter()
    result = segattn.predict(model, street, size="native", max_memory=memory)
    seconds = time.perf_counter() - start
    print(json.dumps({"bound": memory, "window": result.window, "growth": peak_memory() - before, "seconds": seconds}))


def run(*words: object) -> Any:
    command = [sys.executable, __file__, *map(str, words)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--grow", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--bound", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--look", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--looks", action="store_true", help="measure these alone")
    arguments = parser.parse_args()
    if arguments.grow:
        name, height, width = arguments.grow
        grow(name, (int(height), int(width)))
        return
    if arguments.look:
        name, protocol, height, width = arguments.look
        look(name, protocol, (int(height), int(width)))
        return
    if arguments.bound is not None:
        bound(arguments.bound or None)
        return
    rows = []
    for name in arguments.recipes if not arguments.looks else ():
        for size in SIZES:
            row = run("--grow", name, *size)
            rows.append(row)
            tensors, growth = row["tensors"] / 2**20, row["growth"] / 2**20
            print(
                f"{name} {size[1]}x{size[0]}: {tensors:.0f} MiB, grew by {growth:.0f}, {growth / tensors:.2f}",
                flush=True,
            )
    bounds = [run("--bound", memory or 0) for memory in BOUNDS if not arguments.looks]
    for row in bounds:
        print(
            f"{PHOTO[1]}x{PHOTO[0]} within {(row['bound'] or 0) >> 20 or 'any'} MiB: windows of {row['window']}, "
            f"grew by {row['growth'] / 2**20:.0f} MiB, {row['seconds']:.1f} s",
            flush=True,
        )
    looks = [run("--look", name, protocol, *size) for name, protocol, size in LOOKS]
    for row in looks:
        print(
            f"{row['recipe']} {row['protocol']} {row['size'][1]}x{row['size'][0]}: all scores "
            f"{row['all scores'] / 2**20:.0f} MiB, grew by {row['growth'] / 2**20:.0f}, {row['seconds']:.1f} s",
            flush=True,
        )
    if arguments.output:
        arguments.output.write_text(
            json.dumps({"provenance": provenance(), "rows": rows, "bounds": bounds, "looks": looks}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
