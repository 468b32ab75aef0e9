"""Lovasz and Dice against the released code, brute force, and their edge cases."""

from __future__ import annotations

import pytest
import torch

from segattn.contracts import IGNORE
from segattn.losses.functional import lovasz_gradient, lovasz_softmax, soft_dice


def test_lovasz_equals_the_released_code(fill, parity):
    case = parity.description("losses_cnn")["cases"]["acfnet.lovasz"]
    x = parity.case_input(case["logits"]["x"]).requires_grad_()
    loss = lovasz_softmax(x, torch.from_numpy(fill.labels(24, 24, 19, 2)))
    loss.backward()
    arrays = parity.arrays("losses_cnn")
    assert loss.item() == pytest.approx(float(case["loss"]), rel=1e-6)
    found = x.grad.flatten()[torch.from_numpy(arrays["acfnet.lovasz.x.grad_idx"])]
    torch.testing.assert_close(found, torch.from_numpy(arrays["acfnet.lovasz.x.grad"]), rtol=1e-4, atol=1e-9)
    assert x.grad.double().norm().item() == pytest.approx(float(case["grad_l2"]["x"]), rel=5e-5)


def test_lovasz_of_hard_predictions_is_the_jaccard_loss():
    """On predictions that are 0 or 1 the extension equals the loss that it extends."""
    labels = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    predicted = torch.tensor([[[0, 0, 1, 1, 1, 0]]])
    logits = 100.0 * torch.nn.functional.one_hot(predicted, 3).permute(0, 3, 1, 2)
    assert lovasz_softmax(logits, labels).item() == pytest.approx(1 - 2 / 4)
    torch.testing.assert_close(lovasz_gradient(torch.tensor([1.0, 0.0, 1.0])).sum(), torch.tensor(1.0))


@pytest.mark.parametrize("loss", [lovasz_softmax, soft_dice])
def test_one_labelled_pixel_and_none(loss):
    logits = torch.randn(2, 5, 8, 8, requires_grad=True)
    labels = torch.full((2, 8, 8), IGNORE)
    none = loss(logits, labels)
    none.backward()
    assert none.item() == 0.0
    assert torch.count_nonzero(logits.grad) == 0
    labels[0, 3, 4] = 2
    one = loss(logits, labels)
    one.backward()
    p = logits.detach().softmax(1)[0, 2, 3, 4]
    expected = 1 - p if loss is lovasz_softmax else 1 - 2 * p / (p + 1)
    assert one.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.count_nonzero(logits.grad) == 5


def test_dice_is_its_formula_over_present_classes():
    logits, labels = torch.randn(2, 4, 6, 5), torch.randint(0, 3, (2, 6, 5))  # class 3 is absent
    labels[0, 0] = IGNORE
    mask = labels != IGNORE
    scores = []
    for index in range(3):
        p, g = logits.softmax(1)[:, index][mask], (labels[mask] == index).float()
        scores.append(1 - 2 * (p * g).sum() / (p.sum() + g.sum()))
    assert soft_dice(logits, labels).item() == pytest.approx(torch.stack(scores).mean().item(), rel=1e-6)


@pytest.mark.parametrize("loss", [lovasz_softmax, soft_dice])
def test_what_is_ignored_has_no_say(loss):
    logits, labels = torch.randn(1, 3, 8, 8), torch.randint(0, 3, (1, 8, 8))
    labels[..., 4:] = IGNORE
    changed = logits.clone()
    changed[..., 4:] = 50 * torch.randn(1, 3, 8, 4)
    assert loss(logits, labels) == loss(changed, labels)
