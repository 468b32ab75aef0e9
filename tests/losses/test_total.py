"""Sums of terms: the papers' whole losses, unknown outputs, ignored batches, precision, and division over a step."""

from __future__ import annotations

import weakref

import pytest
import torch

from segattn.contracts import IGNORE, SegOutput
from segattn.layers import resize
from segattn.losses import total
from segattn.losses.terms import CrossEntropy, Dice, Focal, Lovasz, OhemCrossEntropy, OhemSearchCrossEntropy
from segattn.losses.total import SegmentationLoss

ACFNET = (
    OhemSearchCrossEntropy(weight=0.7, min_kept=3200),
    CrossEntropy(output="coarse", weight=0.6),
    CrossEntropy(output="aux", weight=0.4),
    Lovasz(outputs=("main", "coarse")),
)
PAPERS = {
    "attanet.total": tuple(OhemCrossEntropy(output=name, min_kept=1536) for name in ("main", "aux1", "aux2")),
    "danet.multi": tuple(CrossEntropy(output=name) for name in ("main", "position", "channel")),
    "segmentation.aux_two_outputs": (CrossEntropy(), CrossEntropy(output="aux", weight=0.2)),
    "acfnet.total.same_resolution": ACFNET,
    "acfnet.total.repaired": ACFNET,
    "acfnet.dsn": (CrossEntropy(), CrossEntropy(output="coarse", weight=0.4)),
    "acfnet.ce_lovasz": (CrossEntropy(), Lovasz()),
}


@pytest.mark.parametrize("key", PAPERS)
def test_whole_losses_equal_the_released_codes(key, fill, parity):
    case, arrays = parity.description("losses_cnn")["cases"][key], parity.arrays("losses_cnn")
    rule = case["target"]["rule"]
    size = [int(number) for number in rule[rule.index("(") + 1 : rule.index(")")].split(",")]
    labels = torch.from_numpy(fill.labels(*size))
    logits = {name: parity.case_input(rule).requires_grad_() for name, rule in case["logits"].items()}
    output = SegOutput(logits["main"], {name: x for name, x in logits.items() if name != "main"})
    losses = SegmentationLoss(PAPERS[key])(output, labels, align_corners="corners")
    losses["total"].backward()
    assert losses["total"].item() == pytest.approx(float(case["loss"]), rel=1e-6)
    parts = sum(value.item() for name, value in losses.items() if name != "total")
    assert parts == pytest.approx(losses["total"].item(), rel=1e-6)
    for name in case["grad_l2"]:
        grad = logits[name].grad
        assert grad.double().norm().item() == pytest.approx(float(case["grad_l2"][name]), rel=5e-5)
        found = grad.flatten()[torch.from_numpy(arrays[f"{key}.{name}.grad_idx"])]
        torch.testing.assert_close(found, torch.from_numpy(arrays[f"{key}.{name}.grad"]), rtol=2e-4, atol=1e-8)


EVERY = (
    CrossEntropy(),
    CrossEntropy(divisor="all"),
    CrossEntropy(class_weights=(1.0, 2.0, 0.0)),
    OhemCrossEntropy(min_kept=20),
    OhemSearchCrossEntropy(min_kept=200),
    Lovasz(outputs=("main", "aux")),
    Dice(output="aux"),
    Focal(),
)


def outputs(dtype: torch.dtype = torch.float32) -> SegOutput:
    return SegOutput(
        torch.randn(2, 3, 16, 16).to(dtype).requires_grad_(),
        {"aux": torch.randn(2, 3, 16, 16).to(dtype).requires_grad_()},
    )


@pytest.mark.parametrize("term", EVERY)
def test_a_batch_without_labels_costs_nothing(term):
    output, labels = outputs(), torch.full((2, 16, 16), IGNORE)
    loss = SegmentationLoss([term])(output, labels)["total"]
    loss.backward()
    assert loss.item() == 0.0
    for logits in (output.logits, output.auxiliary["aux"]):
        assert logits.grad is None or torch.count_nonzero(logits.grad) == 0


@pytest.mark.parametrize("term", EVERY)
def test_ignored_pixels_get_no_gradient(term):
    output, labels = outputs(), torch.randint(0, 3, (2, 16, 16))
    labels[0, :9] = IGNORE
    SegmentationLoss([term])(output, labels)["total"].backward()
    grads = [x.grad for x in (output.logits, output.auxiliary["aux"]) if x.grad is not None]
    assert all(torch.count_nonzero(grad[0, :, :9]) == 0 for grad in grads)
    assert all(torch.count_nonzero(grad[0, :, 9:]) > 0 for grad in grads)


def test_half_precision_logits_cost_what_their_float32_values_cost():
    output, labels = outputs(torch.bfloat16), torch.randint(0, 3, (2, 16, 16))
    loss = SegmentationLoss(EVERY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(output, labels)
    full = loss(SegOutput(output.logits.float(), {"aux": output.auxiliary["aux"].float()}), labels)
    assert {name: value.dtype for name, value in half.items()} == dict.fromkeys(full, torch.float32)
    assert {name: value.item() for name, value in half.items()} == {name: value.item() for name, value in full.items()}


def test_names_are_unique_and_say_output_and_kind():
    names = SegmentationLoss(EVERY).names
    assert names[:3] == ("main.cross_entropy", "main.cross_entropy_2", "main.cross_entropy_3")
    assert names[5] == "main+aux.lovasz"
    assert len(set(names)) == len(names)


def test_an_unknown_output_names_the_nearest():
    loss = SegmentationLoss([CrossEntropy(output="axu")])
    with pytest.raises(ValueError, match=r"'axu'; this network has main, aux\. Did you mean aux\?"):
        loss(outputs(), torch.zeros(2, 16, 16, dtype=torch.int64))


def test_each_map_is_resized_once_and_gone_after_its_last_term(monkeypatch):
    """Maps of the labels' size are the largest of a step: no two outputs' are held at a time, but in a sum of them."""
    alive, most, made = set(), [0], []

    def counted(x, size, *, align_corners):
        assert align_corners == "corners"
        grown = resize(x, size, align_corners=align_corners)
        alive.add(id(grown))
        weakref.finalize(grown, alive.discard, id(grown))
        most[0] = max(most[0], len(alive))
        made.append(size)
        return grown

    monkeypatch.setattr(total, "resize", counted)
    terms = [CrossEntropy(), Focal(), CrossEntropy(output="aux"), Dice(output="aux")]
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    losses = SegmentationLoss(terms)(outputs(), labels, align_corners="corners")
    assert (len(made), most[0]) == (2, 1)
    assert losses["total"].requires_grad
    SegmentationLoss([*terms, Lovasz(outputs=("main", "aux"))])(outputs(), labels, align_corners="corners")
    assert (len(made), most[0]) == (4, 2)


def test_other_mistakes_are_said():
    labels = torch.zeros(2, 16, 16, dtype=torch.int64)
    with pytest.raises(ValueError, match="size with align_corners"):
        SegmentationLoss([CrossEntropy()])(outputs(), labels[:, :8])
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        SegmentationLoss([CrossEntropy(class_weights=(1.0, 2.0))])(outputs(), labels.fill_(1))
    with pytest.raises(ValueError, match="one term or more"):
        SegmentationLoss([])


def test_shared_divisors_make_parts_equal_to_the_joint_batch():
    """Each image alone, divided by the mean of both divisors and averaged, is the loss of both together."""
    loss = SegmentationLoss([CrossEntropy(), CrossEntropy(class_weights=(1.0, 2.0, 3.0)), Focal()])
    output, labels = outputs(), torch.randint(0, 3, (2, 16, 16))
    labels[1, 2:] = IGNORE
    joint = loss(output, labels)["total"]
    shared = (loss.divisors(labels[:1]) + loss.divisors(labels[1:])) / 2
    parts = [loss(SegOutput(output.logits[i : i + 1], {}), labels[i : i + 1], shared)["total"] for i in range(2)]
    assert (sum(parts) / 2).item() == pytest.approx(joint.item(), rel=1e-6)
    alone = [loss(SegOutput(output.logits[i : i + 1], {}), labels[i : i + 1])["total"].item() for i in range(2)]
    assert sum(alone) / 2 != pytest.approx(joint.item(), rel=1e-3)
