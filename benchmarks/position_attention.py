"""Position attention with and without the N x N matrix: time and peak memory, side by side in one run.

    python benchmarks/position_attention.py                    # everything, about half an hour on two cores
    python benchmarks/position_attention.py --images 512x1024 --train 384x384 --no-network

`lean` is what DANet runs, `plain` two matrix products and a softmax; both on random queries and keys of 64 and values
of 512 channels, at the size that an image has after DANet's backbone (1/8). Times are taken in turns in one process,
and the ratio is the median over the pairs; with `--threads 1` they are the processor time of that process, so that
other work on the machine is not counted. Peaks are of a fresh process for each figure: of the whole process, and above
what it held before it ran the attention.
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

from segattn.machine import peak_memory, provenance

FORMS = ("lean", "plain")
PLAIN_LIMIT = 12e9  # bytes; beyond this the plain form is skipped
MIB = 1 << 20


def main() -> None:
    options = parse_options()
    if options.worker:
        print(json.dumps(work(json.loads(options.worker))))
        return
    results: dict[str, Any] = {**provenance(), "threads": options.threads, "repeats": options.repeats}
    for image in options.images:
        results[f"forward {image}"] = compare(image, train=False, options=options)
    for image in options.train:
        results[f"forward + backward {image}"] = compare(image, train=True, options=options)
    for image in options.network:
        results[f"DANet-R101 {image}"] = network(image, options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", nargs="*", default=["512x1024", "1024x2048", "2048x4096"], help="for inference")
    parser.add_argument("--train", nargs="*", default=["768x768"], help="for forward and backward")
    parser.add_argument("--network", nargs="*", default=["1024x2048"], help="for the whole DANet-R101")
    parser.add_argument("--no-network", dest="network", action="store_const", const=[], help="attention only")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of timings")
    parser.add_argument("--threads", type=int, default=None, help="torch's threads (its own choice by default)")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    parser.add_argument("--worker", default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


def positions(image: str) -> int:
    height, width = (int(side) for side in image.split("x"))
    return -(-height // 8) * -(-width // 8)


def fresh_process(job: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", json.dumps(job)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return answer


def compare(image: str, *, train: bool, options: argparse.Namespace) -> dict[str, Any]:
    n = positions(image)
    needed = (4 if train else 2) * n * n * 4
    forms = [form for form in FORMS if form == "lean" or needed <= PLAIN_LIMIT]
    job = {"n": n, "train": train, "threads": options.threads}
    result: dict[str, Any] = {form: {} for form in forms}
    if len(forms) > 1:
        result = fresh_process(job | {"what": "time", "forms": forms, "repeats": options.repeats})
    print(f"{'forward + backward' if train else 'forward'}, {image} image, N = {n}")
    for form in forms:
        memory = fresh_process(job | {"what": "memory", "form": form})
        r = result[form] = memory | result[form]
        print(
            f"  {form:5}  {r['seconds']:8.2f} s   {r['gflops']:6.1f} GFLOP/s   "
            f"peak {r['peak'] / MIB:7.0f} MiB, {r['above'] / MIB:7.0f} of it by the attention"
        )
    if len(forms) > 1:
        print(f"  lean / plain: time {result['time_ratio']:.2f} (median of {options.repeats} pairs)")
    else:
        reason = f"its N x N matrices need {needed / 1e9:.0f} GB, over the limit of {PLAIN_LIMIT / 1e9:.0f} GB"
        result["plain_skipped"] = reason
        print(f"  plain  skipped: {reason}")
    sys.stdout.flush()
    return result


def network(image: str, options: argparse.Namespace) -> dict[str, Any]:
    print(f"DANet-R101, float32, one {image} image")
    result: dict[str, Any] = {}
    for form in FORMS:
        if form == "plain" and 2 * positions(image) ** 2 * 4 > PLAIN_LIMIT:
            print("  plain  skipped: as above")
            continue
        job = {"what": "network", "form": form, "image": image, "threads": options.threads}
        r = result[form] = fresh_process(job)
        print(
            f"  {form:5}  {r['seconds']:8.2f} s, {r['attention_seconds']:.2f} of it in position attention   "
            f"peak {r['peak'] / MIB:.0f} MiB",
            flush=True,
        )
    return result


def now() -> float:
    import torch

    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def work(job: dict[str, Any]) -> dict[str, Any]:
    """What a fresh process does."""
    import torch

    torch.manual_seed(0)
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    return {"time": work_time, "memory": work_memory, "network": work_network}[job["what"]](job)


def runner(form: str, n: int, *, train: bool) -> Callable[[], float]:
    """A function that runs the attention once and says how many seconds it took."""
    import torch

    from segattn.attention import dual

    attend: Callable[..., Any] = dual.position_attention if form == "lean" else dual.plain_position_attention
    q, k, v = ((torch.randn(1, c, n) * 0.5).requires_grad_(train) for c in (64, 64, 512))
    weight = torch.randn(1, 512, n) if train else None

    def run() -> float:
        start = now()
        out = attend(q, k, v)
        if weight is not None:
            torch.autograd.grad(out, (q, k, v), weight)
        return now() - start

    return run


def work_time(job: dict[str, Any]) -> dict[str, Any]:
    n = job["n"]
    runs = {form: runner(form, n, train=job["train"]) for form in job["forms"]}
    seconds: dict[str, list[float]] = {form: [] for form in runs}
    for form in runs:  # warms up the thread pool and the libraries at a small size
        runner(form, 512, train=job["train"])()
    for _ in range(job["repeats"]):
        for form, run in runs.items():
            seconds[form].append(run())
    result: dict[str, Any] = {
        form: {
            "seconds": statistics.median(s),
            "range": [min(s), max(s)],
            "gflops": flops(job) / statistics.median(s) / 1e9,
        }
        for form, s in seconds.items()
    }
    if len(runs) > 1:
        pairs = zip(seconds["lean"], seconds["plain"], strict=True)
        ratios = [lean / plain for lean, plain in pairs]
        result["time_ratio"] = statistics.median(ratios)
        result["time_ratio_range"] = [min(ratios), max(ratios)]
    return result


def flops(job: dict[str, Any]) -> float:
    return float(2 * job["n"] ** 2 * (3 if job["train"] else 1) * (64 + 512))  # without what is computed again


def work_memory(job: dict[str, Any]) -> dict[str, Any]:
    run = runner(job["form"], job["n"], train=job["train"])
    runner(job["form"], 64, train=job["train"])()
    before = peak_memory()
    seconds = run()
    peak = peak_memory()
    return {"peak": peak, "above": peak - before, "seconds": seconds, "gflops": flops(job) / seconds / 1e9}


def work_network(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    from segattn.attention import dual
    from segattn.models.danet import DANet

    attend: Callable[..., Any] = dual.position_attention if job["form"] == "lean" else dual.plain_position_attention
    spent: list[float] = []

    def timed(*args: Any) -> Any:
        start = now()
        out = attend(*args)
        spent.append(now() - start)
        return out

    dual.position_attention = timed  # type: ignore[assignment]
    model = DANet(backbone="resnet101").build(19).eval()
    height, width = (int(side) for side in job["image"].split("x"))
    with torch.no_grad():
        x = torch.randn(1, 3, height, width)
        start = now()
        model.logits(x)
        seconds = now() - start
    return {"seconds": seconds, "attention_seconds": sum(spent), "peak": peak_memory()}


if __name__ == "__main__":
    main()
