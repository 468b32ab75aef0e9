"""The same images with their classes listed in another order: every command in which a model meets them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import segattn
from segattn.recipes.serialize import override, to_yaml
from segattn.weights.checkpoint import read_model, save_model

Command = Callable[..., str]
ROWS = ("{name: background, color: [0, 0, 0]}", "{name: crack, color: [255, 0, 0]}")
REFUSAL = "its 2 classes (background, crack) are not the 2 of the data set (crack, background)"


def data(root: Path, rows: tuple[str, ...]) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for index in range(2):
            ids = np.full((32, 48), 10, np.uint8)
            ids[8:20, 10 + index : 30] = 20
            for kind, pixels in (("images", rng.integers(0, 256, (32, 48, 3), np.uint8)), ("masks", ids)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(root / kind / split / f"p{index}.png"), pixels)
    text = "classes:\n" + "".join(f"  - {row}\n" for row in rows) + "labels: {10: background, 20: crack, 21: crack}\n"
    (root / "dataset.yaml").write_text(text)
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, a run on one of two data sets that list the same classes in two orders, and both data sets."""
    from segattn.cli.main import main

    folder = tmp_path_factory.mktemp("classes")
    data(folder / "data", ROWS)
    data(folder / "swapped", ROWS[::-1])
    changes = {
        "name": "mini",
        "data.dataset": "folder",
        "data.num_classes": "2",
        "augmentation": "[{kind: RandomCrop, height: 32, width: 32, fill: [0, 0, 0]}]",
        "schedule.warmup": "null",
        "schedule.iterations": "1",
        "training.batch_size": "2",
        "training.workers": "0",
        **{f"losses.{index}.class_weights": "null" for index in range(3)},
    }
    row = override(segattn.recipe("attanet_light_camvid"), changes)
    (folder / "mini.yaml").write_text(to_yaml(row))
    words = ["train", folder / "mini.yaml", "--data.root", folder / "data", "--output", folder / "run", "--samples", 0]
    assert main([str(word) for word in words]) == 0
    return folder


def test_every_door_refuses(fail: Command, made: Path, tmp_path: Path) -> None:
    model, swapped = made / "run" / "last.safetensors", ("--data.root", made / "swapped")
    for words in (
        ("evaluate", model, *swapped, "--output", tmp_path / "report"),
        ("evaluate", made / "mini.yaml", "--weights", model, *swapped),
        ("train", made / "mini.yaml", "--weights", model, *swapped, "--output", tmp_path / "ft"),
        ("compare", model, "--score-only", *swapped, "--output", tmp_path / "compared"),
    ):
        assert fail(*words).startswith(f"{model}: {REFUSAL}"), words
    assert not (tmp_path / "report").exists()
    assert not (tmp_path / "compared").exists()


def test_shipped_weights_on_other_classes(fail: Command, tmp_path: Path) -> None:
    rows = tuple(f"{{name: thing {i}, color: [{i}, 0, 0]}}" for i in range(11))
    root = data(tmp_path / "data", (*ROWS, *rows[2:]))
    own = ("attanet_light_camvid", "--data.dataset", "folder", "--data.root", root)
    assert "its 11 classes (sky, building, pole, ...) are not the 11 of the data" in fail("evaluate", *own)
    words = ("train", *own, "--output", tmp_path / "run", "--weights", "default")
    assert "--num-classes-may-differ loads all but the classifier layers" in fail(*words)


def test_a_run_is_not_continued_on_relabelled_data(fail: Command, made: Path, tmp_path: Path) -> None:
    words = ("train", made / "mini.yaml", "--data.root", made / "swapped", "--output", tmp_path / "run")
    shutil.copytree(made / "run", tmp_path / "run")
    assert fail(*words).startswith(f"{tmp_path / 'run'}: holds a run on other data: {REFUSAL}")
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state.pop("classes") == ["background", "crack"]
    torch.save(state, tmp_path / "run" / "state.pt")  # as earlier versions wrote it
    assert REFUSAL in fail(*words)
    torch.save({**state, "classes": "background"}, tmp_path / "run" / "state.pt")
    assert "its classes are no list of names" in fail(*words)


def test_outputs_are_mapped_by_name(
    run: Command, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from segattn.cli.main import main

    model, swapped = made / "run" / "last.safetensors", ("--data.root", made / "swapped")
    plain = run("evaluate", model, "--data.root", made / "data")
    mapped = run("evaluate", model, *swapped, "--map-classes")
    assert mapped.splitlines()[-1] == plain.splitlines()[-1]
    assert f"{model}: outputs put in the data set's order of classes: crack from 1 to 0" in mapped
    words = ["train", made / "mini.yaml", "--weights", model, *swapped, "--output", tmp_path / "ft", "--map-classes"]
    assert main([str(word) for word in words]) == 0
    assert "outputs put in the data set's order of classes" in capsys.readouterr().out
    assert read_model(tmp_path / "ft" / "last.safetensors")[1]["classes"]["names"] == ["crack", "background"]


def test_mapping_is_for_trained_models(fail: Command) -> None:
    words = ("compare", "attanet_light_camvid", "danet_r50_cityscapes", "--map-classes")
    assert "--map-classes is for --score-only" in fail(*words)


def test_from_python(made: Path, tmp_path: Path) -> None:
    row, model = segattn.load_model(made / "run" / "last.safetensors")
    swapped = segattn.FolderDataset(made / "swapped", "val")
    with pytest.raises(ValueError, match="the model: its 2 classes"):
        segattn.evaluate(model, swapped)
    with pytest.raises(ValueError, match="the model: its 2 classes"):
        segattn.train(model, row, train_set=swapped, val_set=None, output_dir=tmp_path / "run")
    own = segattn.FolderDataset(made / "data", "train")
    with pytest.raises(ValueError, match="the validation set: its 2 classes"):
        segattn.train(model, row, train_set=own, val_set=swapped, output_dir=tmp_path / "run")
    unnamed = segattn.create_model(row)
    segattn.train(unnamed, row, train_set=own, val_set=None, output_dir=tmp_path / "run")
    assert unnamed.classes.names == ("background", "crack")


def test_a_converted_file_keeps_to_its_classes(fail: Command, trained: Path, tmp_path: Path) -> None:
    model, description = segattn.load_model(trained)[1], read_model(trained)[1]
    description["classes"]["names"].reverse()
    save_model(tmp_path / "turned.safetensors", model, description)
    words = ("weights", "convert", tmp_path / "turned.safetensors", tmp_path / "out.safetensors")
    assert "class 0 was 'bicyclist'" in fail(*words, "--recipe", "attanet_light_camvid")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_submission_holds_the_ids_of_the_masks(run: Command, made: Path, tmp_path: Path) -> None:
    run("evaluate", made / "run" / "last.safetensors", "--data.root", made / "data", "--submission", tmp_path / "sub")
    written = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((tmp_path / "sub").iterdir())]
    assert len(written) == 2
    assert {int(value) for ids in written for value in np.unique(ids)} <= {10, 20}
