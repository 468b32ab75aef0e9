"""What the measurements on a GPU share: the device, the time that is left, and the file of results. Used by gpu.py."""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from segattn.machine import Clock, provenance

MIB = 1 << 20


class Session:
    """The device, the time that is left, and the file."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device = torch.device(options.device)
        self.smoke: bool = options.smoke
        self.clock = Clock(self.device)
        self.begun, self.budget, self.output = time.monotonic(), float(options.budget), options.output
        torch.backends.cudnn.benchmark = True
        self.results: dict[str, Any] = {**provenance(), "device": card(self.device), "budget_s": options.budget}
        self.results |= {"smoke": options.smoke, "skipped": [], "failed": []}

    def measure(self, part: str, name: str, run: Callable[[], Any], *, needs: float) -> Any:
        """The result of a measurement, which goes into the file; None where it was not begun or failed."""
        if self.smoke and name in self.results.get(part, {}):
            return None  # sizes that differ are the same there
        if self.budget - (time.monotonic() - self.begun) < needs:
            self.results["skipped"].append(f"{part}: {name}")
            return None
        result: Any = None
        start = time.monotonic()
        try:
            result = run()
            self.results.setdefault(part, {})[name] = result
        except Exception as error:  # whatever it is, the others are still measured
            words = (str(error).strip().splitlines() or [""])[0][:300]
            self.results.setdefault(part, {})[name] = {"error": f"{type(error).__name__}: {words}"}
            self.results["failed"].append(f"{part}: {name}")
        self.free()
        took = time.monotonic() - start
        self.results["seconds"] = round(time.monotonic() - self.begun, 1)
        shown = json.dumps(result)[:150]
        print(f"{self.results['seconds']:6.1f} s  {part}: {name} ({took:.1f} s)  {shown}", flush=True)
        self.output.write_text(json.dumps(self.results, indent=1) + "\n")
        return result

    def free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def reset_peak(self) -> int:
        """Bytes of tensors now; `peak` counts from here."""
        if self.device.type != "cuda":
            return 0
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    def peak_mib(self, before: int = 0) -> float | None:
        if self.device.type != "cuda":
            return None
        return round((torch.cuda.max_memory_allocated() - before) / MIB, 1)

    def timed(self, run: Callable[[], Any], *, seconds: float = 0.4) -> list[float]:
        """Seconds of a call: the mean of each of five blocks of calls, after warming up."""
        if self.smoke:
            return [self.clock.seconds(run) for _ in range(2)]
        for _ in range(3):
            run()
        one = max(self.clock.seconds(run), 1e-6)
        calls = max(1, min(2000, round(seconds / 5 / one)))

        def block() -> None:
            for _ in range(calls):
                run()

        return [self.clock.seconds(block) / calls for _ in range(5)]


def card(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"name": str(device)}
    facts = torch.cuda.get_device_properties(device)
    return {
        "name": facts.name,
        "capability": f"{facts.major}.{facts.minor}",
        "memory_gib": round(facts.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
