"""Each command of the documents that starts several processes is run as it is written there, with small data."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from segattn.api import create_model
from segattn.cli.main import main
from segattn.recipes.catalog import recipe
from segattn.recipes.serialize import override, to_yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/training.md").read_text(encoding="utf-8")
NAME = "danet_r101_cityscapes"
(COMMANDS, SLURM), (KUBERNETES,) = (
    re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for language in ("bash", "yaml")
)

FLAT = (
    *("--schedule.iterations", "2", "--schedule.warmup", "null", "--training.validate_every", "2", "--samples", "0"),
    *("--training.log_every", "1", "--training.batch_size", "4", "--training.workers", "0"),
    *("--training.sync_norm", "true", "--training.precision", "float32"),
    *("--augmentation.2.height", "64", "--augmentation.2.width", "64"),
)


def bash(command: str, desk: Path) -> subprocess.CompletedProcess[str]:
    """The command in `desk`, with nothing in its environment that would help to start or join processes."""
    helpful = re.compile("(ACCELERATE|MASTER|TORCHELASTIC|GROUP|ROLE|OMP|SLURM)_|RANK|LOCAL_|WORLD_SIZE")
    environment = {key: value for key, value in os.environ.items() if not helpful.match(key)}
    paths = [str(desk / "bin"), str(Path(sys.executable).parent), environment["PATH"]]
    environment |= {"PATH": os.pathsep.join(paths), "SEGATTN_CACHE": str(desk / "cache")}
    if torch.cuda.is_available():
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return subprocess.run(
        ["bash", "-ec", command], cwd=desk, env=environment, capture_output=True, text=True, timeout=580
    )


def steps(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split()[1] for line in done.stderr.splitlines() if line.startswith("step ")]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with small streets in data/cityscapes and a small recipe of the name that the documents use."""
    size = ["--train", "9", "--val", "5", "--height", "64", "--width", "128"]
    assert main(["data", "synthetic", str(tmp_path / "data/cityscapes"), *size]) == 0
    changes = {"augmentation.4.height": "64", "augmentation.4.width": "64", "schedule.warmup": "null"}
    changes |= {"schedule.iterations": "2", "training.validate_every": "2", "training.log_every": "1"}
    changes |= {
        "training.workers": "0",
        "training.batch_size": "8",
        "training.sync_norm": "true",
        "validation.resize": "{kind: NativeSize}",
        "protocol.resize": "{kind: NativeSize}",
    }
    small = override(recipe("attanet_r18_cityscapes"), changes)
    small = replace(small, name=NAME, pretrained=str(tmp_path / "resnet18.pth"))
    (tmp_path / "small.yaml").write_text(to_yaml(small))
    return tmp_path


def write_backbone(desk: Path) -> None:
    state = create_model("attanet_r18_cityscapes").state_dict()
    backbone = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    fc = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(backbone | fc, desk / "resnet18.pth")


def smaller(text: str, desk: Path) -> str:
    """The documents' words, with the small recipe and folders of ours in place of the large and absolute ones."""
    text = re.sub(rf"(?<=[ ]){NAME}(?=\s|$)", "small.yaml", text)
    return text.replace("/data/", f"{desk}/data/").replace("/shared/", f"{desk}/shared/")


def test_processes_that_torchrun_starts_on_a_cpu_are_one_training(desk: Path) -> None:
    words = ["train", "attanet_light_synthetic", "--data.root", str(desk / "data/cityscapes"), *FLAT]
    done = bash(f"torchrun --nproc-per-node 2 -m segattn {' '.join(words)} --output two", desk)
    assert done.returncode == 0, done.stderr
    assert steps(done) == ["1/2", "2/2"], "one training says each step once"
    assert main([*words, "--output", str(desk / "one")]) == 0
    two, one = (
        [json.loads(line) for line in (desk / name / "log.jsonl").read_text().splitlines()] for name in ("two", "one")
    )
    assert [record["kind"] for record in two] == ["train", "train", "validation"]
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-4)
    # it follows from averaged gradients; AdamW's first step makes much of rounding
    assert two[1]["loss"] == pytest.approx(one[1]["loss"], rel=2e-3)


@pytest.mark.slow
def test_the_commands_at_the_top_run_as_they_are_written(desk: Path) -> None:
    write_backbone(desk)
    (desk / "data/photos").mkdir()
    for number in range(5):
        image = np.random.default_rng(number).integers(0, 256, (60, 80, 3), np.uint8)
        cv2.imwrite(str(desk / f"data/photos/{number}.png"), image)
    lines = COMMANDS.splitlines()
    assert [re.search(r"segattn (\w+)", line)[1] for line in lines] == ["train", "evaluate", "predict", "train"]  # type: ignore[index]
    for line in lines:
        if line.startswith("accelerate"):
            shutil.rmtree(desk / "runs")
        done = bash(smaller(line, desk), desk)
        assert done.returncode == 0, (line, done.stderr)
        if " train " in line:
            assert steps(done) == ["1/2", "2/2"], line
            assert (desk / f"runs/{NAME}/last.safetensors").exists()
        if " evaluate " in line:
            assert done.stdout.count("mIoU") >= 1
            assert done.stdout.count(NAME) == 1, "one process speaks"
    written = {f"{number}_{kind}.png" for number in range(5) for kind in ("labels", "overlay")}
    assert {file.name for file in (desk / "labelled").iterdir()} == {*written, ".segattn.json"}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.slow
def test_the_slurm_script_runs_with_this_machine_as_both_nodes(desk: Path) -> None:
    """srun and scontrol are replaced by what they do: start the command on each node, name the nodes."""
    (desk / "bin").mkdir()
    run_twice = (
        'for node in 0 1; do SLURM_NODEID=$node "$@" & pids="$pids $!"; done; for pid in $pids; do wait $pid; done'
    )
    stand_ins = {"srun": f"#!/bin/bash -e\nshift\n{run_twice}\n", "scontrol": "#!/bin/bash\necho 127.0.0.1\n"}
    for name, text in stand_ins.items():
        (desk / "bin" / name).write_text(text)
        (desk / "bin" / name).chmod(0o755)
    script = smaller(SLURM, desk).replace("29500", free_port()).replace("--nproc-per-node 4", "--nproc-per-node 2")
    done = bash(f"export SLURM_NNODES=2 SLURM_JOB_NODELIST=here\n{script}", desk)
    assert done.returncode == 0, done.stderr
    assert steps(done) == ["1/2", "2/2"]
    assert (desk / "shared/runs/danet/last.safetensors").exists()


@pytest.mark.slow
def test_the_pods_train_together_on_this_machine(desk: Path) -> None:
    _, job = yaml.safe_load_all(KUBERNETES)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    words = " ".join([*container["command"], *container["args"]])
    words = smaller(words, desk).replace("danet-0.danet", "127.0.0.1").replace("29500", free_port())
    words = words.replace("=4", "=2")
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    pods = [words.replace("$(JOB_COMPLETION_INDEX)", str(index)) for index in range(2)]
    done = bash(f"{pods[1]} & other=$!\n{pods[0]}\nwait $other", desk)
    assert done.returncode == 0, done.stderr
    assert steps(done) == ["1/2", "2/2"]
    assert (desk / "shared/runs/danet/last.safetensors").exists()
