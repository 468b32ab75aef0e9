"""Training and scoring on images of five bands of 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segattn
from segattn.api import open_split, open_unlabelled
from segattn.cli.main import main
from segattn.contracts import Sample
from segattn.models.segmenter import Segmenter
from segattn.normalization import Normalization
from segattn.recipes.own_data import Budget, fit_recipe
from segattn.recipes.schema import Recipe
from segattn.training.loader import collate

Make = Callable[..., Path]
SHORT = {
    "network.normalization.value_range": [0, 10000],
    "training.batch_size": 2,
    "training.workers": 0,
    "schedule.iterations": 2,
}


def own(root: Path, normalization: Normalization | None = None) -> Recipe:
    """AttaNet-light on a folder, for RGB or for other channels."""
    recipe = segattn.recipe("attanet_light_camvid")
    data = replace(recipe.data, dataset="folder", num_classes=2, root=str(root))
    network = recipe.network
    if normalization is not None:
        network = replace(network, in_channels=len(normalization.mean), normalization=normalization)
    return replace(recipe, data=data, network=network)


FIVE = Normalization((0.1,) * 5, (0.1,) * 5, value_range=(0, 10000))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_of_bands_is_trained_and_scored(folder: Make, tmp_path: Path, workers: int) -> None:
    root, said = folder(), list[str]()
    options = {**SHORT, "training.workers": workers}
    segattn.train(
        "attanet_light_camvid", data=root, output=tmp_path / "run", overrides=options, say=said.append, samples=1
    )
    text = "\n".join(said)
    assert "network.in_channels" in text
    assert "without ColorJitter" in text
    assert text.count("first convolution inflated from 3 to 5 channels") == 1
    recipe, model = segattn.load_model(tmp_path / "run")
    found = recipe.network.normalization
    assert (recipe.network.in_channels, model.in_channels, found.value_range) == (5, 5, (0, 10000))
    assert len(found.mean) == len(found.std) == 5
    train = open_split(recipe, "train")
    pixels = torch.cat([torch.from_numpy(train[i].image.astype(np.float32)) for i in range(len(train))])
    seen = model.normalize(pixels.permute(2, 0, 1)[None])
    assert seen.mean((0, 2, 3)).abs().max() < 1e-3
    assert (seen.std((0, 2, 3)) - 1).abs().max() < 1e-3
    scores = segattn.evaluate(model, open_split(recipe, "val"), recipe.protocol)
    assert 0 <= scores.miou <= 100
    assert list((tmp_path / "run" / "samples").rglob("*.jpg"))


def test_the_command_line_trains_continues_and_scores(
    folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(".npy")
    monkeypatch.chdir(tmp_path)
    options = [part for key, value in SHORT.items() for part in (f"--{key}", str(value))]
    assert not main(["train", "attanet_light_camvid", "--data", str(root), "--output", "run", *options])
    assert not main(["train", "attanet_light_camvid", "--data", str(root), "--output", "run", "--more", "1"])
    again = ["train", "attanet_light_camvid", "--data", str(root), "--output", "run"]
    assert not main([*again, *options[:2]])
    assert main([*again, *options[:1], "[0, 5000]"]) == 2
    assert "holds a run of another network" in capsys.readouterr().err
    assert not main(["evaluate", "run", "--output", "report"])
    assert "mIoU" in capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").is_file()


def test_floats_need_a_stated_range(folder: Make, tmp_path: Path) -> None:
    root = folder(".npy")
    for path in (root / "images").iterdir():
        np.save(path, np.load(path).astype(np.float32))
    options = {key: value for key, value in SHORT.items() if "range" not in key}
    with pytest.raises(ValueError, match=r"values of type float32, of which 0 and 1 are not known: state them with"):
        segattn.train("attanet_light_camvid", data=root, output=tmp_path / "run", overrides=options)


def test_what_network_and_data_disagree_about_is_one_line(folder: Make, tmp_path: Path) -> None:
    root = folder()
    with pytest.raises(ValueError, match=r"dataset\.yaml names 5 bands, and the network takes RGB of 8 bits; set netw"):
        open_split(own(root), "train")
    four = Normalization((0.1,) * 4, (0.1,) * 4)
    with pytest.raises(ValueError, match=r"names 5 bands, and the network takes 4 \(network\.in_channels\)"):
        open_split(own(root, four), "train")
    (root / "dataset.yaml").write_text("classes: [water, land]\nval: 0.34\n")
    with pytest.raises(ValueError, match=r"read as RGB of 8 bits, and the network takes 5 bands as they are stored"):
        open_split(own(root, FIVE), "train")
    recipe = own(root, FIVE)
    with pytest.raises(ValueError, match=r"data\.unlabelled .*: its images are read as RGB"):
        open_unlabelled(replace(recipe, data=replace(recipe.data, unlabelled=str(root / "images"))))


def test_transforms_made_for_rgb_are_refused_by_name(folder: Make, tmp_path: Path) -> None:
    recipe = own(folder(), FIVE)
    model = segattn.create_model(recipe)
    sets = {f"{split}_set": open_split(recipe, split) for split in ("train", "val")}
    with pytest.raises(ValueError, match=r"augmentation\.0 ColorJitter: made for RGB of 8 bits, and the net"):
        segattn.train(model, recipe, output_dir=tmp_path / "run", **sets)


def test_bands_of_a_recipe_of_another_number_are_refused(folder: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"in_channels 4: normalization\.mean and std have 5 entries, expected 4"):
        segattn.train("attanet_light_camvid", data=folder(), overrides={**SHORT, "network.in_channels": 4})


def test_a_batch_has_bands_of_one_type() -> None:
    def sample(name: str, channels: int, dtype: type) -> Sample:
        return Sample(np.ones((8, 8, channels), dtype), np.zeros((8, 8), np.uint8), name, Path(name))

    batch = collate([sample("a", 5, np.uint16), sample("b", 5, np.uint16)])
    assert (batch["image"].shape, batch["image"].dtype) == ((2, 5, 8, 8), torch.uint16)
    for other in (sample("b", 4, np.uint16), sample("b", 5, np.uint8)):
        with pytest.raises(ValueError, match=r"different bands or types in a batch \(a 5 of uint16, b"):
            collate([sample("a", 5, np.uint16), other])


def test_a_model_for_rgb_is_fitted_as_before(folder: Make) -> None:
    from segattn.recipes.own_data import DataFacts, MachineFacts

    recipe = segattn.recipe("attanet_light_camvid")
    facts = DataFacts(
        root="data", name="data", classes=("a", "b"), train=4, val=2, size=(64, 80), shares=(0.5, 0.5), masks=4
    )
    fitted = fit_recipe(recipe, facts, MachineFacts(device="cpu", cores=1), Budget()).recipe
    assert fitted.network == recipe.network
    model = fitted.network.build(2)
    assert isinstance(model, Segmenter)
    assert model.in_channels == 3


def test_a_pipeline_of_ones_own_keeps_bands_and_type(folder: Make, tmp_path: Path) -> None:
    root = folder(".npy")
    options = {key: value for key, value in SHORT.items() if "iterations" not in key} | {"schedule.iterations": 1}

    def crop(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        assert (image.shape[2], image.dtype) == (5, np.uint16)
        return {"image": image[:64, :64], "mask": mask[:64, :64]}

    def eight_bits(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": (image[:64, :64] // 257).astype(np.uint8), "mask": mask[:64, :64]}

    for augmentation in (crop, eight_bits):
        arguments = {"data": root, "output": tmp_path / augmentation.__name__, "overrides": options, "say": print}
        if augmentation is crop:
            segattn.train("attanet_light_camvid", augmentation=augmentation, **arguments)
            continue
        with pytest.raises(ValueError, match=r"image array \(64, 64, 5\) of uint8; expected \(height, width, 5\) of"):
            segattn.train("attanet_light_camvid", augmentation=augmentation, **arguments)


def test_red_green_and_blue_of_16_bits(folder: Make, tmp_path: Path, scene: Any, write_tif: Any) -> None:
    """Three bands are no RGB of 8 bits where dataset.yaml names them."""
    root = folder(bands="[5, 2, 1]")
    run = tmp_path / "run"
    said = list[str]()
    segattn.train("attanet_light_camvid", data=root, output=run, overrides=SHORT, say=said.append, samples=0)
    assert "inflated" not in "\n".join(said)
    recipe, model = segattn.load_model(run)
    assert recipe.network.normalization.stored
    image = scene(64, 80, 9)[0]
    source = write_tif(tmp_path / "scene.tif", image)
    segattn.predict_raster(model, source, tmp_path / "labels.tif", bands=(5, 2, 1))
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(tmp_path / "labels.tif") as data:
        expected = segattn.predict(model, image[..., [4, 1, 0]], size="native").labels
        assert np.array_equal(data.read(1), expected)
    with pytest.raises(ValueError, match=r"range 0,3000: the network takes values as they are stored"):
        segattn.predict_raster(model, source, tmp_path / "other.tif", bands=(5, 2, 1), value_range=(0, 3000))
