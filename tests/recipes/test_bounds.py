"""Every number of every recipe with values that mean nothing: refused where it is read, by its name."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segattn.recipes.catalog import RECIPES, recipe
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, from_yaml, override, to_dict, to_yaml

BAD = [float("nan"), float("inf"), float("-inf"), int("9" * 400), True, "text", [1, "a"], {"a": 1}]
FREE_TEXT = ("paper.", "claims.", "results.", "checkpoint.", "backbone_checkpoint.", "deviations.")


def leaves(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Each scalar of plain data with its path."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, (*path, key))
    else:
        yield path, node


def read_with(data: Any, path: tuple[str | int, ...], value: Any) -> Recipe:
    changed = copy.deepcopy(data)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return from_dict(Recipe, changed)


@pytest.mark.parametrize("name", ["attanet_light_camvid", "acfnet_ecanet101_cityscapes", "fpn_agent_pvt_t_camvid"])
def test_no_number_of_a_recipe_may_be_unbounded_or_of_another_type(name: str) -> None:
    data = to_dict(recipe(name))
    for path, found in leaves(data):
        if not isinstance(found, int | float) or isinstance(found, bool):
            continue
        for bad in BAD:
            with pytest.raises(ValueError, match=str(path[0])) as refused:
                read_with(data, path, bad)
            named = str(refused.value)
            assert len(named) < 1000
            assert all(part in named for part in map(str, path) if not part.isdigit()), named


@pytest.mark.parametrize("name", ["attanet_light_camvid", "acfnet_ecanet101_cityscapes", "fpn_agent_pvt_t_camvid"])
def test_no_number_but_a_mean_may_be_negative(name: str) -> None:
    data = to_dict(recipe(name))
    for path, found in leaves(data):
        if isinstance(found, int | float) and not isinstance(found, bool) and "mean" not in path:
            with pytest.raises(ValueError, match=str(path[0])):
                read_with(data, path, -1)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("training.clip_norm", "-1"),
        ("training.clip_norm", "0"),
        ("training.clip_norm", ".nan"),
        ("training.ema_decay", "1"),
        ("training.seed", "-1"),
        ("training.max_loss_growth", ".inf"),
        ("training.batch_size", "0"),
        ("parameter_rules.0.lr", "-1"),
        ("parameter_rules.0.pattern", "'('"),
        ("schedule.lr", "9" * 400),
        ("schedule.power", ".inf"),
        ("schedule.iterations", "20"),
        ("schedule.warmup.iterations", "0"),
        ("schedule.warmup.start_lr", "-1"),
        ("data.count_at", "[0, 0]"),
        ("data.trained_at", "[0, 480]"),
        ("data.trained_at", "[360, 40000]"),
        ("data.trained_at", "[360]"),
        ("data.count_at", "[-5, 5]"),
        ("data.count_at", "[1000000000, 1000000000]"),
        ("optimizer.momentum", "1"),
        ("losses.0.class_weights", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"),
        ("network.normalization.std", "[0, 1, 1]"),
        ("protocol.scales", "[.inf]"),
    ],
)
def test_what_would_train_or_score_in_silence_is_refused(key: str, text: str) -> None:
    with pytest.raises(ValueError, match=key.split(".")[-1]):
        override(recipe("attanet_light_camvid"), {key: text})


def test_a_clip_norm_of_nothing_says_what_it_may_be() -> None:
    with pytest.raises(ValueError, match=r"clip_norm -1.*: expected a number above 0$"):
        override(recipe("attanet_light_camvid"), {"training.clip_norm": "-1"})


def test_a_warm_up_longer_than_the_run_says_what_to_change() -> None:
    with pytest.raises(ValueError, match=r"longer than the run of 20 iterations.*schedule\.warmup\.iterations to 20"):
        override(recipe("attanet_light_camvid"), {"schedule.iterations": "20"})


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "a\\b", "..", ".hidden", "", "new\nline", "bell\a", "x" * 201, "é" * 101]
)
def test_a_name_that_is_no_folder_of_runs_is_refused(name: str) -> None:
    data = to_dict(recipe("attanet_light_camvid")) | {"name": name}
    with pytest.raises(ValueError, match="name"):
        from_dict(Recipe, data)


def test_a_flag_is_no_number() -> None:
    with pytest.raises(ValueError, match="align_corners"):
        override(recipe("attanet_light_camvid"), {"network.align_corners": "1"})
    with pytest.raises(ValueError, match=r"training\.compile"):
        override(recipe("attanet_light_camvid"), {"training.compile": "1"})


@pytest.mark.parametrize(
    ("text", "word"), [("true", "corners"), ("false", "edges"), ("grid", "grid"), ("edges", "edges")]
)
def test_alignment_of_older_recipes_is_read_as_its_word(text: str, word: str, tmp_path: Path) -> None:
    for name in ("attanet_r18_cityscapes", "danet_mmseg_r50_cityscapes_40k", "attanet_lite0_camvid"):
        assert override(recipe(name), {"network.align_corners": text}).network.align_corners == word
        lines = [
            f"  align_corners: {text}" if line.strip().startswith("align_corners:") else line
            for line in to_yaml(recipe(name)).splitlines()
        ]
        file = tmp_path / f"{name}.yaml"
        file.write_text("\n".join(lines))
        assert from_yaml(Recipe, file).network.align_corners == word
        assert f"align_corners: {word}" in to_yaml(from_yaml(Recipe, file))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_still_reads(name: str) -> None:
    assert from_dict(Recipe, to_dict(recipe(name))) == recipe(name)
