"""Several processes on this machine (gloo) against one with the joint batch."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from segattn.weights.checkpoint import read_model

LOOP = Path(__file__).with_name("test_loop.py")


def start(processes: int, code: str, *arguments: str) -> list[subprocess.Popen[str]]:
    """`code` in several processes, as torchrun starts them; it sees the names of test_loop.py."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = f"import runpy, sys\nglobals().update(runpy.run_path({str(LOOP)!r}))\ntorch.set_num_threads(1)\n{code}"
    children = []
    for rank in range(processes):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        environment = {**os.environ, **{key: str(value) for key, value in {**place, **rendezvous}.items()}}
        command = [sys.executable, "-c", program, *arguments]
        children.append(subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE))
    return children


def finish(children: list[subprocess.Popen[str]]) -> list[str]:
    """What each wrote to its standard error, in the order of ranks."""
    try:
        return [child.communicate(timeout=120)[1] for child in children]
    finally:
        for child in children:
            child.kill()


TRAIN = """
recipe = make_recipe(4, sync_norm=True, validate_every=2, ema_decay=0.5)
run(Path(sys.argv[1]), recipe, Tiny(dropout=0.0))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_joint_batch(tmp_path):
    """Weights, running statistics, losses and scores, though ignored pixels are spread unevenly over the processes."""
    outputs = finish(start(2, TRAIN, str(tmp_path / "two")))
    assert (tmp_path / "two" / "last.safetensors").exists(), outputs
    names: dict[str, Any] = runpy.run_path(str(LOOP))
    recipe = names["make_recipe"](4, sync_norm=True, validate_every=2, ema_decay=0.5)
    names["run"](tmp_path / "one", recipe, names["Tiny"](dropout=0.0))
    one, two = (read_model(tmp_path / part / "last.safetensors")[0] for part in ("one", "two"))
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-5, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
    logs = [
        [json.loads(line) for line in (tmp_path / part / "log.jsonl").read_text().splitlines()]
        for part in ("one", "two")
    ]
    assert len(logs[0]) == len(logs[1]) == 4
    for first, second in zip(*logs, strict=True):
        assert first["kind"] == second["kind"]
        key = "loss" if first["kind"] == "train" else "miou"
        assert second[key] == pytest.approx(first[key], rel=1e-5)


STOP = """
class Stop(StopAfter):
    def __getitem__(self, index):
        return Pictures.__getitem__(self, index) if torch.distributed.get_rank() else super().__getitem__(index)

_, result = run(Path(sys.argv[1]), make_recipe(12), train_set=Stop(5), val_set=None)
print(f"RESULT {result.step} {result.interrupted}", file=sys.stderr)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_at_the_same_step(tmp_path):
    ends = [output.split("RESULT ")[1].split(maxsplit=1) for output in finish(start(2, STOP, str(tmp_path)))]
    assert ends[0][0] == ends[1][0]
    assert 3 <= int(ends[0][0]) <= 5
    assert ends[0][1].strip() == "SIGTERM"
    assert "another process" in ends[1][1]
    assert torch.load(tmp_path / "state.pt", weights_only=True)["progress"]["step"] == int(ends[0][0])


KILL = """
import random, time, warnings
folder, recipe = Path(sys.argv[1]), make_recipe(300, checkpoint_every=1, validate_every=50, ema_decay=0.9)
warnings.simplefilter("ignore")
rng, kills, lives = random.Random(0), 0, 0
while lives < 300:
    lives += 1
    child = os.fork()  # imports are paid once
    if child == 0:
        os._exit(0 if run(folder, recipe)[1].step == 300 else 1)
    if kills < 25:
        time.sleep(rng.uniform(0.05, 0.5))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    kills += os.WIFSIGNALED(status)
    if status == 0:
        break
print(f"RESULT {kills}", file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path):
    """SIGKILL at random moments; a checkpoint is written at every step, so many fall into one."""
    (output,) = finish(start(1, KILL, str(tmp_path / "killed")))
    assert int(output.split("RESULT ")[1]) >= 20, output
    names: dict[str, Any] = runpy.run_path(str(LOOP))
    torch.set_num_threads(1)
    names["run"](tmp_path / "whole", names["make_recipe"](300, checkpoint_every=1, validate_every=50, ema_decay=0.9))
    killed, whole = (names["saved"](tmp_path / part) for part in ("killed", "whole"))
    names["assert_same"](killed, whole)
    best = [read_model(tmp_path / part / "best.safetensors") for part in ("killed", "whole")]
    names["assert_same"](best[0], best[1])
    assert names["records"](tmp_path / "killed", "validation") == names["records"](tmp_path / "whole", "validation")
