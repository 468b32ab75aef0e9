"""Pixel losses against what the released codes gave (losses_cnn, losses_mm), and their edge cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segattn.contracts import IGNORE, SegOutput
from segattn.losses.functional import (
    focal_pixels,
    ohem_cross_entropy,
    ohem_search_cross_entropy,
    pixel_cross_entropy,
    reduced_positions,
)
from segattn.losses.terms import CrossEntropy, Focal
from segattn.losses.total import SegmentationLoss


@pytest.fixture
def cnn(parity) -> Any:
    return parity.description("losses_cnn")["cases"]


def build(case: dict[str, Any], fill, parity) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The logits and labels that a case describes."""
    target = case["target"]
    if target["rule"].startswith("all"):
        labels = torch.full(target["shape"], IGNORE)
    else:
        height, width, classes, batch = eval_numbers(target["rule"])
        labels = torch.from_numpy(fill.labels(height, width, classes, batch))
    if "[:, :8, :16]" in target.get("note", ""):
        small = labels[:, :8, :16].clone()
        labels.fill_(IGNORE)
        labels[:, :8, :16] = small
    logits = {}
    for name, rule in case["logits"].items():
        x = parity.case_input(rule)
        if "add" in case:
            bonus = int(case["add"].split()[0])
            x += bonus * F.one_hot(labels.clamp(max=18), 19).permute(0, 3, 1, 2)
        logits[name] = x.requires_grad_()
    return logits, labels


def eval_numbers(rule: str) -> tuple[int, ...]:
    """(48, 64, 19, 2) from "fill.labels(48, 64, 19, 2)"."""
    return tuple(int(number) for number in rule[rule.index("(") + 1 : rule.index(")")].split(","))


def check_gradient(x: torch.Tensor, name: str, key: str, case: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    assert x.grad is not None
    expected = torch.from_numpy(arrays[f"{key}.{name}.grad"])
    found = x.grad.flatten()[torch.from_numpy(arrays[f"{key}.{name}.grad_idx"])]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    assert x.grad.double().norm().item() == pytest.approx(float(case["grad_l2"][name]), rel=5e-5, abs=1e-12)


OHEM = ["more_than_n_min", "fewer_than_n_min", "fewer_valid_than_n_min", "all_ignored"]


@pytest.mark.parametrize("name", OHEM)
def test_attanet_ohem_equals_the_released_code(name, cnn, fill, parity):
    key = f"attanet.ohem.{name}"
    (x,), labels = [*build(cnn[key], fill, parity)[0].values()], build(cnn[key], fill, parity)[1]
    loss = ohem_cross_entropy(x, labels, threshold=cnn[key]["thresh"], min_kept=cnn[key]["n_min"])
    loss.backward()
    assert loss.item() == pytest.approx(float(cnn[key]["loss"]), rel=1e-6)
    check_gradient(x, "x", key, cnn[key], parity.arrays("losses_cnn"))


def test_attanet_ohem_with_as_many_kept_as_pixels_keeps_one_less(cnn, fill, parity):
    logits, labels = build(cnn["attanet.ohem.n_min_too_large"], fill, parity)
    loss = ohem_cross_entropy(logits["x"], labels, threshold=0.7, min_kept=6144)
    every = pixel_cross_entropy(logits["x"], labels).flatten().sort(descending=True).values
    assert loss.item() == pytest.approx(every[:-1].mean().item(), rel=1e-6)


def test_attanet_ohem_at_the_limit_of_more_than_min_kept():
    """Exactly `min_kept` hard pixels: the rule asks for one more, so the largest losses count."""
    easy, hard = torch.tensor([8.0, 0.0]), torch.tensor([0.0, 1.0])
    logits = torch.stack([hard, hard, easy, easy]).T.reshape(1, 2, 2, 2)
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    losses = pixel_cross_entropy(logits, labels)
    assert ohem_cross_entropy(logits, labels, threshold=0.7, min_kept=2) == losses.flatten().topk(2).values.mean()
    assert ohem_cross_entropy(logits, labels, threshold=0.7, min_kept=3) == losses.flatten().topk(3).values.sum() / 3
    assert ohem_cross_entropy(logits[..., :1, 1:], labels[..., :1, 1:], threshold=0.7, min_kept=5) > 0


SEARCH = ["keep_few", "keep_many", "keep_all", "easy_keep_few", "easy_keep_many", "few_valid"]


@pytest.mark.parametrize("name", SEARCH)
def test_acfnet_ohem_equals_the_released_code(name, cnn, fill, parity):
    key = f"acfnet.ohem.{name}"
    case = cnn[key]
    logits, labels = build(case, fill, parity)
    loss = ohem_search_cross_entropy(logits["x"], labels, threshold=case["thresh"], min_kept=case["min_kept"], factor=8)
    loss.backward()
    assert loss.item() == pytest.approx(float(case["loss"]), rel=1e-6)
    check_gradient(logits["x"], "x", key, case, parity.arrays("losses_cnn"))
    assert torch.count_nonzero(logits["x"].grad).item() == case["grad_nonzero"]["x"]


def test_acfnet_reduces_labels_as_the_released_zoom(fill, parity):
    labels = torch.from_numpy(fill.labels(33, 41, 5, 1))
    small = labels[:, reduced_positions(33, 8)][:, :, reduced_positions(41, 8)]
    assert torch.equal(small, torch.from_numpy(parity.arrays("losses_cnn")["acfnet.zoom.label"]))


def test_reduced_positions_of_small_and_odd_sides():
    assert reduced_positions(3, 8) == [0]
    assert reduced_positions(12, 8) == [0, 11]  # 1.5 rounds to even: 2
    assert reduced_positions(20, 8) == [0, 19]  # and 2.5 too
    assert len(reduced_positions(769, 8)) == 96


@pytest.mark.parametrize("index", range(5))
def test_both_divisors_equal_mmsegmentation(index, fill, parity):
    case = parity.description("losses_mm")["cases"][index]
    height, width = case["size"]
    labels = torch.from_numpy(fill.labels(height, width, case["classes"], case["batch"]))
    if case["name"] == "all ignored":
        labels.fill_(IGNORE)
    main, aux = (parity.case_input({**case[f"{name}_logits"], "scale": 2}).requires_grad_() for name in ("main", "aux"))
    grown = [F.interpolate(x, (height, width), mode="bilinear", align_corners=False) for x in (main, aux)]
    divisor = "valid" if case["settings"].get("avg_non_ignore") else "all"
    loss = SegmentationLoss([CrossEntropy(divisor=divisor), CrossEntropy(output="aux", weight=0.4, divisor=divisor)])(
        SegOutput(grown[0], {"aux": grown[1]}), labels
    )
    loss["total"].backward()
    assert loss["main.cross_entropy"].item() == pytest.approx(case["decode.loss_ce"], rel=1e-6)
    assert loss["aux.cross_entropy"].item() == pytest.approx(case["aux.loss_ce"], rel=1e-6)
    assert loss["total"].item() == pytest.approx(case["total"], rel=1e-6)
    for x, name in ((main, "main"), (aux, "aux")):
        assert x.grad.norm().item() == pytest.approx(case[f"grad_norm_{name}"], rel=1e-5)
    assert main.grad[0, :3, 0, 0].tolist() == pytest.approx(case["grad_main[0,:3,0,0]"], rel=1e-4)


def test_class_weights_equal_the_weighted_mean():
    logits, labels = torch.randn(2, 3, 5, 7), torch.randint(0, 3, (2, 5, 7))
    labels[0, :2] = IGNORE
    weights = (0.5, 2.0, 1.25)
    loss = SegmentationLoss([CrossEntropy(class_weights=weights)])(SegOutput(logits, {}), labels)["total"]
    expected = F.cross_entropy(logits, labels, weight=torch.tensor(weights), ignore_index=IGNORE)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_is_its_formula_and_cross_entropy_at_gamma_zero():
    logits, labels = torch.randn(2, 3, 5, 7), torch.randint(0, 3, (2, 5, 7))
    labels[1, 3:] = IGNORE
    p = logits.softmax(1).gather(1, labels.clamp(max=2)[:, None])[:, 0][labels != IGNORE]
    total = SegmentationLoss([Focal(gamma=2.0)])(SegOutput(logits, {}), labels)["total"]
    assert total.item() == pytest.approx((-((1 - p) ** 2) * p.log()).mean().item(), rel=1e-5)
    losses = pixel_cross_entropy(logits, labels)
    torch.testing.assert_close(focal_pixels(losses, 0.0), losses)


def test_a_perfect_pixel_has_a_finite_focal_gradient():
    logits = torch.tensor([200.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    focal_pixels(pixel_cross_entropy(logits, torch.zeros(1, 1, 1, dtype=torch.int64)), 0.5).sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("half", [False, True])
def test_one_nan_pixel_shows_in_the_loss(half):
    """A part of the batch that went wrong must not hide behind hard-example selection."""
    logits, labels = torch.randn(2, 3, 16, 16), torch.randint(0, 3, (2, 16, 16))
    logits[0, 0, 0, 0] = float("nan")
    kept = 4 if half else 500
    assert ohem_cross_entropy(logits, labels, threshold=0.9, min_kept=kept).isnan()
    assert ohem_search_cross_entropy(logits, labels, threshold=0.9, min_kept=kept, factor=8).isnan()
