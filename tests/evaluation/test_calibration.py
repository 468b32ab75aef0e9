"""Confidence, its expected calibration error and the temperature, against plain forms and known answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segattn.api import create_model
from segattn.contracts import IGNORE, Sample
from segattn.evaluation.calibration import BINS, Calibration, count_confidence
from segattn.evaluation.evaluate import evaluate
from segattn.evaluation.metrics import Scores
from segattn.evaluation.protocol import MULTI_FLIP, PROTOCOLS, WHOLE, Meaning, Protocol
from segattn.evaluation.score_map import CoarseMap
from segattn.evaluation.temperature import PixelSample, PixelSampler, fit_temperature
from segattn.models.segmenter import Segmenter

SIZE = (19, 27)


def truth_of(size: tuple[int, int], classes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, size).astype(np.uint8)
    truth[rng.random(size) < 0.2] = IGNORE
    return truth


@pytest.mark.parametrize("meaning", ["logits", "probabilities"])
@pytest.mark.parametrize("temperature", [1.0, 0.4, 3.0])
def test_confidence_and_loss_are_those_of_the_plain_softmax(meaning: Meaning, temperature: float) -> None:
    maps = 4 * torch.randn(1, 5, 4, 6)
    if meaning == "probabilities":
        maps = (maps.softmax(1) + maps.roll(1, 1).softmax(1)) / 2
    before = maps.clone()
    scored = CoarseMap(maps, SIZE, "edges", meaning)
    truth = torch.from_numpy(truth_of(SIZE, 5))
    confidence, loss = scored.confidence_and_loss(truth, temperature)
    full = F.interpolate(maps, SIZE, mode="bilinear", align_corners=False).double()
    z = full.log() if meaning == "probabilities" else full / temperature
    torch.testing.assert_close(confidence.double(), z.softmax(1).amax(1)[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(scored.confidence(temperature), confidence)
    expected = F.cross_entropy(z, truth.long()[None], ignore_index=IGNORE, reduction="none")[0]
    torch.testing.assert_close(loss.double(), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(maps, before)
    assert (z.argmax(1)[0] == scored.labels()).double().mean() > 0.99  # no temperature changes a label


def test_a_probability_of_nothing_costs_much_and_not_infinity() -> None:
    maps = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    _, loss = CoarseMap(maps, (1, 1), "edges", "probabilities").confidence_and_loss(torch.ones(1, 1, dtype=torch.uint8))
    assert 80 < loss.item() < 90


def test_the_error_is_that_of_a_loop_over_bins() -> None:
    rng = np.random.default_rng(0)
    confidence = np.append(rng.random(5000), [0.2, 1.0, 1 / 15, 0.0])
    right = rng.random(5004) < confidence**2
    expected = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if index == 0:
            inside |= confidence == 0
        expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = count_confidence(confidence, right, 2502.0)
    assert found.ece == pytest.approx(100 * expected, abs=1e-5)
    assert found.nll == pytest.approx(0.5)
    assert sum(one.pixels for one in found.bins()) == 5004
    assert np.isnan(Calibration.empty().ece)
    assert np.isnan(Calibration.empty().nll)


def test_parts_add_up_to_the_whole_in_any_order_and_other_temperatures_do_not() -> None:
    rng = np.random.default_rng(0)
    parts = [count_confidence(rng.random(100), rng.random(100) < 0.5, float(rng.random() * 99)) for _ in range(9)]
    forth, back = Calibration.empty(), Calibration.empty()
    for part, other in zip(parts, parts[::-1], strict=True):
        forth, back = forth + part, back + other
    assert forth == back
    with pytest.raises(ValueError, match="temperatures 1 and 2 don't add"):
        forth + Calibration.empty(2.0)


def test_the_temperature_that_made_the_labels_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = 6 * torch.randn(60_000, 4, generator=generator)
    truth = torch.multinomial((scores / 2.5).softmax(1), 1, generator=generator)[:, 0]
    sample = PixelSample(scores, truth)
    fitted = fit_temperature(sample)
    assert fitted == pytest.approx(2.5, rel=0.03)
    before, after = sample.calibration(1.0), sample.calibration(fitted)
    assert after.ece < 1 < 5 < before.ece
    assert after.nll < min(before.nll, sample.calibration(fitted * 1.1).nll, sample.calibration(fitted / 1.1).nll)


def test_where_no_temperature_is_best_there_is_an_error() -> None:
    scores = torch.eye(3)
    with pytest.raises(ValueError, match=r"no temperature in 0\.01 to 100 is best for these 3 pixels"):
        fit_temperature(PixelSample(scores, torch.arange(3)))
    with pytest.raises(ValueError, match="no temperature"):
        fit_temperature(PixelSample(scores, torch.tensor([1, 2, 0])))
    with pytest.raises(ValueError, match="no labelled pixel"):
        fit_temperature(PixelSample(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)))


def test_the_sample_is_of_labelled_pixels_at_their_own_scores() -> None:
    truth = truth_of(SIZE, 5)
    scored = CoarseMap(torch.randn(1, 5, 4, 6), SIZE, "corners", "logits")
    full = F.interpolate(scored.maps, SIZE, mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
    image = Sample(np.zeros((*SIZE, 3), np.uint8), truth, "a", Path("a.png"))
    everything = PixelSampler(1, 5)
    everything.add(0, image, scored)
    torch.testing.assert_close(everything.sample().scores, full[torch.from_numpy(truth) != IGNORE])
    np.testing.assert_array_equal(everything.sample().truth, truth[truth != IGNORE])
    drawn, again, other = (PixelSampler(1 << 22, 5) for _ in range(3))
    for sampler, index in ((drawn, 7), (again, 7), (other, 8)):
        sampler.add(index, image, scored)
    assert len(drawn.sample().truth) == drawn.pixels == 64
    assert torch.equal(drawn.sample().scores, again.sample().scores)
    assert not torch.equal(drawn.sample().scores, other.sample().scores)


class Noise:
    """Three images of noise."""

    def __init__(self, model: Segmenter) -> None:
        self.classes = model.classes

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        image = np.random.default_rng(index).integers(0, 256, (40, 56, 3), np.uint8)
        return Sample(image, truth_of((40, 56), 11, index), f"n{index}", Path(f"n{index}.png"))


@pytest.mark.parametrize("protocol", [WHOLE, MULTI_FLIP])
def test_scoring_reports_it_and_shards_add_up_to_the_set(protocol: Protocol) -> None:
    model = create_model("attanet_light_camvid")
    noise = Noise(model)
    plain, scores = evaluate(model, noise, protocol), evaluate(model, noise, protocol, calibration=True)
    assert plain.ece is None
    assert "ECE" not in plain.summary()
    assert (plain.confusion == scores.confusion).all()
    assert scores.calibration is not None
    assert sum(scores.calibration.pixels) == scores.confusion.sum()
    assert sum(scores.calibration.right) == np.trace(scores.confusion)
    assert f"ECE {scores.ece:.2f}" in scores.summary()
    shards = [evaluate(model, noise, protocol, calibration=True, shard=(rank, 2)) for rank in (1, 0)]
    assert (shards[0] + shards[1]).calibration == scores.calibration
    with pytest.raises(ValueError, match="with and without calibration don't add"):
        evaluate(model, noise, protocol, shard=(0, 2)) + shards[0]
    again = Scores.from_json(scores.to_json())
    assert again.calibration == scores.calibration
    assert json.loads(scores.to_json())["ece"] == scores.ece
    assert Scores.from_json(plain.to_json()).calibration is None
    model.temperature = 4.0
    softer = evaluate(model, noise, protocol, calibration=True)
    assert (softer.confusion == scores.confusion).all()
    assert softer.calibration is not None
    if protocol == MULTI_FLIP:  # averaged probabilities are taken as they are
        assert softer.calibration == scores.calibration
    else:
        assert sum(softer.calibration.confidence) < sum(scores.calibration.confidence)
        assert "at temperature 4" in softer.summary()


def test_sums_of_exponentials_have_no_calibration() -> None:
    model = create_model("attanet_light_camvid")
    with pytest.raises(ValueError, match="no probabilities, so there is no confidence"):
        evaluate(model, Noise(model), PROTOCOLS["attanet_slide"], calibration=True)


@pytest.mark.parametrize(
    "change", [{"pixels": [1]}, {"temperature": 0}, {"temperature": "x"}, {"loss": None}, {"right": [0] * (BINS + 1)}]
)
def test_a_damaged_calibration_is_refused(change: dict[str, object]) -> None:
    whole = {name: [0] * BINS for name in ("pixels", "right", "confidence")} | {"loss": 0, "temperature": 1.0}
    assert Calibration.from_dict(whole) == Calibration.empty()
    with pytest.raises(ValueError, match=r"expected|could not"):
        Calibration.from_dict(whole | change)
