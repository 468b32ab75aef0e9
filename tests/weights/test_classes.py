"""A model's classes are those that its file names, and its outputs follow them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import segattn
from segattn.contracts import Classes, class_difference, require_same_classes
from segattn.weights.checkpoint import describe_model, save_model
from segattn.weights.classes import class_tensors, fit_classes

NAMES = ("cat", "dog", "cow")
PALETTE = ((0, 0, 0), (9, 9, 9), (7, 7, 7))
OWN, TURNED = Classes(NAMES, PALETTE), Classes(NAMES[::-1], PALETTE)


def own_model(name: str) -> tuple[segattn.Recipe, segattn.Segmenter]:
    row = segattn.recipe(name)
    row = replace(row, data=replace(row.data, dataset="folder", num_classes=3))
    model = segattn.create_model(row)
    model.classes = OWN
    return row, model


@pytest.fixture
def file(tmp_path: Path) -> tuple[segattn.Recipe, segattn.Segmenter, Path]:
    row, model = own_model("attanet_light_camvid")
    save_model(tmp_path / "own.safetensors", model, describe_model(row, OWN))
    return row, model, tmp_path / "own.safetensors"


def test_differences_are_told_in_bounded_words() -> None:
    assert class_difference(OWN, OWN, "the data set") is None
    assert class_difference(OWN, Classes.numbered(3), "the data set") is None
    assert class_difference(Classes.numbered(3), TURNED, "the data set") is None
    with pytest.raises(ValueError, match=r"^x: its 3 classes \(class 0, class 1, class 2\) are not the 2 of the data"):
        require_same_classes("x", Classes.numbered(3), Classes.numbered(2))
    with pytest.raises(
        ValueError,
        match=r"^x: its 3 classes \(cat, dog, cow\) are not the 3 of the data set \(cow, dog, cat\);.*--map-classes",
    ):
        require_same_classes("x", OWN, TURNED)
    long = [Classes(tuple(f"{i} {end * 90}" for i in range(250)), ((0, 0, 0),) * 250) for end in "ab"]
    assert len(class_difference(*long, "the data set") or "") < 400
    fifth = replace(Classes.numbered(6), names=("a", "b", "c", "d", "e", "f"))
    other = replace(fifth, names=("a", "b", "c", "d", "g", "f"))
    assert (class_difference(fifth, other, "it") or "").endswith("(a, b, c, ...): class 4 is e here and g there")


def test_a_file_brings_its_classes(file: tuple[segattn.Recipe, segattn.Segmenter, Path]) -> None:
    row, model, path = file
    assert segattn.create_model(row, weights=path).classes == OWN
    fresh = segattn.create_model(row)
    segattn.load_weights(fresh, path)
    assert fresh.classes == OWN
    by_hand = segattn.create_model(row)
    segattn.load_weights(by_hand, model.state_dict())
    assert not by_hand.classes.named


def test_a_classifier_of_other_classes_is_left_out_on_request(
    file: tuple[segattn.Recipe, segattn.Segmenter, Path],
) -> None:
    row, model, path = file
    fresh = segattn.create_model(row)
    fresh.classes = TURNED
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    report = segattn.load_weights(fresh, path, num_classes_may_differ=True)
    assert "3 left out (classifier: of other classes, or in another order)" in str(report)
    assert fresh.classes == TURNED
    classifier = class_tensors(row.network, 3)
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, before[name] if name in classifier else model.state_dict()[name]), name


@pytest.mark.parametrize(
    "name",
    [
        "attanet_light_camvid",
        "danet_mmseg_r50_cityscapes_40k",
        "acfnet_ecanet101_cityscapes",
        "light_ham_d256_van_tiny_ade20k",
        "fpn_agent_pvt_t_ade20k",
    ],
)
def test_outputs_are_put_in_order_by_name(name: str) -> None:
    _, model = own_model(name)
    classes = Classes(("cow", "cat", "dog"), PALETTE)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model.segment(model.normalize(image))
        done = fit_classes(model, classes, "x", by_name=True)
        after = model.segment(model.normalize(image))
    assert done == "outputs put in the data set's order of classes: cow from 2 to 0, cat from 0 to 1, dog from 1 to 2"
    assert model.classes == classes
    assert before.auxiliary.keys() == after.auxiliary.keys()
    pairs = [(before.logits, after.logits), *((before.auxiliary[k], after.auxiliary[k]) for k in after.auxiliary)]
    for old, new in pairs:
        if old.shape[1] == 3:
            torch.testing.assert_close(new, old[:, [2, 0, 1]], rtol=1e-4, atol=1e-5)
    assert fit_classes(model, classes, "x", by_name=True) is None


def test_only_the_same_names_are_mapped() -> None:
    _, model = own_model("attanet_light_camvid")
    with pytest.raises(ValueError, match=r"^x: its 3 classes .* are not the 3 of the data set \(cat, dog, pig\)$"):
        fit_classes(model, replace(OWN, names=("cat", "dog", "pig")), "x", by_name=True)
    with pytest.raises(ValueError, match=r"^x: its 3 classes .*--map-classes"):
        fit_classes(model, TURNED, "x", by_name=False)
    model.network = None
    with pytest.raises(ValueError, match="put together by hand"):
        fit_classes(model, TURNED, "x", by_name=True)
