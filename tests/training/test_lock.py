from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from segattn.training.lock import RunLock

HOLD = """
import os, sys, time
from pathlib import Path
from segattn.training.lock import RunLock
with RunLock(Path(sys.argv[1])):
    if os.fork() == 0:  # it lets go of the lock before it prints
        print("held", flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""


def test_a_second_run_is_told_who_holds_the_folder_and_it_is_free_again_after_the_first(tmp_path):
    with RunLock(tmp_path), pytest.raises(ValueError, match=rf"by process {os.getpid()} on .*another output folder"):
        RunLock(tmp_path)
    assert not list(tmp_path.iterdir())
    with RunLock(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_frees_it_at_once_though_a_forked_process_lives_on(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    try:
        with pytest.raises(ValueError, match=f"process {child.pid} on"):
            RunLock(tmp_path)
        child.kill()
        child.wait()
        with RunLock(tmp_path):
            pass
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.stdout.close()
