"""What `import segattn` gives, used as the README uses it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import segattn
from segattn.api import open_split
from segattn.weights import pretrained as defaults
from segattn.weights.checkpoint import describe_model, save_model

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*ROOT.glob("src/segattn/weights/*.safetensors"), *ROOT.glob("results/*/train.safetensors")])


def test_models_are_made_by_name_or_recipe_in_evaluation_mode() -> None:
    model = segattn.create_model("attanet_light_camvid")
    assert not model.training
    assert model.classes.names[0] == "sky"
    assert model(torch.zeros(1, 3, 33, 65, dtype=torch.uint8)).shape == (1, 11, 33, 65)
    output = model.segment(torch.zeros(1, 3, 64, 96))
    assert output.logits.shape[:2] == (1, 11)
    assert set(output.auxiliary) == {"aux1", "aux2"}
    recipe = segattn.recipe("attanet_light_camvid")
    assert {k: v.shape for k, v in segattn.create_model(recipe).state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


def test_the_number_of_classes_can_be_another() -> None:
    model = segattn.create_model("attanet_light_camvid", num_classes=3)
    assert model(torch.zeros(1, 3, 32, 32)).shape[1] == 3
    assert model.classes.names == ("class 0", "class 1", "class 2")
    with pytest.raises(ValueError, match="num_classes 0: expected 1 or more"):
        segattn.create_model("attanet_light_camvid", num_classes=0)


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean attanet_light_camvid"):
        segattn.create_model("attanet_ligth_camvid")
    with pytest.raises(ValueError, match=r"no weights ship with the package for 'danet_r50_cityscapes'"):
        segattn.create_model("danet_r50_cityscapes", weights="default")


def test_weights_are_loaded_whole_or_not_at_all(trained: Path) -> None:
    model = segattn.create_model("attanet_light_camvid", weights=trained)
    report = segattn.load_weights(segattn.create_model("attanet_light_camvid"), model.state_dict())
    assert report.loaded == len(model.state_dict())
    with pytest.raises(ValueError, match="the file is for another number of classes, 11 and not 3"):
        segattn.create_model("attanet_light_camvid", num_classes=3, weights=trained)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        segattn.create_model("attanet_light_camvid", weights="nowhere.pth")


@pytest.mark.parametrize("flag", [True, False])
def test_a_file_that_was_written_with_a_flag_answers_as_it_did(flag: bool, tmp_path: Path) -> None:
    recipe = segattn.recipe("attanet_light_camvid")
    recipe = replace(recipe, network=replace(recipe.network, align_corners="corners" if flag else "edges"))
    model = segattn.create_model(recipe)
    description = describe_model(recipe, model.classes)
    description["recipe"]["network"]["align_corners"] = flag
    save_model(tmp_path / "old.safetensors", model, description)
    _, old = segattn.load_model(tmp_path / "old.safetensors")
    segattn.create_model(recipe, weights=tmp_path / "old.safetensors")  # compares the two networks
    images = torch.rand(1, 3, 64, 90)
    with torch.inference_mode():
        logits = old.logits(old.normalize(images))
        expected = F.interpolate(logits, (64, 90), mode="bilinear", align_corners=flag)
        assert torch.equal(old(images), expected)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name + "/" + file.name)
def test_files_of_before_load_with_a_word(file: Path) -> None:
    """Two are on the grid; the oldest one's corners are aligned by a default that its description leaves out."""
    recipe, model = segattn.load_model(file)
    assert model.align_corners == recipe.network.align_corners  # type: ignore[union-attr]
    assert model.align_corners == ("corners" if file.parent.name == "attanet_light_camvid" else "grid")


def test_a_file_of_another_network_or_other_classes_is_refused(trained: Path, tmp_path: Path) -> None:
    """Tensors fit in names and shapes; labels would be wrong."""
    recipe, model = segattn.load_model(trained)
    network = replace(
        recipe.network, align_corners="corners", normalization=replace(recipe.network.normalization, bgr=True)
    )
    with pytest.raises(
        ValueError, match=r"network\.align_corners was 'grid' and is 'corners' here; network\.normalization was"
    ):
        segattn.create_model(replace(recipe, network=network), weights=trained)
    classes = replace(model.classes, names=tuple(reversed(model.classes.names)))
    save_model(tmp_path / "other.safetensors", model, describe_model(recipe, classes))
    with pytest.raises(ValueError, match=r"class 0 was 'bicyclist' and is 'sky' here\. Name the file alone"):
        segattn.create_model(recipe, weights=tmp_path / "other.safetensors")
    counted = replace(recipe, data=replace(recipe.data, dataset="folder"))
    segattn.create_model(counted, weights=tmp_path / "other.safetensors")
    other_version = describe_model(recipe, classes)
    other_version["recipe"]["network"]["kind"] = "AttaNet3"
    save_model(tmp_path / "newer.safetensors", model, other_version)
    segattn.create_model(recipe, weights=tmp_path / "newer.safetensors")


def test_the_shipped_weights(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(trained, tmp_path / "attanet_light_camvid.safetensors")
    monkeypatch.setattr(defaults, "files", lambda _: tmp_path)
    model = segattn.create_model("attanet_light_camvid", weights="default")
    expected = segattn.load_model(trained)[1].state_dict()
    assert all((tensor == expected[name]).all() for name, tensor in model.state_dict().items())


def test_a_trained_file_brings_its_recipe(trained: Path, camvid: Path) -> None:
    recipe, model = segattn.load_model(trained, {"data.root": str(camvid)})
    assert recipe == replace(segattn.recipe("attanet_light_camvid"), data=replace(recipe.data, root=str(camvid)))
    assert not model.training
    with pytest.raises(ValueError, match=r"a model for 11 classes \(sky, building, pole, road, \.\.\.\), not for"):
        segattn.load_model(trained, {"data.num_classes": "19"})
    with pytest.raises(ValueError, match=r"unknown key\. Did you mean root"):
        segattn.load_model(trained, {"data.rot": "19"})


def test_predict_and_save(trained: Path, camvid: Path, tmp_path: Path) -> None:
    _, model = segattn.load_model(trained)
    result = segattn.predict(model, camvid / "images" / "val" / "val0.png")
    assert result.labels.shape == (48, 64)
    assert result.scores.shape == (11, 48, 64)
    files = result.save(tmp_path / "out")
    assert (np.asarray(Image.open(files.labels)) == result.labels).all()


def test_evaluate_a_split(trained: Path, camvid: Path) -> None:
    recipe, model = segattn.load_model(trained, {"data.root": str(camvid)})
    dataset = open_split(recipe, "val")
    scores = segattn.evaluate(model, dataset, recipe.protocol)
    assert scores.confusion.shape == (11, 11)
    assert scores.confusion.sum() == sum(int((dataset[i].mask != 255).sum()) for i in range(3))  # type: ignore[operator]
    assert 0 <= scores.miou <= 100
    truth = np.concatenate([dataset[i].mask.ravel() for i in range(3)])  # type: ignore[union-attr]
    labels = np.concatenate([segattn.predict(model, dataset[i].image, size="native").labels.ravel() for i in range(3)])
    assert scores.aacc == pytest.approx(100 * (labels == truth)[truth != 255].mean())


def test_a_split_needs_a_root_and_the_classes_of_the_recipe(camvid: Path) -> None:
    recipe = segattn.recipe("attanet_light_camvid")
    with pytest.raises(ValueError, match=r"where is camvid\? Give its folder with --data\.root DIR"):
        open_split(recipe, "val")
    data = replace(recipe.data, root=str(camvid), num_classes=12)
    with pytest.raises(ValueError, match=r"camvid has 11 classes and the recipe 12; set --data\.num_classes 11"):
        open_split(replace(recipe, data=data), "val")
