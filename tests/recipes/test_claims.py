"""What recipes say of published size, cost, speed and accuracy, and of where they knowingly differ."""

from __future__ import annotations

import pytest
import torch

from segattn.evaluation.protocol import PROTOCOLS
from segattn.losses.terms import CrossEntropy, Lovasz, OhemCrossEntropy
from segattn.measure.complexity import complexity
from segattn.models import networks
from segattn.recipes.catalog import RECIPES, recipe
from segattn.recipes.danet import danet_augmentation
from segattn.recipes.published import PublishedCost, agrees
from segattn.recipes.schema import Recipe
from segattn.transforms.resizing import RandomShortSide, RandomTenths, ScaleChoice

COUNTED = [name for name, row in RECIPES.items() if row.published_cost and row.published_cost.parameters]
QUICK = {"light_ham_d256_van_tiny_ade20k", "ham_van_tiny_ade20k", "upernet_van_b5_22k_ade20k", "fpn_agent_pvt_t_ade20k"}
DIFFERENT = {"upernet_van_b3_ade20k", "upernet_van_b5_22k_ade20k", "upernet_van_b6_22k_ade20k"} | {
    "upernet_agent_swin_b_ade20k"
}
"""Whose published figures the reference itself, counted, does not give either."""


def test_every_row_whose_table_states_its_cost_has_it() -> None:
    stated = {
        name for name in RECIPES if name.endswith("_ade20k") and "danet" not in name and not name.startswith("fpn_van")
    }
    assert set(COUNTED) == stated
    assert {name for name in COUNTED if RECIPES[name].published_cost.differs} == DIFFERENT  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COUNTED]
)
def test_counting_gives_the_published_figures_or_the_recipe_says_that_it_does_not(name: str) -> None:
    row, published = recipe(name), recipe(name).published_cost
    assert published is not None
    assert published.parameters is not None
    with torch.device("meta"):
        model = row.network.build(row.data.num_classes)
    counted = complexity(model, row.data.count_at, published.convention)
    found = agrees(published.parameters, counted.parameters / 1e6)
    if published.macs is not None:
        found = found and agrees(published.macs, counted.macs / 1e9)
    assert found == (name not in DIFFERENT)


def test_a_figure_is_rounded_as_it_is_printed() -> None:
    assert agrees(4.2, 4.208)
    assert agrees(61.0, 60.556)
    assert agrees(55.0, 55.002)
    assert not agrees(121.0, 121.607)
    assert not agrees(4.2, 4.26)


def test_speeds_come_with_card_and_sizes() -> None:
    for name, speed in (("light", 180.0), ("r18", 130.0), ("df2", 71.0)):
        cost = recipe(f"attanet_{name}_cityscapes").published_cost
        assert cost is not None
        assert cost.frames_per_second == speed
        assert str(cost).startswith(f"{speed:g} frames/s on a GTX 1080 Ti, 1024x2048 seen at 512x1024")
    assert recipe("attanet_light_camvid").published_cost is None
    assert str(PublishedCost(parameters=61, macs=954)) == "61 M parameters, 954 G multiply-accumulates"


def test_accuracies() -> None:
    single, multi, _ = recipe("danet_r101_cityscapes").claims
    assert (single.aacc, multi.aacc) == (95.97, 96.41)
    names = [f"upernet_agent_swin_{size}_ade20k" for size in "tsb"] + [f"fpn_agent_pvt_{s}_ade20k" for s in "tsml"]
    assert [recipe(name).claims[0].macc for name in names] == [58.53, 59.78, 60.01, 51.76, 56.17, 56.42, 58.50]


def test_numbers_chosen_on_their_own_split_say_so() -> None:
    chosen = {
        (name, claim.value)
        for name, row in RECIPES.items()
        for claim in (*row.claims, *row.results)
        if claim.chosen_on_split
    }
    assert chosen == {
        ("danet_r101_cityscapes", 79.93),
        ("danet_r101_cityscapes", 81.49),
        ("attanet_light_camvid_long", 72.26),
        ("attanet_light_camvid_long", 68.99),
    }


def announced(row: Recipe, words: str) -> bool:
    return any(words in text for text in row.deviations)


@pytest.mark.parametrize("name", [name for name, row in RECIPES.items() if row.claims or name.startswith("acfnet")])
def test_what_parts_do_otherwise_than_the_reference_is_announced(name: str) -> None:
    row = recipe(name)
    network = row.network
    expected = {
        "bases are fixed": isinstance(network, networks.VANLightHam | networks.VANHamNet),
        "antialiasing": any(isinstance(step, ScaleChoice) for step in row.augmentation),
        "joint batch": any(isinstance(step, RandomShortSide | RandomTenths) for step in row.augmentation),
        "floor is lowered": any(isinstance(term, OhemCrossEntropy) for term in row.losses),
        "without labelled pixels": any(isinstance(term, Lovasz) for term in row.losses),
        "3136 tokens": isinstance(network, networks.AgentPVTSemanticFPN),
        "rowmax - energy": isinstance(network, networks.DANet) and network.auxiliary_head is None,
        "validates in training": any(isinstance(step, RandomShortSide | RandomTenths) for step in row.augmentation)
        or PROTOCOLS["mmseg_whole_32"].resize == row.protocol.resize,
        "unless --pretrained is given": row.pretrained is not None
        or (row.backbone_checkpoint.url is not None and not name.startswith("acfnet")),
    }
    assert {words for words, holds in expected.items() if holds} <= {w for w in expected if announced(row, w)}
    if "joint batch" in [words for words, holds in expected.items() if holds]:
        assert any(isinstance(term, CrossEntropy) and term.divisor == "valid" for term in row.losses)


@pytest.mark.parametrize(
    "name", ["danet_r101_pascal_context", "danet_r101_pascal_context60", "danet_r101_coco_stuff10k"]
)
def test_danet_elsewhere_than_on_cityscapes_offers_both_states_of_its_code(name: str) -> None:
    row = recipe(name)
    assert row.augmentation == danet_augmentation(base=608, crop=576)
    assert announced(row, "danet_multi_576 belongs; danet_multi belongs to the current code")
    assert {claim.protocol_names for claim in row.claims} <= {("danet_multi_576", "danet_multi")}
    older, current = PROTOCOLS["danet_multi_576"], PROTOCOLS["danet_multi"]
    assert (older.resize.pixels, older.windows.crop, older.windows.stride) == (608, 576, 288)  # type: ignore[union-attr]
    assert (current.resize.pixels, current.windows.crop) == (520, 480)  # type: ignore[union-attr]


def test_acfnet_has_both_commands_of_its_readme() -> None:
    first, recommended = recipe("acfnet_ecanet101_cityscapes_ohem06"), recipe("acfnet_ecanet101_cityscapes")
    settings = [(row.losses[0].threshold, row.losses[0].min_kept) for row in (first, recommended)]  # type: ignore[union-attr]
    assert settings == [(0.6, 200_000), (0.7, 100_000)]
    assert first.losses[1:] == recommended.losses[1:]
