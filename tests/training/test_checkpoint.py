"""Files: a model with its description, the state of a run, and what a crash leaves of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from segattn.recipes.catalog import recipe
from segattn.recipes.serialize import override, to_dict
from segattn.training.optim import EMA
from segattn.training.state import RunFolder, differences
from segattn.weights.checkpoint import atomic_path, read_model, save_model


def make_model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)


def test_a_model_and_its_description_round_trip(tmp_path):
    model, description = make_model(), {"step": 7, "classes": {"names": ["Straße", "sky"]}, "score": None}
    save_model(tmp_path / "m.safetensors", model, description)
    state, said = read_model(tmp_path / "m.safetensors")
    assert said == description == json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "m.safetensors"]


def test_tensors_that_share_memory_are_saved(tmp_path):
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model[1].weight = model[0].weight
    save_model(tmp_path / "m.safetensors", model, {})
    assert torch.equal(read_model(tmp_path / "m.safetensors")[0]["1.weight"], model[0].weight)


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        read_model(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello there, this is text")
    with pytest.raises(ValueError, match=r"text\.safetensors: not a whole safetensors file"):
        read_model(tmp_path / "text.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match=r"bare\.safetensors: holds tensors but no description"):
        read_model(tmp_path / "bare.safetensors")
    save_model(tmp_path / "whole.safetensors", make_model(), {})
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-10])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        read_model(tmp_path / "cut.safetensors")


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "old")]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom segattn.weights.checkpoint import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "new")]


def test_differing_keys_are_named_but_not_those_that_change_nothing():
    saved = {"schedule": {"lr": 0.01}, "losses": [{"weight": 1.0}], "training": {"workers": 2}, "name": "a"}
    wanted = {"schedule": {"lr": 0.02}, "losses": [{"weight": 2.0}], "training": {"workers": 8}, "name": "a"}
    assert differences(saved, wanted) == ["schedule.lr: 0.01 there, 0.02 here", "losses.0.weight: 1.0 there, 2.0 here"]
    assert differences(saved, saved) == []
    assert differences({"a": [1]}, {"a": [1, 2]}) == ["a: [1] there, [1, 2] here"]
    assert differences({}, {"ema": 0.9}) == ["ema: None there, 0.9 here"]


def test_ema_follows_its_formula_and_copies_counters():
    model = make_model()
    ema = EMA(model, decay=0.5)
    start = model[0].weight.detach().clone()
    with torch.no_grad():
        for value in (1.0, 2.0, 3.0):
            model[0].weight.fill_(value)
            model[1].running_mean.fill_(value)
            model[1].num_batches_tracked += 5
            ema.update(model)
    expected, mean = start, torch.zeros(4)
    for n, value in ((1, 1.0), (2, 2.0), (3, 3.0)):
        decay = min(0.5, n / (n + 9))
        expected, mean = decay * expected + (1 - decay) * value, decay * mean + (1 - decay) * value
    torch.testing.assert_close(ema.model[0].weight.detach(), expected)
    torch.testing.assert_close(ema.model[1].running_mean, mean)
    assert ema.model[1].num_batches_tracked == 15
    assert not ema.model.training
    with pytest.raises(ValueError, match=r"ema_decay 1\.0"):
        EMA(model, 1.0)


def test_others_may_read_a_model_as_the_umask_says(tmp_path):
    (tmp_path / "plain").write_text("")
    save_model(tmp_path / "model.safetensors", nn.Linear(2, 2), {})
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_run_of_an_older_version_continues(tmp_path):
    """Its recipe knows fewer fields: what they are by default is no change, anything else is."""
    row = recipe("attanet_light_camvid")
    older = to_dict(row)
    for name in ("frozen", "checkpoint_activations", "compile"):
        del older["training"][name]
    del older["optimizer"]["layer_decay"]
    torch.save({"recipe": older}, tmp_path / "state.pt")
    RunFolder(tmp_path, row).prepare(resume=True)
    RunFolder(tmp_path, override(row, {"training.checkpoint_activations": "true"})).prepare(resume=True)
    changes = {"training.compile": "true", "optimizer.layer_decay": "0.5", "training.frozen": "[a]"}
    for key, value in changes.items():
        with pytest.raises(ValueError, match=rf"holds a run of a different recipe \({key}: "):
            RunFolder(tmp_path, override(row, {key: value})).prepare(resume=True)
    older["training"]["gone"] = 3
    torch.save({"recipe": older}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"training\.gone: 3 there, None here"):
        RunFolder(tmp_path, row).prepare(resume=True)
