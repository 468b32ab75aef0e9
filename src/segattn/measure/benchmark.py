"""Speed and memory of a network, as a whole and by parts.

Every measurement is taken in a process of its own, because the peak of a process can't be undone. The yardstick is
the machine's own: the fastest of several large matrix products, taken in turns with the network, by the same threads in
the same precision.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from segattn.exporting.fastest import on_engine
from segattn.layers import channels_last, resize
from segattn.machine import Clock, automatic_precision, peak_memory
from segattn.measure.complexity import complexity
from segattn.models.fold import optimize_for_inference
from segattn.models.segmenter import Segmenter
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, to_dict

Precision = Literal["auto", "float32", "bf16"]
_PRODUCT_SIDE = {"cpu": 2048, "cuda": 8192}

_SLOW = 5.0
"""Seconds of a pass beyond which stamping its parts costs it nothing, so that one pass gives both."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a measurement.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        threads: of the processor; None leaves the number to torch.
        repeats: timed passes.
        precision: "bf16" by autocast, as everywhere in this package; "auto": where it is native.
        fold: `deploy.optimize.optimize_for_inference`.
        channels_last: lay out all weights so; the maps follow.
        engine: what runs the network: see `segattn.exporting.fastest.on_engine`.
    """

    device: str = "cpu"
    threads: int | None = None
    repeats: int = 5
    precision: Precision = "float32"
    fold: bool = False
    channels_last: bool = False
    engine: str = "torch"


@dataclass(frozen=True)
class Measurement:
    """The cost of one image, from uint8 pixels to logits at its size.

    Attributes:
        size: height and width.
        threads: that torch had.
        large_pages: whether torch asked for them (THP_MEM_ALLOC_ENABLE=1, as the `segattn` command sets it; Linux).
        times: seconds of each pass.
        clock: what they are: "wall" seconds, "processor" seconds of this process where it has one thread, so that
            other work on the machine is not counted, or the "device"'s own.
        memory: bytes: the peak of the process (main memory), or of all tensors (CUDA), after one pass.
        memory_built: the same before it.
        macs: multiply-accumulates of the network, batch norms left out.
        product_gflops: of the fastest large matrix product.
        parts: share of the time, by part of the network; they add up to 1. What an engine runs is one part.
        engine: the form that was measured, and beside what it was chosen.
    """

    recipe: str
    size: tuple[int, int]
    threads: int
    large_pages: bool
    times: tuple[float, ...]
    clock: str
    memory: int
    memory_built: int
    macs: int
    product_gflops: float
    parts: dict[str, float]
    engine: str

    @property
    def seconds(self) -> float:
        """The median pass."""
        return statistics.median(self.times)

    @property
    def gflops(self) -> float:
        """Achieved, two operations to a multiply-accumulate."""
        return 2 * self.macs / self.seconds / 1e9

    @property
    def of_product(self) -> float:
        """`gflops` as a share of `product_gflops`; above 1 where convolutions are faster than the matrix product."""
        return self.gflops / self.product_gflops

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with what follows from the figures."""
        derived = {"seconds": self.seconds, "images_per_second": 1 / self.seconds}
        return dataclasses.asdict(self) | derived | {"gflops": self.gflops, "of_product": self.of_product}


def measure(recipe: Recipe, size: tuple[int, int], settings: Settings = Settings()) -> Measurement:
    """Measure a recipe's network, with random weights, on one image of `size` (height, width), in a fresh process.

    Raises:
        ValueError: the process failed, for want of memory for instance; its last words are in the message.
    """
    job = {"recipe": to_dict(recipe), "size": size, "settings": dataclasses.asdict(settings)}
    threads = {} if settings.threads is None else {"OMP_NUM_THREADS": str(settings.threads)}
    done = subprocess.run(
        [sys.executable, "-m", "segattn.measure.benchmark"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env={**os.environ, **threads},
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["it was killed, most likely for want of memory"]
        raise ValueError(f"{recipe.name} at {size[0]}x{size[1]} failed (exit code {done.returncode}): {words[-1]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Measurement(**{**answer, "size": tuple(answer["size"]), "times": tuple(answer["times"])})


def measure_here(recipe: Recipe, size: tuple[int, int], settings: Settings) -> Measurement:
    """`measure` in this process: its peak of memory counts whatever the process did before."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = torch.device(settings.device)
    clock = Clock(device, processor=True)
    model = recipe.network.build(recipe.data.num_classes).eval().to(device)
    if settings.fold:
        model = optimize_for_inference(model)
    if settings.channels_last:
        channels_last(model)
    network, running = model, on_engine(model, settings.engine, size)
    model = running.model
    images = torch.randint(0, 256, (1, model.in_channels, *size), dtype=torch.uint8).to(device)
    precision = automatic_precision(device) if settings.precision == "auto" else settings.precision
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def autocast() -> AbstractContextManager[Any]:
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)

    with torch.inference_mode(), autocast():
        memory_built = _memory(device)
        first = clock.seconds(lambda: model(images))
        memory = _memory(device)
        times, products = [], [_product_gflops(clock, device, dtype)]
        parts: Counter[str] = Counter()
        for _ in range(settings.repeats):
            watched = Watch(model, clock.stamp, clock.between).seconds(images)
            parts.update(watched)
            times.append(sum(watched.values()) if first > _SLOW else clock.seconds(lambda: model(images)))
            products.append(_product_gflops(clock, device, dtype))
    return Measurement(
        recipe=recipe.name,
        size=size,
        threads=torch.get_num_threads(),
        large_pages=os.environ.get("THP_MEM_ALLOC_ENABLE") == "1",
        times=tuple(times),
        clock=clock.name,
        memory=memory,
        memory_built=memory_built,
        macs=complexity(network, size).macs,  # last, because counting takes memory too
        product_gflops=max(products),
        parts={part: seconds / parts.total() for part, seconds in parts.items()},
        engine=running.words,
    )


def _product_gflops(clock: Clock, device: torch.device, dtype: torch.dtype) -> float:
    n = _PRODUCT_SIDE[device.type]
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    torch.mm(a, b, out=out)
    fastest = min(clock.seconds(lambda: torch.mm(a, b, out=out)) for _ in range(3))
    return 2 * n**3 / fastest / 1e9


def _memory(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()


def check_device(name: str) -> None:
    """That benchmarks run there.

    Raises:
        ValueError: neither the CPU nor a CUDA device of this machine.
    """
    kind = name.partition(":")[0]
    if kind not in _PRODUCT_SIDE:
        raise ValueError(f"device {name!r}: benchmarks run on cpu and cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: this machine has no CUDA device that torch can use")


def _work() -> None:
    job = json.load(sys.stdin)
    torch.manual_seed(0)
    result = measure_here(
        from_dict(Recipe, job["recipe"]), (job["size"][0], job["size"][1]), Settings(**job["settings"])
    )
    print(json.dumps(dataclasses.asdict(result)))


_NO_FORWARD = nn.Module.forward


class Watch(TorchFunctionMode):
    """Stamps the time wherever one part of a network hands over to another.

    Parts: "normalisation"; the backbone's own children that are more than a single layer, by name; each kind of module
    of `segattn.attention`, wherever it stands; "resizing", wherever it happens; and what is left of backbone and head.
    They don't overlap: time belongs to the innermost part that is running.

    Args:
        stamp: the time now, in any form.
        between: seconds from one stamp to another.
    """

    def __init__(self, model: Segmenter, stamp: Callable[[], Any], between: Callable[[Any, Any], float]) -> None:
        super().__init__()
        self._model = model
        self._stamp = stamp
        self._between = between
        self._open: list[str] = ["rest"]
        self._marks: list[tuple[str, Any]] = []

    def seconds(self, images: Tensor) -> dict[str, float]:
        """Seconds of each part in one pass over the images, from pixels to logits at their size."""
        model, handles = self._model, list(self._hooks())
        try:
            with self:
                x = self._inside("normalisation", model.normalize, images)
                features = self._inside("backbone, the rest", model.backbone, x)
                logits = self._inside("head, the rest", model.head.main, features)
                resize(logits, images.shape[-2:], align_corners=model.align_corners)
        finally:
            for handle in handles:
                handle.remove()
        self._marks.append(("end", self._stamp()))
        seconds: dict[str, float] = {}
        for (part, start), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            if part != "rest":
                seconds[part] = seconds.get(part, 0.0) + self._between(start, end)
        return seconds

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.interpolate:
            return self._inside("resizing", func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _inside(self, part: str, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._enter(part)
        out = run(*args, **kwargs)
        self._leave()
        return out

    def _enter(self, part: str) -> None:
        self._open.append(part)
        self._marks.append((part, self._stamp()))

    def _leave(self) -> None:
        self._open.pop()
        self._marks.append((self._open[-1], self._stamp()))

    def _hooks(self) -> Iterator[RemovableHandle]:
        for part, module in watched_modules(self._model):
            yield module.register_forward_pre_hook(lambda *_, part=part: self._enter(part))  # type: ignore[misc]
            yield module.register_forward_hook(lambda *_: self._leave())


def watched_modules(model: Segmenter) -> list[tuple[str, nn.Module]]:
    """The modules that are parts of their own, with the part's name."""
    assert isinstance(model.backbone, nn.Module)
    found = [(f"backbone {name}", stage) for name, stage in _stages(model.backbone)]
    inside: set[nn.Module] = set()
    for module in model.modules():
        idea = next((kind for kind in type(module).__mro__ if kind.__module__.startswith("segattn.attention.")), None)
        if idea is not None and module not in inside:
            found.append((f"attention {idea.__name__}", module))
            inside.update(module.modules())
    return found


def _stages(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if type(child).forward is _NO_FORWARD:  # a list of modules, which nobody calls
            yield from ((f"{name}.{inner}", stage) for inner, stage in _stages(child))
        elif any(True for _ in child.children()):
            yield name, child


if __name__ == "__main__":
    _work()
