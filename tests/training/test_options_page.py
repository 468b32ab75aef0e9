"""docs/training-options.md: its commands and its YAML are taken by the recipes that they name."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from segattn.cli.main import build_parser, split_overrides
from segattn.losses.terms import CrossEntropy, Distillation
from segattn.recipes.catalog import recipe
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, override, to_dict
from segattn.training.activation_checkpoint import recompute_blocks
from segattn.training.optim import parameter_groups
from segattn.training.step import freeze
from segattn.transforms.mixing import ClassMix, CutMix

TEXT = (Path(__file__).parents[2] / "docs" / "training-options.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [text.replace("\\\n", " ") for kind, text in BLOCKS if kind == "bash"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: text[:40])
def test_commands_are_understood(command: str) -> None:
    program, *words = shlex.split(command)
    assert program == "segattn"
    words, overrides = split_overrides(words)
    arguments = build_parser().parse_args(words)
    if arguments.command != "train":
        return
    row = override(recipe(arguments.recipe), overrides)
    with torch.device("meta"):
        model = row.network.build(row.data.num_classes)
    freeze(model.train(), row.training.frozen)
    if row.training.checkpoint_activations:
        recompute_blocks(model)
    assert parameter_groups(model, row.optimizer, row.parameter_rules)
    assert arguments.pretrained != "auto" or row.pretrained is not None


def blocks_in_recipes() -> list[Recipe]:
    """The CamVid recipe with each block of YAML in the place of what it says."""
    data = to_dict(recipe("attanet_light_camvid"))
    return [from_dict(Recipe, data | yaml.safe_load(text)) for kind, text in BLOCKS if kind == "yaml"]


def test_yaml_fits_the_camvid_recipe() -> None:
    base = recipe("attanet_light_camvid")
    for row in blocks_in_recipes():
        assert row == replace(base, losses=row.losses, augmentation=row.augmentation, mixing=row.mixing) != base


def test_weights_of_classes_are_of_all_classes_and_crops_of_one_size() -> None:
    weighted, balanced, mixed, taught = blocks_in_recipes()
    classes = weighted.data.num_classes
    assert len(weighted.losses[0].class_weights) == len(balanced.augmentation[1].class_weights) == classes
    assert (balanced.augmentation[1].height, balanced.augmentation[1].width) == (256, 336)
    assert mixed.mixing == (ClassMix(), CutMix(probability=0.25))
    assert taught.losses == (CrossEntropy(), Distillation())
