"""How much main memory there is, and how much this process takes."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

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
