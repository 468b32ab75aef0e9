"""One network of each family in every form that this machine has: PyTorch's, ONNX Runtime and OpenVINO, in turns.

    OMP_NUM_THREADS=1 python benchmarks/engines.py --threads 1 --output benchmarks/results/engines_1_thread.json

Forms take turns in one process on one painted street; a ratio is the median over rounds of the pair taken right after
one another. "chosen" is what `--engine auto` would take, the fastest of the float32 forms by these. The forms in bf16
are others' numbers and are never chosen: the share of labels equal to those in float32 stands beside their time. With
one thread times are the processor's, of all threads of this process; with more they are the wall clock's. The share of
a large product says how far a form can be from the best that there is: 1 / share is the most that can be gained.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from segattn.exporting.engine_file import network_folder
from segattn.exporting.fastest import PLAIN, ways_to_run
from segattn.machine import native_bf16, provenance
from segattn.models.fold import optimize_for_inference
from segattn.models.segmenter import Segmenter
from segattn.recipes.catalog import recipe as find_recipe
from segattn.synthetic.write import draw_street

RECIPES = (
    "attanet_light_camvid",
    "attanet_lite0_camvid",
    "attanet_light_cityscapes",
    "attanet_r18_cityscapes",
    "danet_r50_cityscapes",
    "acfnet_r101_cityscapes",
    "light_ham_d256_van_tiny_ade20k",
    "light_ham_van_base_ade20k",
    "fpn_agent_pvt_s_ade20k",
    "upernet_agent_swin_t_ade20k",
)
ENGINES = ("onnxruntime", "openvino")
BRIEF = 2.0
"""Seconds of a pass up to which one that isn't counted goes before it, in which others' idle threads fall asleep."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--size", default="512x1024", help="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=150.0, help="of a network, after which no round begins")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path)
    parser.add_argument("--keep", action="store_true", help="the rows of the output, and measure those that it lacks")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    height, width = map(int, options.size.split("x"))
    results: dict[str, Any] = {**provenance(), "threads": options.threads, "size": options.size, "rows": {}}
    if options.keep and options.output and options.output.exists():
        results = json.loads(options.output.read_text())
    for name in options.recipes:
        if name in results["rows"]:
            continue
        with torch.inference_mode():
            row = compare(name, (height, width), options.rounds, options.seconds)
        results["rows"][name] = row
        show(name, row)
        results["geometric mean, eager / chosen"] = geometric_mean(results["rows"].values())
        if options.output:
            options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(f"eager / chosen, geometric mean: {results['geometric mean, eager / chosen']:.2f}")


def geometric_mean(rows: Any) -> float:
    return math.exp(statistics.mean(math.log(1 / row["forms"][row["chosen"]]["to eager"]) for row in rows))


def now() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def timed(run: Callable[[], object]) -> float:
    start = now()
    run()
    return now() - start


def product_gflops() -> float:
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    out = torch.empty_like(a)
    return 2 * 2048**3 / min(timed(lambda: torch.mm(a, b, out=out)) for _ in range(4)) / 1e9


def in_bf16(model: Segmenter) -> Callable[[Tensor], Tensor]:
    def run(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(images).float()

    return run


def openvino_in_bf16(model: Segmenter) -> Callable[[Tensor], Tensor]:
    import openvino

    properties = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.compile_model(network_folder(model) / "network.onnx", "CPU", properties)
    return lambda images: torch.from_numpy(np.array(compiled((images / 255).numpy())[0], dtype=np.float32))


def compare(name: str, size: tuple[int, int], rounds: int, limit: float) -> dict[str, Any]:
    recipe = find_recipe(name)
    torch.manual_seed(0)
    model = recipe.network.build(recipe.data.num_classes).eval()
    street, _ = draw_street(np.random.default_rng(0), size)
    images = torch.from_numpy(np.ascontiguousarray(street.transpose(2, 0, 1)))[None]
    wanted = model(images)
    forms: dict[str, Callable[[Tensor], Tensor]] = {}
    facts: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    makers: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = dict(ways_to_run(model, torch.get_num_threads()))
    exact = set(makers)
    if native_bf16(torch.device("cpu")):
        makers["torch, folded, channels last, bf16"] = lambda: in_bf16(optimize_for_inference(model))
        makers["openvino, bf16"] = lambda: openvino_in_bf16(model)
    for form, make in makers.items():
        try:
            run = make()
            got = run(images)
        except Exception as error:
            left_out[form] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            continue
        forms[form] = run
        facts[form] = {
            "relative difference": ((got - wanted).abs().max() / (wanted.max() - wanted.min())).item(),
            "equal labels": (got.argmax(1) == wanted.argmax(1)).float().mean().item(),
        }
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    products = [product_gflops()]
    end = time.perf_counter() + limit
    for index in range(rounds):
        for form in forms if index % 2 == 0 else reversed(forms):
            brief = not seconds[form] or seconds[form][0] < BRIEF
            if brief:
                forms[form](images)
            seconds[form].append(timed(lambda form=form: forms[form](images)))  # type: ignore[misc]
        products.append(product_gflops())
        if time.perf_counter() > end and index >= 2:
            break
    product = max(products)
    flops = flops_of(model, images)
    for form, own in seconds.items():
        ratios = [here / there for here, there in zip(own, seconds[PLAIN], strict=True)]
        facts[form] |= {
            "milliseconds": 1e3 * statistics.median(own),
            "range": [1e3 * min(own), 1e3 * max(own)],
            "to eager": statistics.median(ratios),
            "to eager, range": [min(ratios), max(ratios)],
        }
    chosen = min(exact & set(forms), key=lambda form: facts[form]["to eager"])
    row: dict[str, Any] = {"forms": facts, "left out": left_out, "chosen": chosen, "rounds": len(seconds[PLAIN])}
    row |= {"product GFLOP/s": product, "GFLOP": flops / 1e9}
    for key, form in (("share of product", chosen), ("share of product, eager", PLAIN)):
        row[key] = flops / 1e9 / product / (facts[form]["milliseconds"] / 1e3)
    engines = [form for form in ENGINES if form in forms]
    if engines:
        best = min(engines, key=lambda form: facts[form]["to eager"])
        pairs = zip(seconds[chosen], seconds[best], strict=True)
        row |= {"best engine": best, "chosen to best engine": statistics.median(a / b for a, b in pairs)}
        ours = min((form for form in exact & set(forms) if form not in ENGINES), key=lambda f: facts[f]["to eager"])
        pairs = zip(seconds[ours], seconds[best], strict=True)
        row |= {"best of torch": ours, "best of torch to best engine": statistics.median(a / b for a, b in pairs)}
    return row


def flops_of(model: Segmenter, images: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:  # type: ignore[no-untyped-call]
        model(images)
    return float(counter.get_total_flops())


def show(name: str, row: dict[str, Any]) -> None:
    print(
        f"{name}   {row['GFLOP']:.0f} GFLOP, {row['share of product']:.0%} of a large product's "
        f"{row['product GFLOP/s']:.0f} GFLOP/s, eager {row['share of product, eager']:.0%}; {row['rounds']} rounds"
    )
    for form, facts in row["forms"].items():
        low, high = facts["to eager, range"]
        print(
            f"  {form:36} {facts['milliseconds']:9.1f} ms   to eager {facts['to eager']:.2f} ({low:.2f} to {high:.2f})"
            f"   differs by {facts['relative difference']:.0e}, {facts['equal labels']:.2%} equal labels",
            flush=True,
        )
    for form, why in row["left out"].items():
        print(f"  {form}: left out, {why}")
    if "best engine" in row:
        print(f"  chosen {row['chosen']}: {row['chosen to best engine']:.2f} of {row['best engine']}; ", end="")
        print(f"{row['best of torch']}: {row['best of torch to best engine']:.2f} of it", flush=True)


if __name__ == "__main__":
    main()
