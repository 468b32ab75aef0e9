"""The distillation term: its formula, its gradients, and which pixels and teachers it takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segattn.contracts import IGNORE, SegOutput
from segattn.losses.functional import distillation_pixels
from segattn.losses.terms import CrossEntropy, Distillation
from segattn.losses.total import SegmentationLoss
from segattn.recipes.serialize import from_dict, to_dict

LABELS = torch.full((2, 6, 5), IGNORE)


def logits(seed: int) -> torch.Tensor:
    return 3 * torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(seed))


def by_hand(ours: torch.Tensor, theirs: torch.Tensor, temperature: float) -> torch.Tensor:
    """Pixel by pixel, from probabilities in float64."""
    p, q = ((x.double() / temperature).softmax(1) for x in (theirs, ours))
    return temperature**2 * (p * (p / q).log()).sum(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_it_is_the_divergence_at_a_temperature(temperature: float) -> None:
    ours, theirs = logits(0), logits(1)
    found = distillation_pixels(ours, theirs, temperature)
    torch.testing.assert_close(found.double(), by_hand(ours, theirs, temperature), rtol=1e-4, atol=1e-6)
    assert (found >= -1e-6).all()
    assert distillation_pixels(ours, ours + 7.0, temperature).abs().max() < 1e-5, "equal up to a constant: nothing"


def test_at_high_temperatures_it_is_the_squared_difference_of_logits() -> None:
    """The paper's limit: KL T^2 -> mean over classes of (z - v)^2 / 2, for logits of mean zero."""
    ours, theirs = (x - x.mean(1, keepdim=True) for x in (logits(0).double(), logits(1).double()))
    found = distillation_pixels(ours, theirs, 300.0)
    torch.testing.assert_close(found, ((ours - theirs) ** 2).mean(1).float() / 2, rtol=0.05, atol=0.02)


def test_gradients_pull_to_the_teacher_alone() -> None:
    ours, theirs = logits(0).requires_grad_(), logits(1).requires_grad_()
    distillation_pixels(ours, theirs, 2.0).sum().backward()
    assert theirs.grad is None
    expected = 2.0 * ((ours / 2).softmax(1) - (theirs / 2).softmax(1))
    torch.testing.assert_close(ours.grad, expected.detach(), rtol=1e-4, atol=1e-6)


def test_the_term_averages_over_all_pixels_labelled_or_not() -> None:
    ours, theirs, labels = logits(0), logits(1), LABELS.clone()
    labels[0, 0] = 1
    for given in (LABELS, labels):
        loss = SegmentationLoss([Distillation(temperature=3.0, weight=0.5)])
        found = loss(SegOutput(ours, {}), given, teacher=theirs)
        assert set(found) == {"main.distillation", "total"}
        assert found["total"].item() == pytest.approx(0.5 * by_hand(ours, theirs, 3.0).mean().item(), rel=1e-4)


def test_parts_of_a_batch_add_up_and_other_outputs_are_compared_too() -> None:
    """With a cross-entropy whose labels are all in one part."""
    terms = [CrossEntropy(), Distillation(), Distillation(output="aux", weight=0.3)]
    loss, theirs, labels = SegmentationLoss(terms), logits(1), LABELS.clone()
    labels[0] = 2
    output = SegOutput(logits(0), {"aux": logits(2)})
    joint = loss(output, labels, teacher=theirs)["total"].item()
    shared = (loss.divisors(labels[:1]) + loss.divisors(labels[1:])) / 2
    parts = []
    for i in range(2):
        one = slice(i, i + 1)
        part = SegOutput(output.logits[one], {"aux": output.auxiliary["aux"][one]})
        parts.append(loss(part, labels[one], shared, teacher=theirs[one])["total"].item())
    assert sum(parts) / 2 == pytest.approx(joint, rel=1e-5)


def test_the_students_map_is_brought_to_the_teachers() -> None:
    small, theirs = torch.randn(2, 4, 3, 3), logits(1)
    grown = F.interpolate(small, (6, 5), mode="bilinear", align_corners=False)
    found = SegmentationLoss([Distillation()])(SegOutput(small, {}), LABELS, align_corners="edges", teacher=theirs)
    assert found["total"].item() == pytest.approx(by_hand(grown, theirs, 2.0).mean().item(), rel=1e-4)


def test_mistakes_are_said() -> None:
    loss, output = SegmentationLoss([Distillation()]), SegOutput(logits(0), {})
    with pytest.raises(ValueError, match=r"main\.distillation: needs a teacher's logits .*got none"):
        loss(output, LABELS)
    with pytest.raises(ValueError, match=r"of shape \(2, 4, 6, 5\), got those of shape \(2, 4, 3, 5\)"):
        loss(output, LABELS, teacher=logits(1)[:, :, :3])
    with pytest.raises(ValueError, match="temperature 0"):
        Distillation(temperature=0.0)
    assert from_dict(Distillation, to_dict(Distillation(temperature=4.0))) == Distillation(temperature=4.0)
