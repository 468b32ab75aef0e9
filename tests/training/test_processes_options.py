"""Frozen parts, layer-wise rates, blocks computed twice, compiling and auto-batch in two processes (gloo)."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from segattn.weights.checkpoint import read_model

PROCESSES: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_processes.py")))
start, finish = PROCESSES["start"], PROCESSES["finish"]

TRAIN = """
from segattn.training import step

step.COMPILER = "aot_eager"
settings = {"sync_norm": True, "ema_decay": 0.5, "validate_every": 2, "checkpoint_activations": True}
settings |= {"compile": True, "sync_norm": False} if sys.argv[2] == "compiled" else {}
losses = tuple(CrossEntropy(output=name) for name in ("main", "aux1", "aux2"))
recipe = replace(
    make_recipe(4, frozen=("^backbone.s[12]_",), **settings),
    losses=losses, parameter_rules=(), optimizer=SGD(layer_decay=0.7),
)
torch.manual_seed(3)
run(Path(sys.argv[1]), recipe, AttaNet(backbone="light").build(2))
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_with_every_option_train_as_one(tmp_path: Path) -> None:
    models = []
    for processes in (1, 2):
        outputs = finish(start(processes, TRAIN, str(tmp_path / str(processes)), "plain"))
        assert (tmp_path / str(processes) / "last.safetensors").exists(), outputs
        models.append(read_model(tmp_path / str(processes) / "last.safetensors")[0])
    one, two = models
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.slow
def test_a_compiled_network_with_blocks_computed_twice_trains_in_two_processes(tmp_path: Path) -> None:
    outputs = finish(start(2, TRAIN, str(tmp_path / "two"), "compiled"))
    assert (tmp_path / "two" / "last.safetensors").exists(), outputs
    assert not any("_orig_mod" in key for key in read_model(tmp_path / "two" / "last.safetensors")[0])


AUTO = """
from segattn.training import auto_batch
rank = int(os.environ["RANK"])
auto_batch.MainMemory.fits = lambda self, count, trial: trial(count) or count <= (6, 3)[rank]
fitted, said = auto_batch.fit_batch(Tiny(), make_recipe(batch_size=24), Images(), output_dir=sys.argv[1], device="cpu")
print("RESULT", fitted.training.accumulation, said, file=sys.stderr)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_processes_agree_on_what_fits_for_all(tmp_path: Path) -> None:
    for output in finish(start(2, AUTO, str(tmp_path))):
        assert "RESULT 4 auto-batch: 3 crops" in output, output
        assert "24 = 3 images x 4 parts x 2 processes" in output
