"""`torch.set_default_dtype` outside changes nothing: weights, scores, losses and rates are the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import segattn
from segattn.evaluation.protocol import Protocol
from segattn.models.build import build
from segattn.models.compose import Pair
from segattn.recipes.schema import Recipe
from segattn.training.optim import build_optimizer, rate, set_rate
from segattn.training.step import training_step

FAMILIES = [
    "attanet_light_camvid",
    "attanet_light_synthetic",
    "danet_r50_cityscapes",
    "acfnet_ecanet101_cityscapes",
    "light_ham_d256_van_tiny_camvid",
    "ham_van_tiny_ade20k",
    "upernet_agent_swin_t_ade20k",
    "fpn_agent_pvt_t_camvid",
]

SMALLEST = {
    "attanet_light_synthetic": None,
    "danet_r50_cityscapes": Pair(backbone="van_tiny_os8", head="danet"),
    "acfnet_ecanet101_cityscapes": Pair(backbone="van_tiny_os8", head="acfnet"),
    "light_ham_d256_van_tiny_camvid": None,
    "fpn_agent_pvt_t_camvid": None,
}
"""One recipe of each family, with a smaller network of its head where its own takes seconds."""


@pytest.fixture(params=[torch.float64, torch.bfloat16], ids=["float64", "bfloat16"])
def other_default(request: Any) -> Iterator[Any]:
    def use() -> None:
        torch.set_default_dtype(request.param)

    yield use
    torch.set_default_dtype(torch.float32)


def numbers(recipe: Recipe, size: tuple[int, int], protocol: Protocol) -> dict[str, Any]:
    """What a recipe's network makes of a made-up image, in scoring and in one step of training."""
    torch.manual_seed(3)
    model = segattn.create_model(recipe)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    prediction = segattn.predict(model, image, protocol, size="native")  # not at that of training
    found = {"scores": prediction.scores, "labels": prediction.labels}
    found["weights"] = torch.cat([p.detach().flatten()[:5] for p in model.parameters()]).numpy()
    step = training_step(model, recipe)
    optimizer = build_optimizer(model, recipe.optimizer, recipe.parameter_rules)
    set_rate(optimizer, rate(recipe.schedule, 5))
    torch.manual_seed(4)
    images = torch.from_numpy(np.stack([image, image[::-1].copy()])).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(rng.integers(0, recipe.data.num_classes, (2, *size)))
    losses = step(images, labels)
    losses["total"].backward()
    optimizer.step()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    found["losses"] = np.array([loss.item() for loss in losses.values()])
    found["after"] = torch.cat([p.detach().flatten()[:5] for p in model.parameters()]).numpy()
    return found


def require_same_numbers(recipe: Recipe, other_default: Any, size: tuple[int, int], protocol: Protocol) -> None:
    wanted = numbers(recipe, size, protocol)
    other_default()
    for key, value in numbers(recipe, size, protocol).items():
        np.testing.assert_array_equal(value, wanted[key], err_msg=key)


@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize("other_default", [torch.float64], ids=["float64"], indirect=True)
def test_every_number_is_the_same_in_small(name: str, other_default: Any) -> None:
    recipe = segattn.recipe(name)
    recipe = replace(recipe, network=SMALLEST[name] or recipe.network)
    require_same_numbers(recipe, other_default, (32, 40), Protocol())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_number_is_the_same(name: str, other_default: Any) -> None:
    require_same_numbers(segattn.recipe(name), other_default, (72, 104), Protocol(scales=(1.0, 1.25), flip=True))


def test_a_pair_has_float32_weights(other_default: Any) -> None:
    other_default()
    model = build("van_tiny", "light_ham", num_classes=3)
    assert {tensor.dtype for tensor in (*model.parameters(), *model.buffers())} <= {torch.float32, torch.int64}
