"""Everything that is measured on a GPU, in one call of at most eight minutes, as one JSON.

    python benchmarks/gpu.py --output benchmarks/results/gpu.json
    python benchmarks/gpu.py --device cpu --smoke --output /tmp/smoke.json      # that it runs: tiny sizes, no figures

Parts, in the order in which they run: `parity` (each family on the GPU against the CPU), `attanet` (images a second),
`attention` (position attention in several forms), `training` (a step beside a bare loop), `networks` (images a second
of the other families), `compiled`. A measurement is begun only while the time that it may need is left of --budget;
those that were not begun are listed under `skipped`, and one that fails stands under its name with its error. The file
is written after every measurement.

Images a second are from uint8 pixels on the device to logits at the images' size, random weights. Forms: `fp32` and
`tf32` are the network as it is; `bf16` has its batch norms folded, channels innermost and weights in bfloat16; `graph`
is a CUDA graph of the folded network; `compiled` is `torch.compile`. `equal_labels` is against fp32 on the same images.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gpu_attention import attend
from gpu_session import Session, tf32
from torch import Tensor
from training_cost import CASES, Case, measure_time, run_one

from segattn.layers import channels_last
from segattn.models.attanet import AttaNet
from segattn.models.fold import fold_batch_norms
from segattn.models.segmenter import Segmenter
from segattn.recipes.catalog import recipe as find_recipe

PARTS = ("parity", "attanet", "attention", "training", "networks", "compiled")
FAMILIES = (
    "attanet_light_cityscapes",
    "danet_r50_cityscapes",
    "acfnet_r101_cityscapes",
    "light_ham_van_tiny_ade20k",
    "ham_van_tiny_ade20k",
    "fpn_agent_pvt_t_ade20k",
    "upernet_agent_swin_t_ade20k",
)
ATTANET = ("attanet_light_cityscapes", "attanet_r18_cityscapes", "attanet_df2_cityscapes")
STREETS = ((512, 1024), (1024, 2048))
NETWORKS = (
    ("danet_r101_cityscapes", (512, 1024)),
    ("danet_r101_cityscapes", (1024, 2048)),
    ("acfnet_r101_cityscapes", (512, 1024)),
    ("light_ham_van_tiny_ade20k", (512, 512)),
    ("light_ham_van_base_ade20k", (512, 512)),
    ("fpn_agent_pvt_s_ade20k", (512, 512)),
    ("upernet_agent_swin_t_ade20k", (512, 512)),
    ("acfnet_r101_cityscapes", (1024, 2048)),
)
BATCHES = (1, 4, 16, 64)


def build(name: str) -> Segmenter:
    """On the CPU, with the gates of attention opened, so that it counts."""
    torch.manual_seed(0)
    recipe = find_recipe(name)
    model: Segmenter = recipe.network.build(recipe.data.num_classes).eval().requires_grad_(False)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("gamma"):
            parameter.fill_(0.5)
    return model


def prepared(model: Segmenter, form: str) -> Segmenter:
    """A form of a network: a copy, where it is changed."""
    if "bf16" in form:
        return channels_last(fold_batch_norms(model)).to(torch.bfloat16)  # type: ignore[return-value]
    return fold_batch_norms(model) if "graph" in form else model


def graphed(run: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """A call as a CUDA graph, which gives the same tensor each time; on the CPU the call itself."""
    if device.type != "cuda":
        return run
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()

    def replay() -> Tensor:
        graph.replay()
        return out

    return replay


def pixels(session: Session, batch: int, size: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, size[0] // 16, size[1] // 16, generator=generator)
    images = F.interpolate(coarse, size, mode="bilinear") * 255
    return images.to(torch.uint8).to(session.device)


def agreement(got: Tensor, wanted: Tensor) -> dict[str, float]:
    got, wanted = got.float().cpu(), wanted.float().cpu()
    return {
        "largest_difference": float(f"{((got - wanted).abs().max() / (wanted.max() - wanted.min())).item():.2e}"),
        "equal_labels": round((got.argmax(1) == wanted.argmax(1)).float().mean().item(), 6),
    }


def parity(session: Session) -> None:
    shapes = ((1, (64, 64)),) if session.smoke else ((1, (192, 256)), (2, (160, 224)))
    for name in FAMILIES:

        @torch.inference_mode()
        def compare(name: str = name) -> dict[str, Any]:
            model, result = build(name), {}
            on_device = copy.deepcopy(model).to(session.device)
            half = prepared(model, "bf16").to(session.device)
            for batch, size in shapes:
                images = pixels(session, batch, size)
                wanted = model(images.cpu())
                rows = {}
                for form, network in (("fp32", on_device), ("tf32", on_device), ("bf16", half)):
                    with tf32(form != "fp32"):
                        rows[form] = agreement(network(images), wanted)
                result[f"{batch}x{size[0]}x{size[1]}"] = rows
            return result

        session.measure("parity", name, compare, needs=20)


def speed(session: Session, part: str, name: str, size: tuple[int, int], forms: tuple[str, ...]) -> None:
    """Images a second of one network in several forms, its best batch where the form is no graph."""
    if session.smoke:
        size = (64, 64)
    needs = 60.0 if any("compiled" in form for form in forms) else 12.0
    model: Segmenter | None = None
    reference: Tensor | None = None
    for form in forms:

        @torch.inference_mode()
        def rate(form: str = form) -> dict[str, Any]:
            nonlocal model, reference
            if model is None:
                model = build(name).to(session.device)
            torch._dynamo.reset()
            network: Callable[[Tensor], Tensor] = prepared(model, form)
            if "compiled" in form:
                network = torch.compile(network, backend="eager" if session.smoke else "inductor")
            rows: dict[str, Any] = {}
            batches = BATCHES[:1] if "graph" in form or "compiled" in form else BATCHES[: 2 if session.smoke else 4]
            best = 0.0
            with tf32(form.split()[0] != "fp32"):
                for batch in batches:
                    images = pixels(session, batch, size)
                    session.reset_peak()
                    try:
                        rows[str(batch)], out = one_batch(session, network, images, graph="graph" in form)
                    except RuntimeError as error:  # out of memory, or too large for a kernel: smaller batches stay
                        if not rows:
                            raise
                        rows[str(batch)] = {"error": str(error).strip().splitlines()[0][:200]}
                        break
                    if batch == 1:
                        if reference is None:
                            with tf32(False):
                                reference = model(images).float().cpu()
                        rows["1"] |= agreement(out, reference)
                    del out
                    if rows[str(batch)]["images_per_second"] < 1.03 * best:
                        break
                    best = rows[str(batch)]["images_per_second"]
            return rows

        session.measure(part, f"{name} {size[0]}x{size[1]} {form}", rate, needs=needs)


def one_batch(
    session: Session, network: Callable[[Tensor], Tensor], images: Tensor, *, graph: bool
) -> tuple[dict[str, Any], Tensor]:
    def run() -> Tensor:
        return network(images)

    run()  # compiles, and fills what networks keep for a size
    call = graphed(run, session.device) if graph else run
    times = session.timed(call)
    row = {
        "images_per_second": round(len(images) / statistics.median(times), 2),
        "ms": round(1e3 * statistics.median(times), 3),
        "ms_range": [round(1e3 * min(times), 3), round(1e3 * max(times), 3)],
        "peak_mib": session.peak_mib(),
    }
    return row, call()


def attention(session: Session) -> None:
    """Position attention for an image of each size, at stride 8."""
    for image in ((32, 64),) if session.smoke else STREETS:
        n = image[0] * image[1] // 64
        for precision in ("bf16", "tf32", "fp32"):
            for form in ("ours", "plain", "sdpa", "flex", "flex, values in slices"):
                if form.startswith("flex") and precision == "fp32":
                    continue
                for backward in (False, True):
                    if backward and (form.startswith("flex") or precision == "fp32"):
                        continue

                    def run(
                        n: int = n, precision: str = precision, form: str = form, backward: bool = backward
                    ) -> dict[str, Any]:
                        return attend(session, n, precision, form, backward)

                    way = "forward + backward" if backward else "forward"
                    size = f"{image[0]}x{image[1]}"
                    needs = 40 if form.startswith("flex") else 10
                    session.measure("attention", f"{size} {precision} {form}, {way}", run, needs=needs)


def training(session: Session) -> None:
    larger = Case(AttaNet(backbone="resnet18"), ("aux1", "aux2"), (512, 1024), 8, mixed=True, ema=0.998)
    cases = {**CASES, "attanet_r18, 8 of 512x1024, bf16, averaged weights": larger}
    if session.smoke:
        cases = {"attanet_light": replace(CASES["attanet_light"], size=(64, 64), batch=2)}
    for name, case in cases.items():

        def cost(case: Case = case) -> dict[str, Any]:
            blocks, steps = (2, 1) if session.smoke else (8, 10)
            row = measure_time(case, session.device, blocks, steps)
            for form in ("ours", "bare"):
                session.free()
                before = session.reset_peak()
                run_one(case, form, session.device, 3, lambda: None)
                row[f"peak_mib_{form}"] = session.peak_mib(before)
            return row

        session.measure("training", name, cost, needs=40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=int, default=460, help="seconds (default: 460)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    session = Session(options)
    for part in [part for part in PARTS if part in options.parts]:
        if part == "parity":
            parity(session)
        elif part == "attention":
            attention(session)
        elif part == "training":
            training(session)
        elif part == "attanet":
            for size in STREETS:
                for name in ATTANET:
                    speed(session, part, name, size, ("bf16 graph", "tf32 graph", "bf16", "tf32", "fp32"))
        elif part == "networks":
            for name, size in NETWORKS:
                speed(session, part, name, size, ("bf16", "tf32", "bf16 graph", "fp32"))
        else:
            for name, size in ((ATTANET[0], STREETS[0]), (ATTANET[1], STREETS[0]), (ATTANET[0], STREETS[1])):
                speed(session, part, name, size, ("bf16 compiled", "bf16 compiled graph"))
            for name, size in NETWORKS[3:7]:
                speed(session, part, name, size, ("bf16 compiled",))
    session.results["finished"] = True
    session.output.write_text(json.dumps(session.results, indent=1) + "\n")


if __name__ == "__main__":
    main()
