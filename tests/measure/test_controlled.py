"""What a controlled comparison keeps of the base's recipe, and what of the network's own."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from segattn.losses.terms import CrossEntropy, Lovasz, OhemSearchCrossEntropy
from segattn.measure.controlled import controlled, with_steps
from segattn.recipes.catalog import RECIPES, recipe
from segattn.recipes.schema import Checkpoint, ExponentialWarmup

CAMVID = recipe("attanet_light_camvid")
WEIGHTS = CAMVID.losses[0].class_weights
DEVIATIONS = ("deviations", "results")


def test_the_base_itself_is_untouched() -> None:
    assert controlled(CAMVID, CAMVID) == (CAMVID, ())


def test_a_base_of_the_same_name_with_another_network_is_not_taken_for_the_network() -> None:
    own = replace(recipe("attanet_r18_camvid"), name=CAMVID.name)
    assert controlled(own, CAMVID)[0].network == own.network


@pytest.mark.parametrize("name", RECIPES)
def test_all_but_network_and_loss_is_the_bases(name: str) -> None:
    own = recipe(name)
    made, _ = controlled(own, CAMVID)
    assert made.name == name
    assert made.network == own.network
    allowed = {"name", "paper", "claims", "results", "network", "losses", "deviations", "checkpoint"}
    for field in fields(made):
        if field.name not in allowed:
            assert getattr(made, field.name) == getattr(CAMVID, field.name), field.name
    assert made.losses[0] == CAMVID.losses[0]
    assert made.checkpoint == (own.checkpoint if own is CAMVID else Checkpoint())


@pytest.mark.parametrize("name", ["light_ham_d256_van_tiny_camvid", "fpn_agent_pvt_t_camvid", "attanet_r18_camvid"])
def test_the_recipes_for_camvid_are_what_control_gives(name: str) -> None:
    made, notes = controlled(recipe(name), CAMVID)
    assert {key: value for key, value in vars(made).items() if key not in DEVIATIONS} == {
        key: value for key, value in vars(recipe(name)).items() if key not in DEVIATIONS
    }
    left_out = [] if name == "attanet_r18_camvid" else ["aux1", "aux2"]
    assert list(notes) == [f"no CrossEntropy of {output}: this network has no such output" for output in left_out]


def test_own_auxiliary_outputs_get_the_form_of_the_bases_main_term() -> None:
    made, notes = controlled(recipe("danet_r50_cityscapes"), CAMVID)
    assert made.losses == tuple(
        CrossEntropy(output=output, class_weights=WEIGHTS) for output in ("main", "position", "channel")
    )
    assert "CrossEntropy of its own auxiliary output channel too, with weight 1" in notes

    made, _ = controlled(recipe("acfnet_r101_cityscapes"), CAMVID)
    assert [(term.output, round(term.weight, 3)) for term in made.losses] == [
        ("main", 1.0),
        ("coarse", 0.857),
        ("aux", 0.571),
    ]


def test_terms_over_several_outputs_shrink_to_those_that_exist() -> None:
    base = recipe("acfnet_ecanet101_cityscapes")
    made, notes = controlled(recipe("fpn_van_tiny_ade20k"), base)
    assert made.losses == (
        OhemSearchCrossEntropy(output="main", weight=0.7, threshold=0.7, min_kept=100_000),
        Lovasz(outputs=("main",), weight=1.0),
    )
    assert "Lovasz reads main alone: this network has no output coarse" in notes
    # an output of that name in both: the base's own term
    made, _ = controlled(recipe("upernet_van_tiny_ade20k"), base)
    assert made.losses[1] == CrossEntropy(output="aux", weight=0.4)


def test_a_base_without_a_main_term_is_refused() -> None:
    base = replace(CAMVID, losses=(CrossEntropy(output="aux1"),))
    with pytest.raises(ValueError, match="no loss term on the main output alone"):
        controlled(recipe("fpn_agent_pvt_t_camvid"), base)


def test_fewer_steps_shorten_the_warm_up() -> None:
    schedule = with_steps(CAMVID, 750).schedule
    assert schedule == replace(
        CAMVID.schedule,
        iterations=750,
        warmup=ExponentialWarmup(iterations=20, start_lr=CAMVID.schedule.warmup.start_lr),
    )
    assert with_steps(CAMVID, 3).schedule.warmup.iterations == 1
    with pytest.raises(ValueError, match="0 steps: expected 1 or more"):
        with_steps(CAMVID, 0)
