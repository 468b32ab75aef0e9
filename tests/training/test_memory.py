"""What is left of the main memory, on made-up systems, and what this process takes, on this one."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from segattn.machine import available_memory, peak_memory, reset_peak, resident_memory

GB = 10**9


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal:       24684084 kB\nMemFree: 1 kB\nMemAvailable:   10000000 kB\n"}
VERSION_2 = {
    "proc/self/cgroup": "0::/jobs/one\n",
    "sys/fs/cgroup/jobs/one/memory.max": "max\n",
    "sys/fs/cgroup/jobs/one/memory.current": f"{GB}\n",
    "sys/fs/cgroup/jobs/memory.max": f"{5 * GB}\n",
    "sys/fs/cgroup/jobs/memory.current": f"{3 * GB}\n",
    "sys/fs/cgroup/jobs/memory.stat": f"anon 5\ninactive_file {GB}\nactive_file 7\n",
}
VERSION_1 = {
    "proc/self/cgroup": "8:pids:/\n4:cpu,memory:/host/path\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GB}\n",
    "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 500\n",
}


@pytest.mark.parametrize(
    ("files", "room"),
    [
        (MEMINFO, 10_000_000 * 1024),
        ({**MEMINFO, **VERSION_2}, 3 * GB),  # 5 - 3 in use, of which 1 is a cache
        ({**MEMINFO, **VERSION_1}, 3 * GB + 500),  # the path is the host's: what is mounted is the group's own folder
        ({**MEMINFO, **VERSION_1, "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096)}, 10_000_000 * 1024),
        ({**VERSION_2, "sys/fs/cgroup/jobs/memory.current": f"{9 * GB}\n"}, 0),
        ({**MEMINFO, "proc/self/cgroup": "0::/\n"}, 10_000_000 * 1024),
    ],
)
def test_what_is_left(tmp_path: Path, files: dict[str, str], room: int) -> None:
    assert available_memory(system(tmp_path, files)) == room


def test_a_system_that_says_nothing_has_all_its_memory_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert available_memory(tmp_path) == 4_096_000
    monkeypatch.delattr("os.sysconf")
    assert available_memory(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux only")
def test_the_peak_of_this_process() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak can't be reset here")
    before = resident_memory()
    assert available_memory() is not None
    block = mmap.mmap(-1, 100_000_000)  # an array could lie in memory that this process has kept
    np.frombuffer(block, np.uint8)[:] = 1
    assert resident_memory() - before > 80_000_000
    block.close()
    assert peak_memory() - before > 80_000_000
    reset_peak()
    assert peak_memory() - before < 80_000_000
