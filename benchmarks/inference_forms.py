"""What `optimize_for_inference` and its parts change: forms of a network in turns, in one process.

    OMP_NUM_THREADS=1 python benchmarks/inference_forms.py --recipes danet_r101_cityscapes --sizes 768x768 --threads 1

Prints, for each form, the median time, the median over rounds of its ratio to the plain form's pass right beside it
(and the range), and how far its logits are from the plain form's. Then, for the first and the last form, where time
is lost: for each part its time, and that time less what its multiply-accumulates would take at the speed of a large
matrix product measured in the same run. With one thread, times are the processor's of this process.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from segattn.layers import channels_last
from segattn.machine import provenance
from segattn.measure.benchmark import Watch
from segattn.models.fold import fold_batch_norms, optimize_for_inference
from segattn.models.segmenter import Segmenter
from segattn.recipes.catalog import recipe as find_recipe
from segattn.recipes.schema import Recipe

FORMS = ("plain", "folded", "folded, channels last", "optimized")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["danet_r101_cityscapes", "acfnet_ecanet101_cityscapes"])
    parser.add_argument("--sizes", nargs="+", default=["768x768", "1024x2048"], help="HEIGHTxWIDTH")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, Any] = {**provenance(), "threads": options.threads, "rounds": options.rounds}
    for name in options.recipes:
        for size in options.sizes:
            height, width = map(int, size.split("x"))
            with torch.inference_mode():
                row = compare(find_recipe(name), (height, width), options.forms, options.rounds)
            results[f"{name} {size}"] = row
            show(name, size, row)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1) + "\n")


def now() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def prepared(model: Segmenter, form: str) -> Segmenter:
    if form == "optimized":
        return optimize_for_inference(model)
    if form == "plain":
        return model
    model = fold_batch_norms(model)
    if "channels last" in form:
        channels_last(model)
    return model


def product_gflops() -> float:
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    out = torch.empty_like(a)
    times = []
    for _ in range(4):
        start = now()
        torch.mm(a, b, out=out)
        times.append(now() - start)
    return 2 * 2048**3 / min(times) / 1e9


def compare(recipe: Recipe, size: tuple[int, int], forms: list[str], rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    plain = recipe.network.build(recipe.data.num_classes).eval()
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    models = {form: prepared(plain, form) for form in forms}
    reference: Tensor | None = None
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    difference: dict[str, float] = {}
    products = [product_gflops()]
    for model in models.values():
        model(images[..., :64, :64])
    for index in range(rounds):
        for form in forms if index % 2 == 0 else forms[::-1]:
            start = now()
            out = models[form](images)
            seconds[form].append(now() - start)
            if index == 0:
                reference = out if reference is None else reference
                difference[form] = ((out - reference).abs().max() / reference.abs().max()).item()
        products.append(product_gflops())
    result: dict[str, Any] = {"product_gflops": max(products)}
    for form in forms:
        ratios = [here / there for here, there in zip(seconds[form], seconds[forms[0]], strict=True)]
        result[form] = {
            "seconds": statistics.median(seconds[form]),
            "range": [min(seconds[form]), max(seconds[form])],
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "relative_difference": difference[form],
        }
    macs = part_macs(plain, images)
    for form in {forms[0]: None, forms[-1]: None}:
        spent = Watch(models[form], now, lambda a, b: b - a).seconds(images)
        result[form]["parts"] = {
            part: {"seconds": s, "lost": s - 2 * macs[part] / result["product_gflops"] / 1e9}
            for part, s in spent.items()
        }
    return result


def part_macs(model: Segmenter, images: Tensor) -> dict[str, float]:
    with FakeTensorMode() as mode, FlopCounterMode(display=False) as counter:  # type: ignore[no-untyped-call]
        stand_ins: dict[int, Tensor] = {id(b): torch.empty(b.shape, dtype=b.dtype) for b in model.buffers()}
        stand_ins |= {id(p): nn.Parameter(torch.empty(p.shape, dtype=p.dtype)) for p in model.parameters()}
        shadow = copy.deepcopy(model, dict(stand_ins))
        return Watch(shadow, counter.get_total_flops, lambda a, b: (b - a) / 2).seconds(mode.from_tensor(images))


def show(name: str, size: str, row: dict[str, Any]) -> None:
    print(f"{name} {size}   large matrix product {row['product_gflops']:.1f} GFLOP/s")
    for form in [form for form in FORMS if form in row]:
        r = row[form]
        low, high = r["ratio_range"]
        print(
            f"  {form:22} {r['seconds']:8.3f} s   to plain {r['ratio']:.3f} ({low:.3f} - {high:.3f})   "
            f"logits differ by {r['relative_difference']:.1e} of the largest"
        )
    for form in [form for form in FORMS if "parts" in row.get(form, {})]:
        print(f"  {form}: time, and lost against the product")
        for part, r in row[form]["parts"].items():
            print(f"    {part:32} {r['seconds']:8.3f} s {r['lost']:8.3f} s")


if __name__ == "__main__":
    main()
