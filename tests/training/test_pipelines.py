"""Pipelines of others as augmentation: what they may give, seeds, and runs that go on."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from segattn.training.loader import Draw, TrainingSet
from segattn.training.pipelines import described
from segattn.transforms.crops import RandomCrop
from segattn.transforms.resizing import HorizontalFlip
from segattn.weights.checkpoint import read_description

LOOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_train.py")))
LOADER: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_loader.py")))
make_recipe, run, Images, StopAfter = (LOOP[name] for name in ("make_recipe", "run", "Images", "StopAfter"))


class TorchvisionLike:
    """Calls as torchvision's v2 transforms do: positional tensors (3, H, W) and (H, W), `torch`'s generator.

    torchvision itself is not needed to train, nor for this.
    """

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        top, left = torch.randint(0, 4, (2,)).tolist()
        flip = bool(torch.rand(()) < 0.5)
        cut = [tensor[..., top : top + 12, left : left + 20] for tensor in inputs]
        return tuple(tensor.flip(-1) if flip else tensor for tensor in cut)

    def __repr__(self) -> str:
        return "RandomCropAndFlip(size=(12, 20))"


def torchvision_like(image: np.ndarray, mask: np.ndarray) -> dict[str, torch.Tensor]:
    """The wrapper that a user of torchvision writes."""
    pixels, ids = TorchvisionLike()(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask))
    return {"image": pixels, "mask": ids}


def albumentations_like(size: tuple[int, int] = (12, 20)) -> Any:
    A = pytest.importorskip("albumentations")
    return A.Compose(
        [
            A.RandomScale((-0.1, 0.4), p=1.0),
            A.PadIfNeeded(*size, fill_mask=255),
            A.RandomCrop(*size),
            A.HorizontalFlip(),
            A.RandomBrightnessContrast(),
        ]
    )


PIPELINES = {"albumentations": albumentations_like, "torchvision": lambda: torchvision_like}


@pytest.fixture(params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> Any:
    return PIPELINES[request.param]()


def test_draws_depend_on_the_sample_alone(pipeline: Any) -> None:
    """Whatever was drawn before, and in however many processes."""
    data = TrainingSet(Images(), pipeline, 3)
    first = data[Draw(2, 5)]
    assert first["image"].shape == (12, 20, 3)
    data[Draw(0, 1)]
    np.random.seed(1)
    again = TrainingSet(Images(), pipeline, 3)[Draw(2, 5)]
    assert np.array_equal(first["image"], again["image"])
    assert np.array_equal(first["mask"], again["mask"])
    draws = {data[Draw(epoch, 5)]["image"].tobytes() for epoch in range(5)}
    assert len(draws) > 1
    LOADER["assert_same"](
        LOADER["batches"](4, transforms=pipeline), LOADER["batches"](4, transforms=pipeline, workers=2)
    )


def test_a_stopped_run_continues_bit_for_bit(pipeline: Any, tmp_path: Path, capsys: Any) -> None:
    recipe = make_recipe(6, validate_every=6)
    whole, _ = run(tmp_path / "whole", recipe, augmentation=pipeline)
    assert run(tmp_path / "parts", recipe, augmentation=pipeline, train_set=StopAfter(9))[1].interrupted
    model, _ = run(tmp_path / "parts", recipe, augmentation=pipeline)
    LOOP["assert_same"](model.state_dict(), whole.state_dict())
    text = (tmp_path / "whole" / "recipe.yaml").read_text()
    assert text.startswith(
        "# the augmentation is a pipeline of Python, so that recipe.yaml alone can't repeat this run:\n"
    )
    assert yaml.safe_load(text)["augmentation"] == []
    assert "recipe.yaml alone can't repeat this run" in capsys.readouterr().err
    description = read_description(tmp_path / "whole" / "last.safetensors")
    assert description is not None
    assert description["augmentation"] == described(pipeline)
    with pytest.raises(ValueError, match=r"with another augmentation: it was the pipeline .* of the recipe"):
        run(tmp_path / "whole", recipe)


def test_another_pipeline_is_not_the_one_that_a_run_was_begun_with(tmp_path: Path) -> None:
    recipe = make_recipe(2, validate_every=2)
    run(tmp_path / "plain", recipe)
    with pytest.raises(ValueError, match=r"that of the recipe and is the pipeline builtins\.function: <function"):
        run(tmp_path / "plain", recipe, augmentation=torchvision_like)
    run(tmp_path / "own", recipe, augmentation=albumentations_like())
    run(tmp_path / "own", recipe, augmentation=albumentations_like())
    with pytest.raises(ValueError, match="another augmentation"):
        run(tmp_path / "own", recipe, augmentation=albumentations_like((12, 18)))


def test_transforms_of_ours_become_the_recipes(tmp_path: Path) -> None:
    own = [HorizontalFlip(), RandomCrop(height=12, width=20)]
    run(tmp_path, make_recipe(2, validate_every=2), augmentation=own)
    text = (tmp_path / "recipe.yaml").read_text()
    assert not text.startswith("#")
    assert [entry["kind"] for entry in yaml.safe_load(text)["augmentation"]] == ["HorizontalFlip", "RandomCrop"]


@pytest.mark.parametrize("odd", [5, "flip", [HorizontalFlip(), print], {"image": 1}])
def test_what_is_no_augmentation(odd: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"augmentation .*: expected a callable of the form augment"):
        run(tmp_path, make_recipe(2), augmentation=odd)


def give(image: Any = None, mask: Any = None) -> TrainingSet:
    """A pipeline that gives these, or what it got."""

    def pipeline(**given: np.ndarray) -> dict[str, Any]:
        return {
            "image": given["image"] if image is None else image(given["image"]),
            "mask": given["mask"] if mask is None else mask(given["mask"]),
        }

    return TrainingSet(Images(), pipeline, 0)


@pytest.mark.parametrize(
    "form",
    [
        lambda image: torch.from_numpy(image).permute(2, 0, 1),
        lambda image: torch.from_numpy(image).permute(2, 0, 1) / 255,
        lambda image: image / 255,
        Image.fromarray,
    ],
)
def test_forms_of_a_result(form: Any) -> None:
    plain = give()[Draw(0, 0)]
    found = give(image=form, mask=lambda mask: torch.from_numpy(mask).long()[None])[Draw(0, 0)]
    assert np.array_equal(found["image"], plain["image"])
    assert np.array_equal(found["mask"], plain["mask"])
    assert found["mask"].dtype == np.uint8


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (lambda image: image / 255.0 - 0.5, None, r"gave an image: floats from -0\.5.*expected 0\.\.1, not normalised"),
        (lambda image: image[:4], None, r"image of shape \(4, 24, 3\) and a mask of shape \(16, 24\)"),
        (None, lambda mask: mask / 2, "the augmentation's mask: of shape"),
        (None, lambda mask: mask.astype(int) - 1, "with ids -1 to 0; expected one size, and ids"),
    ],
)
def test_results_that_do_not_do(image: Any, mask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        give(image, mask)[Draw(0, 0)]


@pytest.mark.parametrize(
    ("result", "message"),
    [(None, "gave NoneType; expected a mapping"), ({"image": 1, "masks": 2}, r"gave dict with \['image', 'masks'\]")],
)
def test_a_result_that_is_no_pair(result: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSet(Images(), lambda **given: result, 0)[Draw(0, 0)]


def test_a_description_says_no_addresses_and_is_short() -> None:
    assert described(torchvision_like) == "builtins.function: <function torchvision_like>"
    long = [described(albumentations_like(size)) for size in ((12, 20), (12, 20), (12, 21))]
    assert long[0] == long[1]
    assert len(set(long)) == 2
    assert all(len(text) < 400 for text in long)
