from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segattn.cli.main import main
from segattn.layers import ConvNormAct
from segattn.models.acfnet import ACFNet
from segattn.models.agent import AgentPVTSemanticFPN, AgentSwinUperNet
from segattn.models.attanet import AttaNet
from segattn.models.compose import Pair
from segattn.models.danet import DANet
from segattn.models.fold import optimize_for_inference
from segattn.models.networks import Network
from segattn.models.segmenter import Segmenter
from segattn.models.van import VANHamNet, VANLightHam, VANSemanticFPN, VANUperNet
from segattn.recipes.catalog import recipe
from segattn.weights.checkpoint import describe_model, save_model

CLASSES = 7
FAMILIES: dict[str, Network] = {
    "attanet_light": AttaNet(backbone="light"),
    "attanet_r18": AttaNet(backbone="resnet18"),
    "attanet_df2": AttaNet(backbone="df2"),
    "danet_r50": DANet(backbone="resnet50"),
    "danet_r50_deep_stem": DANet(backbone="resnet50", stem="deep"),
    "acfnet_ecanet101": ACFNet(backbone="ecanet101"),
    "acfnet_r50_released": ACFNet(backbone="resnet50", class_feature="released"),
    "light_ham_van_tiny": VANLightHam(size="tiny", ham_channels=256, channels=256, bases=16),
    "ham_van_tiny": VANHamNet(size="tiny"),
    "upernet_van_tiny": VANUperNet(size="tiny"),
    "fpn_van_tiny": VANSemanticFPN(size="tiny"),
    "upernet_agent_swin_t": AgentSwinUperNet(size="t"),
    "fpn_agent_pvt_t": AgentPVTSemanticFPN(size="t"),
    "df1_danet": Pair(backbone="df1", head="danet", auxiliary_head="fcn"),
}
KEPT = {"light_ham_van_tiny": 13, "ham_van_tiny": 13, "upernet_van_tiny": 13, "fpn_van_tiny": 13}
"""VAN's norms before its attention: their result is used twice, and the next convolution but one pads."""


def lived_in(network: Network, classes: int = CLASSES) -> Segmenter:
    """A network whose norms are as after training: no mean, deviation, scale or shift is that of a new one."""
    model = network.build(classes).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.6, 1.2)
            nn.init.normal_(module.bias, std=0.3)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.5)
        if "layer_scale" in name:
            nn.init.constant_(parameter, 0.3)
    return model


def batch_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_folded_network_gives_the_same_maps(family: str) -> None:
    model = lived_in(FAMILIES[family])
    x = torch.randn(1, 3, 65, 97)
    folded = optimize_for_inference(model)
    expected, actual = model.segment(x), folded.segment(x)
    size = expected.logits.abs().max().item()
    assert (actual.logits - expected.logits).abs().max() < 1e-5 * size
    assert (folded.logits(x) - model.logits(x)).abs().max() < 1e-5 * size
    for name, map_ in expected.auxiliary.items():
        assert (actual.auxiliary[name] - map_).abs().max() < 1e-5 * map_.abs().max()
    assert batch_norms(model) > 0
    assert batch_norms(folded) == KEPT.get(family, 0)


@torch.no_grad()
def test_layout_of_the_maps() -> None:
    seen: dict[str, bool] = {}
    for name, first in (("attanet_light", "reduce_fine"), ("danet_r50", "position")):
        folded = optimize_for_inference(lived_in(FAMILIES[name]))
        innermost = {}
        folded.head.get_submodule(first).register_forward_pre_hook(
            lambda _, args, into=innermost: into.update(
                head=args[0].is_contiguous(memory_format=torch.channels_last), plain=args[0].is_contiguous()
            )
        )
        folded.logits(torch.randn(1, 3, 64, 96))
        weight = next(m.weight for m in folded.backbone.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 3)
        assert weight.is_contiguous(memory_format=torch.channels_last)
        seen[name] = innermost["head"]
        assert innermost["plain"] != innermost["head"]
    assert seen == {"attanet_light": True, "danet_r50": False}


@torch.no_grad()
def test_one_pair_is_exact_to_rounding() -> None:
    block = ConvNormAct(16, 32).eval()
    block.norm.running_mean.normal_()
    block.norm.running_var.uniform_(1e-3, 3.0)
    nn.init.normal_(block.norm.weight)
    nn.init.normal_(block.norm.bias)
    exact = copy.deepcopy(block).double()
    model = AttaNet(backbone="light").build(CLASSES).eval()
    model.backbone.s2_3 = block
    folded = optimize_for_inference(model).backbone.s2_3
    x = torch.randn(2, 16, 9, 11)
    expected = exact(x.double())
    assert isinstance(folded.norm, nn.Identity)
    assert (folded(x) - expected).abs().max() / expected.abs().max() < 1e-6


def test_the_model_is_left_as_it_was() -> None:
    model = lived_in(AttaNet(backbone="resnet18"))
    before = copy.deepcopy(model.state_dict())
    norms, gradients = batch_norms(model), [p.requires_grad for p in model.parameters()]
    folded = optimize_for_inference(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert batch_norms(model) == norms
    assert [p.requires_grad for p in model.parameters()] == gradients
    assert not model.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert folded.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    memory = {p.data_ptr() for p in model.parameters()}
    assert not any(p.data_ptr() in memory for p in folded.parameters())
    assert folded.classes == model.classes


def test_training_mode_is_refused() -> None:
    model = AttaNet(backbone="light").build(CLASSES)
    with pytest.raises(ValueError, match=r"the model is in training mode.*model\.eval\(\)"):
        optimize_for_inference(model)
    model.eval()
    model.backbone.s2_1.norm.train()
    with pytest.raises(ValueError, match=r"backbone\.s2_1\.norm is in training mode"):
        optimize_for_inference(model)


@torch.no_grad()
def test_a_sequential_with_its_own_forward_is_left_alone() -> None:
    class Backwards(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](self[1](x))

    model = AttaNet(backbone="light").build(CLASSES).eval()
    model.backbone.s2_2 = Backwards(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64)).eval()
    model.backbone.s2_2[1].running_mean.normal_()
    x = torch.randn(1, 3, 32, 32)
    folded = optimize_for_inference(model)
    assert isinstance(folded.backbone.s2_2[1], nn.BatchNorm2d)
    assert (folded.logits(x) - model.logits(x)).abs().max() < 1e-4


def test_predict_folds_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = recipe("attanet_light_camvid")
    model = lived_in(row.network, row.data.num_classes)
    save_model(tmp_path / "model.safetensors", model, describe_model(row, model.classes))
    cv2.imwrite(str(tmp_path / "image.png"), np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
    seen: list[int] = []
    logits = Segmenter.logits

    def watched(self: Segmenter, x: torch.Tensor) -> torch.Tensor:
        seen.append(batch_norms(self))
        return logits(self, x)

    monkeypatch.setattr(Segmenter, "logits", watched)
    labels = []
    for words in ([], ["--fold"]):
        folder = tmp_path / "-".join(["labels", *words])
        command = ["predict", str(tmp_path / "image.png"), "--model", str(tmp_path / "model.safetensors")]
        assert main([*command, "--device", "cpu", "--output", str(folder), *words]) == 0
        labels.append(np.asarray(Image.open(folder / "image_labels.png")))
    assert seen == [batch_norms(model), 0]
    assert len(np.unique(labels[0])) > 1
    assert (labels[0] == labels[1]).mean() > 0.999


@torch.no_grad()
def test_several_images_through_a_head_in_the_plain_layout() -> None:
    model = lived_in(FAMILIES["danet_r50"])
    folded = optimize_for_inference(model)
    x = torch.randn(3, 3, 33, 49)
    expected = model.logits(x)
    assert (folded.logits(x) - expected).abs().max() < 1e-5 * expected.abs().max()
    for map_, own in zip(folded.backbone(x), model.backbone(x), strict=True):
        assert map_.is_contiguous()
        assert (map_ - own).abs().max() < 1e-5 * own.abs().max()
