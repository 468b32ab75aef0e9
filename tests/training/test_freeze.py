"""Frozen parts keep every bit of their weights and statistics, whatever else a run does."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segattn.losses.terms import CrossEntropy
from segattn.models.attanet import AttaNet
from segattn.recipes.schema import Training
from segattn.training.step import freeze

LOOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_train.py")))


def make_small() -> nn.Module:
    return nn.ModuleDict(
        {
            "body": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.BatchNorm2d(4, affine=False)),
            "head": nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)),
        }
    )


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules() if name.count(".") == 1}


def test_parameters_by_name_and_their_norms() -> None:
    model = make_small()
    freeze(model, (r"^body\.",))
    assert {name for name, value in model.named_parameters() if value.requires_grad} == {
        *("head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias")
    }
    assert [name for name, training in modes(model).items() if not training] == ["body.1", "body.3"]


def test_a_norm_of_which_a_part_learns_goes_on_with_its_statistics() -> None:
    model = make_small()
    freeze(model, ("bias$",))
    assert all(modes(model).values())
    assert not model["head"][1].bias.requires_grad
    freeze(model, (r"1\.weight$", r"1\.bias$"))  # together they match whole norms
    assert [name for name, training in modes(model).items() if not training] == ["body.1", "head.1"]


def test_wrong_patterns_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"training\.frozen: '\^bakcbone' matches no parameter of this model, whose fi"
    ):
        freeze(make_small(), ("^body", "^bakcbone"))
    with pytest.raises(ValueError, match=r"frozen '\(': no regular expression"):
        Training(batch_size=1, frozen=("(",))


def make_model() -> nn.Module:
    torch.manual_seed(3)
    return AttaNet(backbone="light").build(2)


def make_recipe(iterations: int = 6, **training: Any) -> Any:
    settings = {"validate_every": 2, "ema_decay": 0.5, "frozen": (r"^backbone\.",), **training}
    recipe = LOOP["make_recipe"](iterations, **settings)
    losses = tuple(CrossEntropy(output=name) for name in ("main", "aux1", "aux2"))
    return replace(recipe, losses=losses, parameter_rules=())


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_run_leaves_the_frozen_part_as_it_was_and_trains_the_rest(tmp_path: Path) -> None:
    """Also the averaged model's; validation in between switches modes."""
    before = make_model().state_dict()
    before["backbone.s1_1.norm.running_mean"] += 0.5
    model = make_model()
    model.load_state_dict(before)
    before = {key: value.clone() for key, value in before.items()}
    LOOP["run"](tmp_path, make_recipe(), model)
    saved = LOOP["saved"](tmp_path)
    for state in (model.state_dict(), saved["ema"]["model"]):
        for key, value in state.items():
            assert torch.equal(value, before[key]) == key.startswith("backbone."), key
    names = [name for group in saved["optimizer"]["param_groups"] for name in group["names"]]
    assert names
    assert all(name.startswith("head.") for name in names)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    x = model.normalize(images)
    training = model.backbone(x)
    assert all(torch.equal(a, b) for a, b in zip(training, model.eval().backbone(x), strict=True))


def test_a_stopped_run_with_a_frozen_part_continues_bit_for_bit(tmp_path: Path) -> None:
    whole, _ = LOOP["run"](tmp_path / "whole", make_recipe(checkpoint_activations=True), make_model())
    stopping = LOOP["StopAfter"](13)
    _, result = LOOP["run"](tmp_path / "parts", make_recipe(), make_model(), train_set=stopping)
    assert result.interrupted == "SIGTERM"
    # from other weights: frozen ones come from the run too; and computing twice may be switched on meanwhile
    other = AttaNet(backbone="light").build(2)
    model, _ = LOOP["run"](tmp_path / "parts", make_recipe(checkpoint_activations=True), other)
    LOOP["assert_same"](model.state_dict(), whole.state_dict())
    LOOP["assert_same"](
        {**LOOP["saved"](tmp_path / "parts"), "recipe": None}, {**LOOP["saved"](tmp_path / "whole"), "recipe": None}
    )
    with pytest.raises(ValueError, match=r"training\.frozen: \['\^backbone"):
        LOOP["run"](tmp_path / "parts", make_recipe(frozen=()), make_model())


def test_a_rule_may_be_about_frozen_parameters(tmp_path: Path) -> None:
    recipe = make_recipe(1)
    rules = LOOP["make_recipe"]().parameter_rules
    recipe = replace(recipe, parameter_rules=(replace(rules[0], pattern="^backbone"),))
    assert LOOP["run"](tmp_path, recipe, make_model(), val_set=None)[1].step == 1


def test_nothing_left_to_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no trainable parameter"):
        LOOP["run"](tmp_path, make_recipe(1, frozen=("",)), make_model())
