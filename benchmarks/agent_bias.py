"""Agent attention as this package computes it, against the plain form: time and peak memory on CPU.

    python benchmarks/agent_bias.py --rounds 7

The plain form (`tests/oracles/agent_attention.py`) resizes every bias at each call and holds whole attention matrices;
the rest of the network is the same. Per network and size:

- attention: all agent attention modules of one forward pass, each on its own input, ours and plain in turn; the figure
  is the median over rounds of the ratio of the two sums taken right after one another;
- network: the whole `model.logits`, in the same manner;
- memory: the largest resident size of a fresh process that builds the network and runs it twice, and the same
  without running it, so that their difference is what running takes.

With `--threads 1`, times are the processor time of this process, so that other work on the machine is not counted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segattn.attention.agent import AgentAttention
from segattn.machine import peak_memory, provenance
from segattn.models.agent import AgentPVTSemanticFPN, AgentSwinUperNet
from segattn.models.segmenter import Segmenter

NETWORKS: dict[str, Callable[[], Segmenter]] = {
    "upernet_agent_swin_t": lambda: AgentSwinUperNet(size="t").build(150),
    "fpn_agent_pvt_s": lambda: AgentPVTSemanticFPN(size="s").build(150),
}
FORMS = ("ours", "plain")


def plain_form() -> Callable[[AgentAttention, Tensor], Tensor]:
    path = Path(__file__).parents[1] / "tests" / "oracles" / "agent_attention.py"
    spec = importlib.util.spec_from_file_location("plain_agent_attention", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.agent_attention  # type: ignore[no-any-return]


@contextmanager
def using(model: Segmenter, form: str) -> Iterator[None]:
    """Inside, the model's agent attention runs in this form."""
    modules = agent_modules(model) if form == "plain" else []
    for module in modules:
        module.forward = partial(plain_form(), module)  # type: ignore[method-assign]
    yield
    for module in modules:
        del module.forward


def agent_modules(model: Segmenter) -> list[AgentAttention]:
    return [module for module in model.modules() if isinstance(module, AgentAttention)]


def build(network: str) -> Segmenter:
    torch.manual_seed(0)
    return NETWORKS[network]().eval()


def attention_inputs(model: Segmenter, image: Tensor) -> list[Tensor]:
    inputs: list[Tensor] = []
    handles = [m.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for m in agent_modules(model)]
    model.logits(image)
    for handle in handles:
        handle.remove()
    return inputs


def seconds(run: Callable[[], Any]) -> float:
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = now()
    run()
    return now() - start


def paired(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Medians over rounds: milliseconds of each form, and the ratio plain / ours within a round."""
    for run in runs.values():
        run()
    taken: dict[str, list[float]] = {form: [] for form in FORMS}
    for i in range(rounds):
        for form in FORMS if i % 2 == 0 else FORMS[::-1]:
            taken[form].append(seconds(runs[form]))
    ratios = [plain / ours for ours, plain in zip(*(taken[form] for form in FORMS), strict=True)]
    return {
        **{f"{form}_ms": round(1e3 * statistics.median(taken[form]), 1) for form in FORMS},
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
    }


def measure_time(network: str, height: int, width: int, rounds: int) -> dict[str, Any]:
    model = build(network)
    image = torch.randn(1, 3, height, width)
    inputs = attention_inputs(model, image)
    modules = agent_modules(model)

    def attention(form: str) -> None:
        with using(model, form):
            for module, x in zip(modules, inputs, strict=True):
                module(x)

    def whole(form: str) -> Tensor:
        with using(model, form):
            return model.logits(image)

    difference = (whole("ours") - whole("plain")).abs().max().item()
    return {
        "max_abs_difference": difference,
        "attention": paired({form: partial(attention, form) for form in FORMS}, rounds),
        "network": paired({form: partial(whole, form) for form in FORMS}, rounds),
    }


def peak_mib(network: str, height: int, width: int, form: str, threads: int) -> float:
    """Of a fresh process; form "built" only builds the network."""
    command = [sys.executable, __file__, "--threads", str(threads), "--one", network, str(height), str(width), form]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_one(network: str, height: int, width: int, form: str) -> None:
    model = build(network)
    if form != "built":
        with using(model, form):
            for _ in range(2):
                model.logits(torch.randn(1, 3, height, width))
    print(peak_memory() / 1024**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["512x512", "512x2048"], help="HEIGHTxWIDTH")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--one", nargs=4, metavar=("NETWORK", "HEIGHT", "WIDTH", "FORM"), help="one memory measurement")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    if args.one:
        network, height, width, form = args.one
        return run_one(network, int(height), int(width), form)
    results: dict[str, Any] = {**provenance(), "threads": args.threads, "rounds": args.rounds}
    for network in args.networks:
        for size in args.sizes:
            height, width = map(int, size.split("x"))
            row = measure_time(network, height, width, args.rounds)
            row["peak_mib"] = {f: round(peak_mib(network, height, width, f, args.threads)) for f in (*FORMS, "built")}
            results[f"{network} {size}"] = row
            print(f"{network} {size}: {json.dumps(row)}", flush=True)
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
