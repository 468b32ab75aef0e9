"""Cores, memory, processor, device, precision and clock of this machine."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

from segattn.contracts import cut, shown

Precision = Literal["float32", "bf16"]

SLOW_BF16 = (
    "bf16 is not native to this machine: on a processor without it, training took 4.2 times as long as in float32 (8.8"
    " against 2.1 s a step of AttaNet-light, 8 crops of 257x337, one thread) and inference 11.7 times;"
    " take auto or float32"
)

_WITH_BF16 = ("AVX512_CORE_BF16", "AVX10_1_512", "AVX512_CORE_AMX", "AVX512_CORE_FP16", "AVX10_2", "ALL", "DEFAULT")
"""Limits of oneDNN that leave it the instructions for bf16."""


def settle_on(device: torch.device | str) -> bool:
    """Let this process train on a device, and say whether that is the CPU.

    "auto" is the accelerator that is there, if any; of several processes each has its own. A GPU by its number becomes
    the current one.

    Raises:
        ValueError: no such device on this machine, or a single GPU for several processes.
    """
    import torch

    from segattn.processes import place

    if str(device) == "auto":
        return False
    picked = pick_device(str(device))
    if picked.type == "cuda" and ":" in str(device):
        if place().world > 1:
            raise ValueError(f"device {str(device)!r} for {place().world} processes: each has its own GPU; name cuda")
        torch.cuda.set_device(picked)
    return picked.type == "cpu"


def native_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for products of bfloat16, as far as that is known; false where it isn't.

    An x86 processor has them with AVX512-BF16 or AMX, if oneDNN may use these; an NVIDIA GPU from Ampere on. ARM
    processors and Apple's GPUs count as unknown.
    """
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT"
    if not limit.upper().startswith(_WITH_BF16):
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def automatic_precision(device: torch.device) -> Precision:
    """The meaning of `auto` on a device: bf16 where it is native, else float32."""
    return "bf16" if native_bf16(device) else "float32"


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Of several processes on a machine each gets the GPU of its own LOCAL_RANK, unless the name has an index.

    Raises:
        ValueError: no such device on this machine.
    """
    import torch

    from segattn.processes import local_rank, place, require_own_gpu

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and place().world > 1:
        require_own_gpu()
        name = f"cuda:{local_rank()}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device {shown(name)}: expected auto, cpu, cuda, cuda:1, mps or the like") from None
    try:
        torch.ones(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:  # torch raises any of them
        raise ValueError(f"device {name!r} can't be used here: {cut(str(error).splitlines()[0])}") from None
    return device


class Clock:
    """Stamps the time, and tells the seconds between two stamps: a GPU's own (CUDA), elsewhere the host's.

    A stamp never waits for the device; the seconds do, until it has come to the second one.

    Args:
        device: whose time is told.
        processor: on the host, and where torch has one thread, tell the seconds of this process, so that other work on
            the machine is not counted.
    """

    def __init__(self, device: torch.device, *, processor: bool = False) -> None:
        import torch

        self._cuda = device.type == "cuda"
        alone = processor and torch.get_num_threads() == 1
        self.name = "device" if self._cuda else "processor" if alone else "wall"
        self._now: Callable[[], float] = time.process_time if alone else time.perf_counter

    def stamp(self) -> Any:
        """The time now, for `between`."""
        if not self._cuda:
            return self._now()
        import torch

        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()  # type: ignore[no-untyped-call]
        return event

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one stamp to another."""
        if not self._cuda:
            return float(end - start)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def seconds(self, run: Callable[[], object]) -> float:
        """Seconds that a call takes."""
        start = self.stamp()
        run()
        return self.between(start, self.stamp())


def machine() -> dict[str, str | int]:
    """The processor, how many cores this process may use, the system, and the versions of Python and torch."""
    from importlib.metadata import version  # slow to import

    return {
        "processor": processor(),
        "cores_usable": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def provenance() -> dict[str, object]:
    """The facts that belong beside every measured figure: the command, the day (UTC) and the `machine`."""
    script = Path(sys.argv[0]).name
    words = ["segattn" if script == "__main__.py" else script, *sys.argv[1:]]
    return {
        "command": shlex.join(words),
        "date": today(),
        "machine": machine(),
    }


def today() -> str:
    """The day (UTC) in ISO form, or that of SOURCE_DATE_EPOCH, so that what is built again can be the same.

    Raises:
        ValueError: SOURCE_DATE_EPOCH is no number of seconds since 1970.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return datetime.now(timezone.utc).date().isoformat()
    try:
        return datetime.fromtimestamp(int(text), timezone.utc).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"SOURCE_DATE_EPOCH is {shown(text)}: expected seconds since 1970") from None


def device_in_words(device: torch.device) -> str:
    """A device by its own name: "cpu: AMD EPYC 9B14, 2 cores", "cuda: NVIDIA L4"."""
    import torch

    if device.type == "cpu":
        cores = usable_cores()
        return f"cpu: {processor().partition(',')[0]}, {cores} core{'s' if cores > 1 else ''}"
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def use_threads(count: int) -> None:
    """Let torch's operators have so many threads where this thread calls them: each thread has a number of its own."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """For the block, torch's operators have so many threads in this thread and in new ones, and OpenCV's in all."""
    import cv2

    before, of_cv2 = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None, cv2.getNumThreads()
    use_threads(count)
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(of_cv2)
        if before is not None:
            use_threads(before)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name and, on Linux, its family and the widest vector instructions."""
    try:
        facts = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    except OSError:
        return platform.processor() or platform.machine()
    flags = facts.get("flags", "").split()
    widest = next((flag for flag in ("amx_tile", "avx512_bf16", "avx512f", "avx2") if flag in flags), "")
    numbers = f"family {facts.get('cpu family')} model {facts.get('model')}" if "cpu family" in facts else ""
    return ", ".join(part for part in (facts.get("model name", platform.machine()), numbers, widest) if part)


_HIGH_WATER = re.compile(r"VmHWM:\s+(\d+) kB")


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that may still be taken: the least of what the machine and the control groups of this process leave.

    Where neither can be asked (Linux has both), all the memory that the machine has; None where that isn't known.

    Args:
        root: of the file system that has `proc` and `sys`.
    """
    found = [room for room in (_room_of_machine(root), _room_of_groups(root)) if room is not None]
    if found:
        return min(found)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _room_of_machine(root: Path) -> int | None:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _room_of_groups(root: Path) -> int | None:
    """Of version 2 and of version 1; a group's own limit and those of all groups that it lies in."""
    found = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be the host's, of which the mount shows the end or nothing at all.
        group = Path(path.lstrip("/"))
        for folder in (mount / part for part in (group, *group.parents)):
            limit, used = _read(folder / names[0]).strip(), _read(folder / names[1]).strip()
            cached = re.search(rf"^{names[2]} (\d+)", _read(folder / "memory.stat"), re.MULTILINE)
            if limit.isdigit() and used.isdigit():  # "max" is no limit
                found.append(max(int(limit) - int(used) + (int(cached[1]) if cached else 0), 0))
    return min(found, default=None)


def resident_memory() -> int:
    """Bytes that this process takes now; the most that it has taken where the system can't say."""
    fields = _read(Path("/proc/self/statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else peak_memory()


def peak_memory() -> int:
    """Bytes: the most that this process has taken since `reset_peak`, or ever where that had no effect."""
    match = _HIGH_WATER.search(_read(Path("/proc/self/status")))
    if match:
        return int(match[1]) * 1024
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> None:
    """Let `peak_memory` begin anew, where the system can do that (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
