"""Suggestions for words that nobody knows: for typos, and not for words that mean something else."""

from __future__ import annotations

import random
from dataclasses import fields

import pytest

from segattn.contracts import nearest
from segattn.datasets.catalog import DATASETS
from segattn.evaluation.protocol import PROTOCOLS
from segattn.recipes.catalog import PAPERS, RECIPES
from segattn.recipes.schema import Recipe, Schedule, Training

COMMANDS = ("list", "show", "evaluate", "predict", "train", "report", "data", "weights", "benchmark", "compare")
OPTIONS = ("--weights", "--device", "--fold", "--protocol", "--split", "--output", "--auto-batch", "--wandb", "--long")
SECTIONS, TRAINING, SCHEDULE = ([field.name for field in fields(cls)] for cls in (Recipe, Training, Schedule))


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("danet_r50_cityscape", RECIPES, "danet_r50_cityscapes"),
        ("danet-r101-cityscapes", RECIPES, "danet_r101_cityscapes"),
        ("AttaNet_light_camvid", RECIPES, "attanet_light_camvid"),
        ("danet_cityscapes", RECIPES, "danet_r50_cityscapes"),
        ("fpn_agent_pvt_tiny_ade20k", RECIPES, "fpn_agent_pvt_t_ade20k"),
        ("slide", PROTOCOLS, "slide_512"),
        ("wole", PROTOCOLS, "whole"),
        ("camvit", DATASETS, "camvid"),
        ("ade", DATASETS, "ade20k"),
        ("danett", PAPERS, "danet"),
        ("shedule", SECTIONS, "schedule"),
        ("loss", SECTIONS, "losses"),
        ("optimiser", SECTIONS, "optimizer"),
        ("rl", SCHEDULE, "lr"),
        ("batchsize", TRAINING, "batch_size"),
        ("num_workers", TRAINING, "workers"),
        ("predikt", COMMANDS, "predict"),
        ("eval", COMMANDS, "evaluate"),
        ("trian", COMMANDS, "train"),
        ("--outptu", OPTIONS, "--output"),
        ("--out", OPTIONS, "--output"),
    ],
)
def test_what_people_type_finds_what_they_mean(word: str, known: list[str], meant: str) -> None:
    assert meant in nearest(word, known)


@pytest.mark.parametrize(
    ("word", "known"),
    [
        *((word, RECIPES) for word in ("photo.jgp", "x", "unet", "segformer", "deeplabv3_resnet50", "camvid")),
        *((word, DATASETS) for word in ("imagenet", "kitti", "mydata")),
        *((word, COMMANDS) for word in ("test", "infer", "serve", "download", "")),
        *((word, OPTIONS) for word in ("--gpu", "--verbose", "--epochs", "--batch-size", "--lr", "--quiet", "--")),
        ("learning_rate", SCHEDULE),
        ("amp", TRAINING),
        ("x" * 100_000, RECIPES),
    ],
)
def test_words_that_mean_something_else_find_nothing(word: str, known: list[str]) -> None:
    assert nearest(word, known) == ""


def test_the_closest_of_many_come_first() -> None:
    known = [f"{letter}olour" for letter in "abcdefgh"]
    assert nearest("colour", known).startswith(" Did you mean colour, ")
    assert nearest("colour", known).count(",") == 2
    assert nearest("colour", known, count=1) == " Did you mean colour?"


def test_nearly_every_single_typo_is_understood() -> None:
    numbers = random.Random(0)
    found = total = 0
    for known in (list(RECIPES), list(PROTOCOLS), list(DATASETS), SECTIONS, TRAINING, COMMANDS, OPTIONS):
        for name in known:
            place = numbers.randrange(len(name))
            swapped = name[:place] + name[place : place + 2][::-1] + name[place + 2 :]
            other = numbers.choice("abcdefghijklmnopqrstuvwxyz_")
            lost, added = name[:place] + name[place + 1 :], name[:place] + other + name[place:]
            for typo in (swapped, lost, added, name[:place] + other + name[place + 1 :]):
                total += 1
                found += name in nearest(typo, known)
    assert found >= 0.99 * total
