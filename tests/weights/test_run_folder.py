"""A run's folder is a model wherever one is named: its best.safetensors, or its last where none was validated."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import segattn
from segattn.cli.main import main
from segattn.weights.checkpoint import model_file, read_description, read_model
from segattn.weights.inspect import inspect


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    shutil.copy(trained, tmp_path / "best.safetensors")
    (tmp_path / "last.safetensors").write_bytes(b"never read")
    return tmp_path


def test_the_best_goes_before_the_last(folder: Path) -> None:
    assert model_file(folder) == folder / "best.safetensors"
    (folder / "best.safetensors").unlink()
    assert model_file(folder) == folder / "last.safetensors"
    assert model_file(folder / "last.safetensors") == folder / "last.safetensors"
    assert model_file(folder / "nothing") == folder / "nothing", "whoever reads it says that it isn't there"
    (folder / "last.safetensors").unlink()
    (folder / "log.jsonl").touch()
    with pytest.raises(FileNotFoundError, match=r"or last.safetensors there, found log.jsonl; name"):
        model_file(folder)


def test_every_way_of_reading_takes_the_folder(folder: Path) -> None:
    recipe, model = segattn.load_model(folder)
    again = segattn.create_model(recipe.name, weights=folder)
    assert segattn.load_weights(again, folder).source == str(folder / "best.safetensors")
    assert segattn.load_backbone(again, folder).source == str(folder / "best.safetensors")
    assert read_description(folder) == read_model(folder)[1]
    assert inspect(folder).file == str(folder / "best.safetensors")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_commands_say_which_file_they_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = folder / "photo.png"
    assert cv2.imwrite(str(photo), np.zeros((48, 64, 3), np.uint8))
    words = ["predict", str(photo), "--model", str(folder), "--output", str(folder / "out")]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"{folder}: best.safetensors, the best on its validation split\n")
    (folder / "best.safetensors").unlink()
    assert main(words) == 2
    assert "last.safetensors: " in capsys.readouterr().err
