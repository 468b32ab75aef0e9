"""The fastest way to run a network on this machine: measured once for its weights and a size, and kept in the cache.

What is fast depends on the processor, the threads and the network (docs/performance.md), so nothing is assumed: the
network as it is, its folded forms, its compiled form and every installed engine run in turns on one painted street.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segattn.contracts import counted, cut
from segattn.exporting.engine_file import engine_model, network_folder, versions_of
from segattn.exporting.proof import smooth_noise
from segattn.exporting.report import FEWEST_EQUAL_LABELS, LARGEST_DIFFERENCE
from segattn.files import write_file
from segattn.machine import processor
from segattn.models.fold import fold_batch_norms, optimize_for_inference
from segattn.models.segmenter import Segmenter
from segattn.synthetic.write import draw_street

ENGINES = ("auto", "torch", "onnxruntime", "openvino")
"""Values of `--engine`."""

PLAIN, COMPILED = "torch", "torch, compiled"
_SECONDS, _BLOCKS = 12.0, 7
_HOPELESS = 2.0
"""Times as slow as the fastest so far, in its first block, at which a form is measured no further."""


class Running(NamedTuple):
    """A model in the form in which it is to run, and one line on which that is and why."""

    model: Segmenter
    words: str


@dataclass(frozen=True)
class Verdict:
    """What was measured: median milliseconds of each form, and why others were left out."""

    milliseconds: dict[str, float]
    left_out: dict[str, str]

    @property
    def chosen(self) -> str:
        """The fastest."""
        return min(self.milliseconds, key=self.milliseconds.__getitem__)


def on_engine(
    model: Segmenter,
    engine: str,
    size: tuple[int, int],
    *,
    say: Callable[[str], None] = lambda text: None,
    workers: int = 1,
) -> Running:
    """The model as an engine runs it, with the same logits to float rounding (1e-3 of their range is refused).

    Args:
        model: in evaluation mode and float32, where it is to run.
        engine: "torch" (as it is), "onnxruntime", "openvino", or "auto": the fastest at `size` on this machine with
            torch's number of threads, measured for about a minute where the cache has no verdict yet.
        size: (height, width) of the inputs that are usual.
        say: told what takes time.
        workers: threads that run the model at a time, each with torch's number of threads for its passes. "auto" leaves
            the compiled form out where they are several, as torch compiles for one thread at a time.

    Raises:
        ValueError: an unknown engine, one that is not installed, or one that can't run this network.
        OSError: the cache can't be written.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {cut(engine)}: expected one of {', '.join(ENGINES)}")
    if engine == PLAIN:
        return Running(model, "engine: torch, as it is")
    threads = torch.get_num_threads()
    if engine != "auto":
        return Running(engine_model(model, engine, threads=threads, say=say, workers=workers), f"engine: {engine}")
    forms = ways_to_run(model, threads, say, workers)
    path = network_folder(model) / _verdict_name(size, threads, tuple(forms), str(next(model.parameters()).device))
    verdict = _read(path)
    if verdict is None or verdict.chosen not in forms:
        say(f"measuring which way of running the network is fastest at {size[1]}x{size[0]}, once for this machine")
        verdict = measure(model, forms, size)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, verdict, size, threads)
    return Running(forms[verdict.chosen](), _words(verdict, size, threads))


def measure(model: Segmenter, forms: dict[str, Callable[[], Segmenter]], size: tuple[int, int]) -> Verdict:
    """Milliseconds of each form from an image of `size` to logits, in turns, without those that fail or disagree."""
    if model.normalization.stored:
        street: NDArray[Any] = smooth_noise(model.normalization, size, 0)
    else:
        street = draw_street(np.random.default_rng(0), size)[0]
    images = torch.from_numpy(np.ascontiguousarray(street.transpose(2, 0, 1)))[None].to(next(model.parameters()).device)
    left_out: dict[str, str] = {}
    ready: dict[str, Segmenter] = {}
    times: dict[str, list[float]] = {}
    with torch.inference_mode():
        wanted = model(images).float()
        for name, make in forms.items():
            try:
                form = make()
                reason = _disagreement(form(images).float(), wanted)
            except Exception as error:  # whatever a compiler or an engine raises, the others are still there
                reason = f"{type(error).__name__}: {cut(str(error).strip().partition(chr(10))[0])}"
            if reason is not None:
                left_out[name] = reason
                continue
            ready[name], times[name] = form, []
        end = time.perf_counter() + _SECONDS
        for block in range(_BLOCKS):
            for name in [name for name in ready if len(times[name]) == block]:
                seconds = _block(ready[name], images)
                best = min((statistics.median(own) for own in times.values() if own), default=seconds)
                if block == 0 and seconds > _HOPELESS * best:
                    del ready[name]  # its one figure stays
                times[name].append(seconds)
            if time.perf_counter() > end:
                break
    return Verdict({name: round(1e3 * statistics.median(own), 3) for name, own in times.items()}, left_out)


def _block(form: Segmenter, images: Tensor) -> float:
    """Seconds of a pass: the faster of two after one that is not counted, in which others' idle threads fall asleep."""
    form(images)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        form(images).flatten()[0].item()  # which waits for a GPU
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def ways_to_run(
    model: Segmenter, threads: int, say: Callable[[str], None] = lambda text: None, workers: int = 1
) -> dict[str, Callable[[], Segmenter]]:
    """The ways to run a network in float32 that this machine has, by name, each made when it is called."""
    forms: dict[str, Callable[[], Segmenter]] = {
        PLAIN: lambda: model,
        "torch, folded": lambda: fold_batch_norms(model),
        "torch, folded, channels last": lambda: optimize_for_inference(model),
    }
    if workers == 1 and any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        forms[COMPILED] = lambda: _compiled(fold_batch_norms(model))
    for engine in ("onnxruntime", "openvino"):
        if versions_of((engine,))[engine] != "none":

            def make(engine: str = engine) -> Segmenter:
                return engine_model(model, engine, threads=threads, say=say, workers=workers)

            forms[engine] = make
    return forms


def _compiled(model: Segmenter) -> Segmenter:
    """The same model; sizes other than the first are compiled when they come."""
    assert isinstance(model.backbone, nn.Module)
    assert isinstance(model.head, nn.Module)
    model.backbone.compile()
    model.head.__dict__["main"] = torch.compile(model.head.main)
    return model


def _disagreement(got: Tensor, wanted: Tensor) -> str | None:
    difference = ((got - wanted).abs().max() / (wanted.max() - wanted.min()).clamp_min(1e-30)).item()
    equal = (got.argmax(1) == wanted.argmax(1)).float().mean().item()
    if difference <= LARGEST_DIFFERENCE and equal >= FEWEST_EQUAL_LABELS:
        return None
    return f"differs by {difference:.1e} of the logits' range, {equal:.2%} of labels are equal"


def _verdict_name(size: tuple[int, int], threads: int, forms: tuple[str, ...], device: str) -> str:
    of = (processor(), device, forms, sorted(versions_of(("torch", "onnxruntime", "openvino")).items()))
    return f"{size[0]}x{size[1]}_{threads}_threads_{hashlib.sha256(repr(of).encode()).hexdigest()[:12]}.json"


def _read(path: Path) -> Verdict | None:
    """The verdict that was kept; None for none, or for a file that is damaged."""
    try:
        stored = json.loads(path.read_bytes())
        times = {str(name): float(value) for name, value in stored["milliseconds"].items()}
        left_out = {str(name): str(why) for name, why in stored["left_out"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Verdict(times, left_out) if times else None


def _write(path: Path, verdict: Verdict, size: tuple[int, int], threads: int) -> None:
    content: dict[str, Any] = {
        "milliseconds": verdict.milliseconds,
        "left_out": verdict.left_out,
        "size": size,
        "threads": threads,
        "processor": processor(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": versions_of(("torch", "onnxruntime", "openvino")),
    }
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())


def _words(verdict: Verdict, size: tuple[int, int], threads: int) -> str:
    chosen = verdict.chosen
    others = sorted((ms, name) for name, ms in verdict.milliseconds.items() if name != chosen)
    beside = ", ".join(f"{name} {ms:.1f}" for ms, name in others)
    lost = "".join(f"; without {name}: {why}" for name, why in verdict.left_out.items())
    where = f"{size[1]}x{size[0]} on {counted(threads, 'thread')}"
    return (
        f"engine: {chosen}, {verdict.milliseconds[chosen]:.1f} ms for {where}{f' ({beside})' if beside else ''}{lost}"
    )
