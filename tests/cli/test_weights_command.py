"""`segattn weights ...` and `segattn train --pretrained`, as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import segattn
from segattn import runs
from segattn.cli.main import main
from segattn.models.segmenter import Segmenter
from segattn.synthetic.write import write_synthetic
from segattn.training import train as loop
from segattn.weights import inspect as identify
from segattn.weights import pretrained

SOME = ("attanet_light_cityscapes", "attanet_light_camvid", "attanet_r18_cityscapes", "danet_r50_cityscapes")


@pytest.fixture
def released(parity: Any, tmp_path: Path) -> Path:
    torch.save(parity.state(parity.description("attanet_light")["keys"]), tmp_path / "AttaNet_light_706.pth")
    return tmp_path / "AttaNet_light_706.pth"


@pytest.fixture
def _few_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify, "RECIPES", {name: segattn.recipe(name) for name in SOME})


def output(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def failure(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


@pytest.mark.usefixtures("_few_recipes")
def test_inspect_names_the_recipes_that_a_released_file_fits(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = output(capsys, "weights", "inspect", released)
    assert f"{released}: PyTorch (zip)," in text
    assert "tensors\t135 (113 float32, 22 int64)" in text
    assert "fits\tattanet_light_cityscapes (AttaNet-light, released names)\n" in text
    assert (
        "fits\tattanet_light_camvid (AttaNet-light, released names): 19 classes in the file, 11 in the recipe" in text
    )
    assert "r18" not in text


@pytest.mark.usefixtures("_few_recipes")
def test_inspect_finds_backbones_and_says_what_else_a_file_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = segattn.create_model("attanet_r18_cityscapes")
    assert isinstance(model.backbone, nn.Module)
    content = {"state_dict": model.backbone.state_dict(), "config": nn.ReLU(), "epoch": 3}
    torch.save(content, tmp_path / "resnet18.pth")
    text = output(capsys, "weights", "inspect", tmp_path / "resnet18.pth")
    assert "backbone\tattanet_r18_cityscapes (ResNet or ECA-Net, ImageNet (torchvision) names)" in text
    assert "holds\ttorch.nn.modules.activation.ReLU: refused as it is; `segattn weights extract" in text
    assert "beside\tconfig, epoch" in text


@pytest.mark.usefixtures("_few_recipes")
def test_inspect_explains_what_fits_nothing(parity: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = parity.state(parity.description("attanet_light")["keys"])
    del state["conv_out.conv_out.weight"]
    torch.save(state, tmp_path / "file.pth")
    text = output(capsys, "weights", "inspect", tmp_path / "file.pth")
    assert "backbone\tattanet_light_cityscapes" in text
    state = {key: value for key, value in state.items() if key.startswith("head.sam")}
    torch.save(state, tmp_path / "file.pth")
    text = output(capsys, "weights", "inspect", tmp_path / "file.pth")
    assert "fits\tno recipe. Nearest: attanet_light_cityscapes: does not fit this network" in text


@pytest.mark.usefixtures("_few_recipes")
def test_convert_makes_a_file_that_needs_nothing_else(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ours.safetensors"
    text = output(capsys, "weights", "convert", released, "--recipe", "attanet_light_cityscapes", out)
    assert "135 tensors loaded (AttaNet-light, released names)" in text
    recipe, model = segattn.load_model(out)
    assert recipe == segattn.recipe("attanet_light_cityscapes")
    assert model.classes.names[0] == "road"
    expected = segattn.create_model("attanet_light_cityscapes", weights=released)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in expected.state_dict().items())
    text = output(capsys, "weights", "inspect", out)
    assert "ours\trecipe attanet_light_cityscapes, segattn" in text
    assert "classes\t19: road, sidewalk" in text


def test_convert_refuses_what_does_not_fit_and_writes_nothing(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ours.safetensors"
    error = failure(capsys, "weights", "convert", released, "--recipe", "attanet_light_camvid", out)
    assert "another number of classes" in error
    assert not out.exists()
    words = ("weights", "convert", released, "--recipe", "attanet_light_camvid", "--data.num_classes", "19", out)
    assert "135 tensors loaded" in output(capsys, *words)
    assert "ends in .safetensors" in failure(
        capsys, "weights", "convert", released, "--recipe", "attanet_light_camvid", tmp_path / "ours.pth"
    )


def test_half_precision_halves_the_file_and_rounds_to_three_digits(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("weights", "convert", released, "--recipe", "attanet_light_cityscapes")
    output(capsys, *words, tmp_path / "full.safetensors")
    output(capsys, *words, tmp_path / "half.safetensors", "--half")
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half")]
    assert 0.49 < sizes[1] / sizes[0] < 0.52
    full, half = (segattn.load_model(tmp_path / f"{name}.safetensors")[1].state_dict() for name in ("full", "half"))
    for name, value in full.items():
        assert half[name].dtype == value.dtype
        torch.testing.assert_close(half[name], value, rtol=1e-3, atol=1e-6)


def test_half_precision_refuses_what_it_cannot_hold(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = segattn.create_model("attanet_light_cityscapes", weights=released)
    model.get_parameter("head.output.classifier.weight").data[0, 0] = 1e6
    torch.save(model.state_dict(), tmp_path / "large.pth")
    out = tmp_path / "half.safetensors"
    words = ("weights", "convert", tmp_path / "large.pth", "--recipe", "attanet_light_cityscapes", out, "--half")
    assert "head.output.classifier.weight holds 1e+06, too large for half precision" in failure(capsys, *words)
    assert not out.exists()


def test_extract_makes_a_file_that_loads(parity: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = parity.state(parity.description("attanet_light")["keys"])
    torch.save({"model": state, "config": nn.ReLU(), "epoch": 3}, tmp_path / "file.pth")
    error = failure(
        capsys,
        "weights",
        "convert",
        tmp_path / "file.pth",
        "--recipe",
        "attanet_light_cityscapes",
        tmp_path / "a.safetensors",
    )
    assert "segattn weights extract" in error
    out = tmp_path / "tensors.safetensors"
    text = output(capsys, "weights", "extract", tmp_path / "file.pth", out)
    assert "135 tensors" in text
    assert "left out  config: torch.nn.modules.activation.ReLU" in text
    assert "left out  epoch: int" in text
    assert "neither imported nor run: torch.nn.modules.activation.ReLU" in text
    assert all(torch.equal(value, state[key]) for key, value in load_file(out).items())
    segattn.create_model("attanet_light_cityscapes", weights=out)


def test_push_writes_a_folder_with_the_score_of_the_training(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ours.safetensors"
    output(capsys, "weights", "convert", released, "--recipe", "attanet_light_cityscapes", out)
    text = output(capsys, "weights", "push", out, tmp_path / "card", "--licence", "mit")
    assert text.strip() == str(tmp_path / "card")
    assert segattn.from_pretrained(tmp_path / "card").num_classes == 19
    assert "--licence" in failure(capsys, "weights", "push", out, tmp_path / "card")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Segmenter]:
    """The models that `segattn train` hands to the training loop, which does nothing here."""
    models: list[Segmenter] = []

    def train(model: Segmenter, *_: object, **__: object) -> loop.TrainingResult:
        models.append(model)
        return loop.TrainingResult(0, None, None)

    monkeypatch.setattr(runs, "run_loop", train)
    return models


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "streets", train=1, val=1, size=(64, 128), seed=0)
    return tmp_path / "streets"


def numbered(module: nn.Module) -> dict[str, Tensor]:
    return {key: torch.full_like(value, number % 50) for number, (key, value) in enumerate(module.state_dict().items())}


def test_train_starts_the_backbone_from_a_file_or_a_download(
    trained: list[Segmenter],
    streets: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = segattn.create_model("attanet_r18_cityscapes").backbone
    assert isinstance(backbone, nn.Module)
    state = numbered(backbone)
    torch.save({**state, "fc.weight": torch.ones(1000, 512)}, tmp_path / "resnet18.pth")
    monkeypatch.setattr(pretrained, "download", lambda url, *, sha256: tmp_path / "resnet18.pth")
    for source in (tmp_path / "resnet18.pth", "auto"):
        words = ("train", "attanet_r18_cityscapes", "--data.root", streets, "--pretrained", source)
        assert "120 tensors loaded (ResNet or ECA-Net" in output(capsys, *words)
        model = trained.pop()
        assert isinstance(model.backbone, nn.Module)
        assert all(torch.equal(value, state[key]) for key, value in model.backbone.state_dict().items())
    words = ("train", "attanet_light_cityscapes", "--data.root", streets, "--pretrained", "auto")
    assert "names no pretrained weights" in failure(capsys, *words)
    words = ("train", "attanet_r18_cityscapes", "--data.root", streets, "--pretrained", "auto", "--weights", "x")
    assert "not allowed with argument" in failure(capsys, *words)
    assert not trained


def test_train_starts_from_another_class_list_on_request(
    trained: list[Segmenter], streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = numbered(segattn.create_model("attanet_light_camvid"))
    torch.save(state, tmp_path / "camvid.pth")
    words = ("train", "attanet_light_synthetic", "--data.root", streets, "--weights", tmp_path / "camvid.pth")
    assert "--num-classes-may-differ" in failure(capsys, *words)
    text = output(capsys, *words, "--num-classes-may-differ")
    assert "classifier: 11 classes in the file, 19 in the network" in text
    ours = trained[0].state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in state.items() if value.shape == ours[key].shape)
