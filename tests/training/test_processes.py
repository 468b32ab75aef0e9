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

LOOP = Path(__file__).with_name("test_train.py")


def start(processes: int, code: str, *arguments: str) -> list[subprocess.Popen[str]]:
    """`code` in several processes, as torchrun starts them; it sees the names of test_train.py."""
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
        return [child.communicate(timeout=900)[1] for child in children]  # a busy machine takes minutes
    finally:
        for child in children:
            child.kill()


TRAIN = """
recipe = make_recipe(
    4, sync_norm=True, validate_every=2, ema_decay=0.5, clip_norm=0.5, batch_size=6, parallel=sys.argv[2]
)
run(Path(sys.argv[1]), recipe, Tiny(dropout=0.0))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "parallel"), [(2, "ddp"), (3, "ddp"), (2, "fsdp"), (3, "fsdp")])
def test_several_processes_train_as_one_with_the_joint_batch(processes, parallel, tmp_path):
    """Weights, running statistics, losses and scores, though ignored pixels are spread unevenly over the processes."""
    outputs = finish(start(processes, TRAIN, str(tmp_path / "two"), parallel))
    assert (tmp_path / "two" / "last.safetensors").exists(), outputs
    names: dict[str, Any] = runpy.run_path(str(LOOP))
    recipe = names["make_recipe"](4, sync_norm=True, validate_every=2, ema_decay=0.5, clip_norm=0.5, batch_size=6)
    names["run"](tmp_path / "one", recipe, names["Tiny"](dropout=0.0))
    one, two = (read_model(tmp_path / part / "last.safetensors")[0] for part in ("one", "two"))
    assert one.keys() == two.keys()
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
    shown = [
        sorted(path.relative_to(tmp_path / part) for path in (tmp_path / part).rglob("*.jpg"))
        for part in ("one", "two")
    ]
    assert len(shown[0]) == 6
    assert shown[0] == shown[1]


SHARD = """
from segattn import create_model
from segattn.layers import DropPath, channels_last
from segattn.training.activation_checkpoint import recompute_blocks
from torch.distributed.tensor import DTensor
from segattn.training.parallel import shard
torch.manual_seed(0)
model = channels_last(create_model(sys.argv[1]).train().double())
for module in model.modules():
    if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.Dropout, nn.Dropout2d, DropPath)):
        module.eval()
x = torch.randn(1, 3, 64, 96, dtype=torch.float64)

def outcome():
    torch.manual_seed(1)
    output = model.segment(x)
    total = sum(map_.square().mean() for map_ in [output.logits, *output.auxiliary.values()])
    model.zero_grad()
    total.backward()
    return total.item(), {name: parameter.grad for name, parameter in model.named_parameters()}

torch.distributed.init_process_group("gloo")
plain, gradients = outcome()
if sys.argv[2] == "recomputed":
    recompute_blocks(model)
shard(model, torch.device("cpu"))
sharded, parts = outcome()
blocks = sum(type(module).__name__.startswith("FSDP") for module in model.modules())
assert blocks > 3, blocks
assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
assert abs(plain - sharded) <= 1e-10 * abs(plain), (plain, sharded)
for name, part in parts.items():
    gap, size = (part.full_tensor() - gradients[name]).norm().item(), gradients[name].norm().item()
    assert gap <= 1e-9 * size + 1e-15, (name, gap, size)
print("RESULT", blocks, file=sys.stderr)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "how"),
    [
        ("attanet_r18_cityscapes", "plain"),
        ("attanet_r18_cityscapes", "recomputed"),
        ("danet_r50_cityscapes", "plain"),
        ("acfnet_r101_cityscapes", "plain"),
        ("light_ham_d256_van_tiny_camvid", "plain"),
        ("ham_van_tiny_ade20k", "plain"),
        ("upernet_agent_swin_t_ade20k", "plain"),
        ("fpn_agent_pvt_t_camvid", "recomputed"),
    ],
)
def test_each_family_computes_the_same_from_sharded_weights(recipe, how):
    """Nothing in a network reads the weights of a block past its forward pass. Float64, or rounding would hide much."""
    outputs = finish(start(2, SHARD, recipe, how))
    assert all("RESULT" in output for output in outputs), "\n".join(outputs)


@pytest.mark.slow
def test_a_run_continues_with_sharded_weights_and_back(tmp_path):
    part = """
recipe = make_recipe(6, sync_norm=True, ema_decay=0.5, parallel=sys.argv[2])
dataset = StopAfter(int(sys.argv[3])) if sys.argv[3] != "0" else Images()
run(Path(sys.argv[1]), recipe, Tiny(dropout=0.0), train_set=dataset, val_set=None)
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
"""
    for processes, parallel, reads in ((1, "ddp", 9), (2, "fsdp", 0)):
        finish(start(processes, part, str(tmp_path / "parts"), parallel, str(reads)))
    finish(start(2, part, str(tmp_path / "whole"), "ddp", "0"))
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("parts", "whole")]
    assert states[0]["progress"]["step"] == states[1]["progress"]["step"] == 6
    for key, value in states[1]["model"].items():
        torch.testing.assert_close(states[0]["model"][key], value, rtol=1e-5, atol=1e-6, msg=key)
    for key, value in states[1]["ema"]["model"].items():
        torch.testing.assert_close(states[0]["ema"]["model"][key], value, rtol=1e-5, atol=1e-6, msg=key)


FAIL = """
class Failing(Images):
    def __getitem__(self, index):
        if torch.distributed.get_rank() == 1 and len(self.read) > 6:
            if sys.argv[2] == "error":
                raise ValueError("image.png: is broken")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)

try:
    run(Path(sys.argv[1]), make_recipe(50), train_set=Failing(), val_set=None)
except (ValueError, OSError) as error:
    print(f"RESULT {type(error).__name__}: {error}", file=sys.stderr)
    os._exit(2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["error", "killed"])
def test_a_process_that_fails_ends_the_others(end, tmp_path):
    children = start(2, FAIL, str(tmp_path), end)
    outputs = finish(children)
    assert children[0].returncode == 2, outputs
    if end == "error":
        assert "RESULT ValueError: image.png: is broken" in outputs[1]
        assert "another process failed: process 1 of 2: image.png: is broken" in outputs[0]
    else:
        assert "another process failed or was killed" in outputs[0]


STOP = """
class Stop(StopAfter):
    def __getitem__(self, index):
        return Images.__getitem__(self, index) if torch.distributed.get_rank() else super().__getitem__(index)

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
