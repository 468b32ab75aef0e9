"""What `segattn.training` costs beside a bare PyTorch loop: time of a step and peak memory.

    python benchmarks/training_cost.py --threads 1

Both train the same network on the same made-up images through the same loader, in the same precision, with the same
optimiser. The bare loop is what one writes by hand: normalise, forward, resize, `F.cross_entropy` of each output,
backward, step, poly rate, and torch's own averaged model where weights are averaged. Ours is `train` itself, with its
checks, sums, log and random states; validation and checkpoints are left out of both.

- time: the loops take turns, a block of steps each, in one process; each of our blocks is compared with the mean of the
  bare blocks right before and after it. The figures are medians over blocks.
- memory: the most that tensors take at a time in a step, over what they took before it, as torch's profiler sees every
  allocation; and the largest size of fresh processes that train for a few steps by one of the loops (both import the
  same), which the heap's fragments make vary by some percent.

With `--threads 1` on a CPU, times are the processor time of this process, so that other work is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from segattn.contracts import Classes, Sample
from segattn.evaluation.protocol import Protocol
from segattn.losses.terms import CrossEntropy
from segattn.machine import peak_memory, provenance
from segattn.models.attanet import AttaNet
from segattn.models.networks import Network
from segattn.models.segmenter import Segmenter
from segattn.models.van import VANLightHam
from segattn.recipes.schema import SGD, Data, Recipe, Schedule, Training
from segattn.training.loader import TrainingSet, training_loader
from segattn.training.train import Run, _optimizer_step, train
from segattn.transforms.resizing import HorizontalFlip

FORMS = ("ours", "bare")
CLASSES = 11


@dataclass(frozen=True)
class Case:
    network: Network
    auxiliary: tuple[str, ...]
    size: tuple[int, int]
    batch: int
    mixed: bool = False  # bf16 and channels last
    ema: float | None = None


LIGHT = Case(AttaNet(backbone="light"), ("aux1", "aux2"), (256, 336), 8)
CASES = {
    "attanet_light": LIGHT,
    "attanet_light, bf16, averaged weights": replace(LIGHT, mixed=True, ema=0.998),
    "light_ham_van_small": Case(VANLightHam(size="small"), (), (256, 256), 2),
}


class Images:
    """Noise and blocks of labels, held in memory."""

    classes = Classes.numbered(CLASSES)

    def __init__(self, size: tuple[int, int], count: int = 32) -> None:
        rng = np.random.default_rng(0)
        height, width = size
        self.images = rng.integers(0, 256, (count, height, width, 3), np.uint8)
        blocks = rng.integers(0, CLASSES, (count, -(-height // 20), -(-width // 20)), np.uint8)
        self.masks = blocks.repeat(20, 1).repeat(20, 2)[:, :height, :width]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], self.masks[index], str(index), Path(str(index)))


def recipe_of(case: Case, steps: int) -> Recipe:
    return Recipe(
        name="cost",
        network=case.network,
        data=Data(dataset="made up", num_classes=CLASSES),
        augmentation=(HorizontalFlip(),),
        losses=tuple(CrossEntropy(output=name) for name in ("main", *case.auxiliary)),
        optimizer=SGD(),
        schedule=Schedule(lr=0.01, iterations=steps),
        training=Training(
            batch_size=case.batch,
            precision="bf16" if case.mixed else "float32",
            channels_last=case.mixed,
            ema_decay=case.ema,
            log_every=10,
            checkpoint_every=10**9,
            workers=0,
        ),
        protocol=Protocol(),
    )


def build(case: Case) -> Segmenter:
    torch.manual_seed(0)
    return case.network.build(CLASSES)


def bare_loop(case: Case, device: torch.device, steps: int) -> Callable[[], None]:
    """One step of it at each call."""
    recipe, model = recipe_of(case, steps), build(case).to(device).train()
    memory_format = torch.channels_last if case.mixed else torch.contiguous_format
    model.to(memory_format=memory_format)  # type: ignore[call-overload]
    data = TrainingSet(Images(case.size), recipe.augmentation, seed=0)
    batches = iter(training_loader(data, batch_size=case.batch, pin_memory=device.type == "cuda"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    average = None
    if case.ema is not None:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(case.ema), use_buffers=True)
    done = 0

    def step() -> None:
        nonlocal done
        batch = next(batches)
        images, labels = batch["image"].to(device, non_blocking=True), batch["mask"].to(device, non_blocking=True)
        labels = labels.long()
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - done / steps) ** 0.9
        with torch.autocast(device.type, torch.bfloat16, enabled=case.mixed):
            output = model.segment(model.normalize(images).contiguous(memory_format=memory_format))
        loss = torch.zeros((), device=device)
        for logits in (output.logits, *(output.auxiliary[name] for name in case.auxiliary)):
            logits = F.interpolate(
                logits.float(), labels.shape[-2:], mode="bilinear", align_corners=model.align_corners == "corners"
            )
            loss = loss + F.cross_entropy(logits, labels, ignore_index=255)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if average is not None:
            average.update_parameters(model)
        done += 1
        if done % 10 == 0:
            loss.item()

    return step


def train_ours(case: Case, device: torch.device, steps: int, *, before_step: Callable[[], None]) -> None:
    """`train`, with a call before each step, its batch being there."""

    def observed(run: Run, micro_batches: Any) -> Any:
        before_step()
        return _optimizer_step(run, micro_batches)

    with patch("segattn.training.train._optimizer_step", observed), tempfile.TemporaryDirectory() as folder:
        train(
            build(case),
            recipe_of(case, steps),
            train_set=Images(case.size),
            val_set=None,
            output_dir=folder,
            device=device,
        )


def measure_time(case: Case, device: torch.device, blocks: int, block: int) -> dict[str, Any]:
    """Blocks in turn: bare, ours, bare, ours, ..., bare. The first of each warm up."""
    bare_step = bare_loop(case, device, (blocks + 2) * block)
    now = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {form: [] for form in FORMS}
    entered, mark = 0, 0.0

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return now()

    def before_step() -> None:
        nonlocal entered, mark
        if entered % block == 0:
            start = clock()
            if entered:
                taken["ours"].append((start - mark) / block)
            for _ in range(block):
                bare_step()
            mark = clock()
            taken["bare"].append((mark - start) / block)
        entered += 1

    # the last step of a run writes a checkpoint: its block is not looked at
    train_ours(case, device, (blocks + 2) * block, before_step=before_step)
    ours, bare = taken["ours"][1:], taken["bare"][1:]
    ratios = [2 * mine / sum(around) for mine, around in zip(ours, pairwise(bare), strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "ours_ms": round(1e3 * statistics.median(ours), 2),
        "bare_ms": round(1e3 * statistics.median(bare), 2),
        "ratio": round(middle, 4),
        "ratio_quartiles": [round(low, 4), round(high, 4)],
        "ratio_range": [round(min(ratios), 4), round(max(ratios), 4)],
    }


def run_one(case: Case, form: str, device: torch.device, steps: int, before_step: Callable[[], None]) -> None:
    """Train by one loop."""
    if form == "ours":
        return train_ours(case, device, steps, before_step=before_step)
    step = bare_loop(case, device, steps)
    for _ in range(steps):
        before_step()
        step()


def tensors_mib(case: Case, form: str, device: torch.device) -> float:
    """The peak over two steps, after two that made the optimiser's state."""
    profiler = torch.profiler.profile(profile_memory=True, acc_events=True)
    entered = 0

    def before_step() -> None:
        nonlocal entered
        if entered == 2:
            profiler.start()
        elif entered == 4:
            profiler.stop()
        entered += 1

    run_one(case, form, device, 5, before_step)
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return round(max(accumulate(sizes)) / 1024**2, 1)


def print_peak(case: Case, form: str, device: torch.device) -> None:
    """MiB, up to the last but one of a few steps: after the last one `train` writes a checkpoint."""
    peaks: list[int] = []

    def before_step() -> None:
        peaks.append(torch.cuda.max_memory_allocated() if device.type == "cuda" else peak_memory())

    run_one(case, form, device, 7, before_step)
    print(peaks[-1] / 1024**2)


def peak_mib(name: str, form: str, device: str, threads: int) -> float:
    command = [sys.executable, __file__, "--device", device, "--threads", str(threads), "--one", name, form]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--block", type=int, help="steps (default: 1, on a GPU 20)")
    parser.add_argument("--memory-runs", type=int, default=3, help="processes of each loop (default: 3)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "FORM"), help="one memory measurement")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if args.one:
        return print_peak(CASES[args.one[0]], args.one[1], device)
    block = args.block or (20 if device.type == "cuda" else 1)
    results: dict[str, Any] = {**provenance(), "device": args.device, "threads": args.threads, "block": block}
    results["blocks"] = args.blocks
    for name in args.cases:
        row = measure_time(CASES[name], device, args.blocks, block)
        peaks: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(args.memory_runs):
            for form in FORMS:
                peaks[form].append(round(peak_mib(name, form, args.device, args.threads), 1))
        row["tensors_mib"] = {form: tensors_mib(CASES[name], form, device) for form in FORMS}
        row["peak_mib"] = {form: statistics.median(values) for form, values in peaks.items()}
        row["peak_mib_range"] = {form: [min(values), max(values)] for form, values in peaks.items()}
        results[name] = row
        print(f"{name}: {json.dumps(row)}", flush=True)
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
