"""Images labelled within a bound of memory: whole or in windows, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from segattn.api import create_model
from segattn.evaluation.protocol import protocol
from segattn.models import shapes
from segattn.models.segmenter import Segmenter
from segattn.models.shapes import forward_bytes
from segattn.models.wrapped import wrap
from segattn.predicting import bounded
from segattn.predicting.bounded import fitting, labels_by_windows, whole_bytes
from segattn.predicting.predict import predict
from segattn.recipes.catalog import recipe as find_recipe
from segattn.recipes.serialize import override
from segattn.synthetic.write import draw_street


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return create_model("attanet_light_camvid", weights="default")


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    return draw_street(np.random.default_rng(0), (480, 640))[0]


@pytest.mark.parametrize("recipe", ["attanet_light_camvid", "light_ham_d256_van_tiny_ade20k", "attanet_lite0_camvid"])
def test_bytes_are_those_of_a_real_pass(recipe: str) -> None:
    network = create_model(recipe)
    with torch.no_grad(), shapes._Storages() as storages:
        network.logits(torch.zeros(1, 3, 96, 128))
    assert forward_bytes(network, (96, 128)) == storages.most > 3 * 96 * 128 * 4


def test_memory_grows_with_the_area(model: Segmenter) -> None:
    small, large = whole_bytes(model, (256, 256)), whole_bytes(model, (1024, 512))
    assert 7 < large / small < 9


def test_an_image_that_fits_is_looked_at_as_a_whole(model: Segmenter, street: np.ndarray) -> None:
    result = predict(model, street, size="native", max_memory=whole_bytes(model, (480, 640)))
    assert result.window is None
    assert (result.labels == predict(model, street, size="native").labels).all()
    assert result.confidence.shape == (480, 640)


def test_one_that_does_not_is_looked_at_in_the_largest_windows(model: Segmenter, street: np.ndarray) -> None:
    result = predict(model, street, size="native", max_memory=whole_bytes(model, (480, 640)) - 1)
    assert result.window == 384  # of 512, the sums of scores would make it more
    assert result.labels.shape == (480, 640)
    assert (result.labels == labels_by_windows(model, street, 384)).all()
    assert (result.labels == predict(model, street, size="native").labels).mean() > 0.9
    with pytest.raises(ValueError, match="labelled in windows of 384 pixels for max_memory, which keep labels alone"):
        result.confidence  # noqa: B018
    with pytest.raises(ValueError, match="labelled in windows of 384 pixels"):
        result.scores  # noqa: B018


def test_windows_take_no_more_than_was_given(model: Segmenter) -> None:
    size = (4000, 6000)
    rows_of_sums = (4 * 11 + 1) * 768 * (6000 + 768)
    needed = whole_bytes(model, (768, 768)) + rows_of_sums
    assert fitting(model, size, size, needed, labels_alone=True) == (768, 1)
    assert fitting(model, size, size, needed - 1, labels_alone=True) == (512, 1)


def test_a_window_as_large_as_the_image_is_the_whole(model: Segmenter, street: np.ndarray) -> None:
    part = street[:200, :300]
    assert (labels_by_windows(model, part, 512) == predict(model, part, size="native").labels).all()


def test_so_many_go_together_as_fit(model: Segmenter, street: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda x: counts.append(len(x)) or logits(x))
    memory = 2 * whole_bytes(model, (480, 640))
    counts.clear()
    results = list(predict(model, [street] * 5, size="native", batch_size=5, max_memory=memory))
    assert counts == [2, 2, 1]
    assert all((result.labels == results[0].labels).all() for result in results)


class _Undescribed(nn.Module):
    """A network whose way depends on values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2] * (1 if x.sum() > 0 else 2)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_memory": 0}, r"max_memory 0: expected a number of bytes"),
        ({"max_memory": "2G"}, r"max_memory '2G': expected a number of bytes"),
        (
            {"max_memory": 1 << 30, "protocol": protocol("multi_flip")},
            "max_memory: the protocol multi_flip says itself how an image is looked at; take one that looks once",
        ),
        (
            {"max_memory": 1 << 30, "protocol": protocol("slide_512")},
            "max_memory: the protocol slide_512 says itself how an image is looked at",
        ),
        (
            {"max_memory": 1 << 20},
            r"image: max_memory of 1M: the network takes about \d+M at 640x480, and about \d+M in the smallest windows",
        ),
        (
            {"max_memory": 20 << 20, "confidence": True},
            "image: max_memory of 20M: the network takes about 40M at 640x480, and windows give labels alone",
        ),
        (
            {"max_memory": 1 << 20, "size": 300},
            r"image: max_memory of 1M: the network takes about \d+M at 300x225, the size at which the image is read; ",
        ),
    ],
)
def test_what_is_wrong(model: Segmenter, street: np.ndarray, options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        predict(model, street, **{"size": "native", **options})


def test_a_network_that_can_not_be_followed_without_values(street: np.ndarray) -> None:
    foreign = wrap(_Undescribed(), classes=["a", "b"])
    with pytest.raises(
        ValueError, match=r"max_memory: what the network takes at 640x480 can't be worked out \(.*leave"
    ):
        predict(foreign, street, size="native", max_memory=1 << 30)


def test_what_is_known_goes_with_the_network() -> None:
    network = create_model("attanet_light_camvid")
    whole_bytes(network, (64, 64))
    before = len(bounded._known)
    del network
    assert len(bounded._known) == before - 1


def test_bands_are_counted_and_cut_as_they_are() -> None:
    halves = "[0.5, 0.5, 0.5, 0.5, 0.5]"
    settings = {"in_channels": "5", "normalization.mean": halves, "normalization.std": halves}
    settings["normalization.value_range"] = "[0, 255]"
    chosen = override(find_recipe("attanet_light_camvid"), {f"network.{key}": value for key, value in settings.items()})
    network = create_model(chosen)
    bands = np.random.default_rng(0).integers(0, 256, (300, 400, 5), np.uint8)
    result = predict(network, bands, size="native", max_memory=whole_bytes(network, (300, 400)) - 1)
    assert result.window == 256
    assert (result.labels == labels_by_windows(network, bands, 256)).all()
