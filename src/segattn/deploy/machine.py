"""What a measurement was taken on, in words. Imports no torch: a process may say it and stay small."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, str | int]:
    """The processor, how many cores this process may use, the system, and the versions of Python and torch."""
    return {
        "processor": processor(),
        "cores_usable": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def provenance() -> dict[str, object]:
    """What belongs beside every measured figure: the command, the day (UTC) and the `machine`."""
    script = Path(sys.argv[0]).name
    words = ["segattn" if script == "__main__.py" else script, *sys.argv[1:]]
    return {
        "command": shlex.join(words),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
    }


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


def peak_memory() -> int:
    """Bytes: the largest that this process has been, in main memory."""
    try:
        # Not getrusage on Linux: a child's ru_maxrss starts at the size that its parent had.
        return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
