"""A recipe fitted to data and machine: every choice follows from facts, and what is given is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from segattn.losses.terms import CrossEntropy, Distillation
from segattn.recipes.catalog import RECIPES, recipe
from segattn.recipes.own_data import (
    Budget,
    DataFacts,
    Fitted,
    MachineFacts,
    Pace,
    class_weights,
    fit_recipe,
    table,
)
from segattn.recipes.own_images import last_crop
from segattn.recipes.serialize import from_dict, to_dict

DATA = DataFacts(
    root="my_data",
    name="my_data",
    classes=("plate", "defect"),
    train=40,
    val=10,
    size=(480, 640),
    shares=(0.98, 0.02),
    masks=40,
)
CPU = MachineFacts(device="cpu", cores=2)
LIGHT = recipe("attanet_light_camvid")


def fitted(name: str = LIGHT.name, budget: Budget = Budget(), pace: Pace | None = None, **facts: Any) -> Fitted:
    given = facts.pop("given", {})
    machine = facts.pop("machine", CPU)
    return fit_recipe(recipe(name), replace(DATA, **facts), machine, budget, given=given, pace=pace)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_fitted(name: str) -> None:
    own = fitted(name, size=(96, 130)).recipe
    assert own.name == "my_data"
    assert (own.data.dataset, own.data.root, own.data.num_classes) == ("folder", "my_data", 2)
    assert own.network == recipe(name).network
    assert all(
        term.class_weights is None or len(term.class_weights) == 2
        for term in own.losses
        if isinstance(term, CrossEntropy)
    )
    assert not own.claims
    assert not own.results
    assert own.starts_from is None
    assert not own.checkpoint.shipped
    assert own.processes == 1
    assert own.training.teacher is None
    assert not any(isinstance(term, Distillation) for term in own.losses)
    assert own.schedule.warmup is None or own.schedule.warmup.iterations <= own.schedule.iterations
    assert type(own.protocol.resize).__name__ in ("NativeSize", "FitInside")
    assert from_dict(type(own), to_dict(own)) == own


def test_the_choices_are_those_of_the_recipe_and_in_it() -> None:
    own, choices = fitted(budget=Budget(epochs=20))
    named = {choice.field: choice.value for choice in choices}
    assert named["schedule.iterations"] == str(own.schedule.iterations) == "100"
    assert named["training.batch_size"] == "8"
    assert named["training.precision"] == own.training.precision == "float32"
    assert named["schedule.warmup.iterations"] == "5"
    assert named["training.validate_every"] == str(own.training.validate_every) == "10"
    assert named["augmentation.3"] == "257x337"
    assert all(choice.why for choice in choices)
    text = table(choices)
    for choice in choices:
        assert f"{choice.field} {choice.value}: {choice.why}" in own.deviations
        assert choice.why in text
    assert len(text.splitlines()) == len(choices) + 1


@pytest.mark.parametrize(
    ("images", "budget", "steps"),
    [
        (40, Budget(), 500),  # a hundred epochs
        (8, Budget(), 300),  # but not a handful of steps
        (10**6, Budget(), LIGHT.schedule.iterations),  # and no more than the recipe
        (40, Budget(epochs=1), 5),
        (40, Budget(epochs=0.01), 1),
        (40, Budget(epochs=2.5), 12),
        (40, Budget(minutes=1), 110),  # 60 s, less 10 validations of half a second, at half a second
    ],
)
def test_steps(images: int, budget: Budget, steps: int) -> None:
    own = fitted(budget=budget, pace=Pace(step=0.5, validation=0.5), train=images).recipe
    assert own.schedule.iterations == steps
    assert 1 <= own.training.validate_every <= steps
    assert own.training.checkpoint_every <= own.training.validate_every


def test_validations_are_spread_evenly_and_at_most_one_an_epoch() -> None:
    for epochs, every in ((1.3, 6), (2.1, 5), (4, 5), (1000, 500)):
        training = fitted(budget=Budget(epochs=epochs)).recipe.training
        assert training.validate_every == every


def test_validations_never_take_most_of_the_minutes() -> None:
    own = fitted(budget=Budget(minutes=1), pace=Pace(step=0.1, validation=7)).recipe
    assert own.schedule.iterations == 460  # two of them
    assert own.training.validate_every == 230
    assert fitted(budget=Budget(minutes=1), pace=Pace(step=100, validation=1000)).recipe.schedule.iterations == 1


@pytest.mark.parametrize(
    ("name", "size", "crop"),
    [
        ("attanet_light_camvid", (480, 640), (257, 337)),
        ("attanet_light_camvid", (640, 480), (337, 257)),
        ("attanet_light_camvid", (100, 130), (97, 129)),
        ("attanet_light_camvid", (20, 3000), (65, 337)),
        ("attanet_light_camvid", (257, 337), (257, 337)),
        ("attanet_light_cityscapes", (480, 640), (480, 640)),
        ("attanet_light_cityscapes", (500, 650), (480, 640)),
        ("danet_r50_cityscapes", (300, 300), (288, 288)),
        ("acfnet_r101_cityscapes", (300, 300), (289, 289)),
        ("light_ham_van_tiny_ade20k", (100, 130), (512, 512)),  # which resizes by itself
    ],
)
def test_crops(name: str, size: tuple[int, int], crop: tuple[int, int]) -> None:
    own = fitted(name, size=size).recipe
    assert last_crop(own.augmentation)[1] == crop
    assert all(
        (one.height, one.width) == crop for one in own.augmentation if hasattr(one, "height") and hasattr(one, "width")
    )


def test_hard_pixels_are_counted_for_the_new_crop() -> None:
    term = fitted("attanet_light_cityscapes", size=(512, 512)).recipe.losses[0]
    assert term.min_kept == 512 * 512 // 2  # type: ignore[union-attr]


def test_scoring_goes_by_the_size_of_the_images() -> None:
    assert fitted("attanet_light_cityscapes").recipe.validation.describe().startswith("whole: own size")
    large = fitted(size=(3000, 4000)).recipe
    assert large.validation.describe().startswith("slide_1024:")
    assert large.protocol == large.validation
    assert fitted("acfnet_r101_cityscapes").recipe.protocol.outputs == recipe("acfnet_r101_cityscapes").protocol.outputs


def test_class_weights_are_of_these_classes_and_only_where_the_recipe_has_some() -> None:
    weights = class_weights((0.98, 0.02))
    assert sum(weights) / 2 == pytest.approx(1, abs=1e-3)
    assert 3 < weights[1] / weights[0] < 6
    assert [term.class_weights for term in fitted().recipe.losses] == [weights] * 3  # type: ignore[union-attr]
    plain = fitted("danet_r50_cityscapes").recipe.losses
    assert all(term.class_weights is None for term in plain)  # type: ignore[union-attr]
    assert class_weights((1.0, 0.0))[1] > 0


def test_batches_of_few_images() -> None:
    own = fitted(train=3).recipe
    assert own.training.batch_size == 3
    assert own.schedule.lr == pytest.approx(LIGHT.schedule.lr * 3 / 8)
    assert fitted(train=1).recipe.training.batch_size == 2
    assert fitted(train=3, machine=replace(CPU, processes=2)).recipe.training.batch_size == 4
    assert fitted(machine=replace(CPU, processes=3)).recipe.training.batch_size == 9


def test_the_machine_decides_precision_parts_and_loading() -> None:
    gpu = MachineFacts(device="cuda", cores=16, bf16=True, accumulation=2)
    training = fitted(machine=gpu).recipe.training
    assert (training.precision, training.accumulation, training.workers) == ("bf16", 2, 8)
    assert fitted(machine=replace(CPU, cores=1)).recipe.training.workers == 0


def test_what_is_given_is_kept_and_the_rest_follows() -> None:
    given = {
        "training.batch_size": "4",
        "schedule.lr": "0.5",
        "losses.0.class_weights": "null",
        "augmentation.3.height": "48",
        "training.workers": "0",
    }
    own, choices = fitted(given=given, budget=Budget(epochs=2))
    assert own.training.batch_size == 4
    assert own.schedule.iterations == 20
    assert own.schedule.lr == 0.5
    assert own.losses[0].class_weights is None  # type: ignore[union-attr]
    assert last_crop(own.augmentation)[1] == (48, 337)
    assert own.training.workers == 0
    assert {choice.field for choice in choices if choice.why == "given"} == set(given)


def test_a_teacher_that_is_given_teaches() -> None:
    name = next(name for name, row in RECIPES.items() if row.training.teacher is not None)
    given = {"training.teacher": "mine.safetensors", "data.unlabelled": "more", "data.unlabelled_share": "0.5"}
    own = fitted(name, given=given, budget=Budget(epochs=1)).recipe
    assert own.training.teacher == "mine.safetensors"
    assert any(isinstance(term, Distillation) for term in own.losses)
    assert own.schedule.iterations == round(40 / (own.training.batch_size / 2))


def test_given_steps_shorten_the_warm_up() -> None:
    own = fitted(given={"schedule.iterations": "40"}).recipe
    assert own.schedule.iterations == 40
    assert own.schedule.warmup is not None
    assert own.schedule.warmup.iterations == 2
    assert fitted(given={"schedule.iterations": "40", "schedule.warmup": "null"}).recipe.schedule.warmup is None


@pytest.mark.parametrize(
    ("given", "budget", "words"),
    [
        ({"data.root": "x"}, Budget(), "data.root: the folder of your own data decides it"),
        ({"data.num_classes": "3"}, Budget(), "data.num_classes: the folder"),
        ({"schedule.iterations": "9"}, Budget(epochs=1), "schedule.iterations: the epochs or minutes decide it"),
        ({"schedule.warmup.iterations": "900"}, Budget(epochs=1), "the warm-up is longer than the run of 5"),
        ({"training.batch": "9"}, Budget(), "unknown key. Did you mean batch_size"),
    ],
)
def test_contradictions(given: dict[str, str], budget: Budget, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", "")):
        fitted(given=given, budget=budget)


@pytest.mark.parametrize("numbers", [{"epochs": 0.0}, {"minutes": -1.0}, {"epochs": float("nan")}, {"epochs": 1e9}])
def test_budgets_that_are_none(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected a number above 0 and below a million"):
        Budget(**numbers)


def test_one_budget() -> None:
    with pytest.raises(ValueError, match="epochs 1 and minutes 2: one of the two decides"):
        Budget(epochs=1, minutes=2)
