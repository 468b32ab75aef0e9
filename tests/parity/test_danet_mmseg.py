"""mmsegmentation's DANet, of which no weights are at hand, against a plain reimplementation of its structure."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from segattn.models.danet import DANET_MMSEG, DANet
from segattn.recipes.catalog import recipe
from segattn.weights.load import load_backbone, load_weights


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    path = Path(__file__).parents[1] / "oracles" / "mmseg_danet.py"
    spec = importlib.util.spec_from_file_location("mmseg_danet_oracle", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def state(oracle: ModuleType) -> dict[str, Tensor]:
    """A ResNet-50 file for 7 classes, with maps that stay of moderate size."""
    generator = torch.Generator().manual_seed(5)
    found = {}
    for name, shape in oracle.shapes(50, 7).items():
        values = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            values = torch.tensor(9)
        elif name.endswith("running_var"):
            values = 1 + values.abs()
        elif name.endswith(("gamma.scale", "running_mean")):
            values = 0.5 + 0.1 * values
        elif len(shape) == 4:
            values = values * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        elif name.endswith("weight"):
            values = 1 + 0.1 * values
        found[name] = values
    return found


NETWORK = recipe("danet_mmseg_r50_cityscapes_80k").network


def as_saved(state: dict[str, Tensor]) -> dict[str, Any]:
    meta = {"mmseg_version": "0.5.0", "CLASSES": ("road",), "PALETTE": [[128, 64, 128]], "iter": 80000, "epoch": 54}
    return {"meta": meta, "state_dict": state}


def test_outputs_are_the_structures(oracle: ModuleType, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(as_saved(state), tmp_path / "danet_r50-d8_512x1024_80k_cityscapes.pth")
    model = NETWORK.build(7).eval()
    report = load_weights(model, tmp_path / "danet_r50-d8_512x1024_80k_cityscapes.pth")
    assert (report.naming, report.loaded) == (DANET_MMSEG.name, len(state))
    assert report.dropped == report.defaulted == {}
    image = torch.randn(1, 3, 65, 98, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        wanted = oracle.forward(state, image, 50)
        output = model.segment(image)
    got = {"main": output.logits, **output.auxiliary}
    assert set(got) == set(wanted)
    for name, logits in wanted.items():
        assert logits.std() > 0.05, name
        torch.testing.assert_close(got[name], logits, rtol=1e-3, atol=1e-4, msg=name)
    assert model.align_corners == "edges"


@pytest.mark.parametrize(
    ("name", "depth", "classes"),
    [
        ("danet_mmseg_r50_cityscapes_80k", 50, 19),
        ("danet_mmseg_r101_cityscapes_769_80k", 101, 19),
        ("danet_mmseg_r101_ade20k_160k", 101, 150),
        ("danet_mmseg_r50_voc2012_40k", 50, 21),
    ],
)
def test_every_key_and_shape_of_its_files_has_its_place(
    oracle: ModuleType, name: str, depth: int, classes: int
) -> None:
    with torch.device("meta"):
        model = recipe(name).network.build(classes)
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    theirs = {DANET_MMSEG.translate(key): shape for key, shape in oracle.shapes(depth, classes).items()}
    assert {key: shape or (1,) if key.endswith("gamma") else shape for key, shape in theirs.items()} == ours


def test_the_authors_network_refuses_it_and_this_one_the_authors(state: dict[str, Tensor], parity: Any) -> None:
    theirs = parity.state(parity.description("danet_r50")["keys"])
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(DANet(backbone="resnet50").build(7), state)
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(NETWORK.build(19), theirs)
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(NETWORK.build(7), {k: v for k, v in state.items() if "cam_out" not in k})


def test_gates_of_one_dimension_load_too(state: dict[str, Tensor]) -> None:
    model = NETWORK.build(7)
    load_weights(model, {k: v.reshape(1) if k.endswith("gamma.scale") else v for k, v in state.items()})
    assert model.state_dict()["head.position.1.gamma"].item() == state["decode_head.pam.gamma.scale"].item()


@pytest.mark.parametrize("prefix", ["backbone.", ""], ids=["a whole network's", "ImageNet's"])
def test_its_backbone_loads_alone(state: dict[str, Tensor], prefix: str) -> None:
    part = {prefix + k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    part |= {"decode_head.bottleneck.conv.weight": torch.ones(3)} if prefix else {"fc.weight": torch.ones(1000, 2048)}
    model = NETWORK.build(4)
    report = load_backbone(model, part)
    assert len(report.dropped) == 1
    ours = model.state_dict()
    assert torch.equal(ours["backbone.conv3.weight"], state["backbone.stem.6.weight"])
    assert torch.equal(ours["backbone.layer4.2.bn3.bias"], state["backbone.layer4.2.bn3.bias"])
    assert {key for key in ours if key.startswith("backbone.")} == {
        DANET_MMSEG.translate(key) for key in state if key.startswith("backbone.")
    }


def test_an_imagenet_stem_of_another_width_is_said_and_left_on_request(state: dict[str, Tensor]) -> None:
    part = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    wider = DANet(backbone="resnet50", stem="deep").build(4)
    with pytest.raises(ValueError, match=r"its stem.*partial=True"):
        load_backbone(wider, part)
    report = load_backbone(wider, part, partial=True)
    assert "backbone.conv3.weight" in report.defaulted
    assert "backbone.layer1.0.conv2.weight" not in report.defaulted
