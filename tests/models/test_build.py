from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import segattn
from segattn.contracts import SegOutput
from segattn.heads.upernet import UperNet
from segattn.models.build import BACKBONES, HEADS, build, make_backbone
from segattn.models.compose import Pair
from segattn.normalization import Normalization
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, override, to_dict

PAIRS = [
    ("van_tiny", "danet", None),
    ("van_tiny", "attanet", None),
    ("van_tiny_os8", "acfnet", None),
    ("resnet18", "upernet", "fcn"),
    ("resnet18", "light_ham", None),
    ("resnet50_os8", "ham", None),
    ("agent_swin_t", "acfnet", None),
    ("swin_t", "semantic_fpn", None),
    ("agent_pvt_t", "danet", "fcn"),
    ("pvt_t", "upernet", None),
    ("df2", "semantic_fpn", None),
    ("attanet_light", "danet", None),
    ("attanet_light", "attanet", None),
    ("df1", "attanet_light", None),
    ("resnet34", "fcn", None),
]


@pytest.mark.parametrize(("backbone", "head", "auxiliary"), PAIRS)
def test_pairs_run_at_odd_sizes_and_train_every_parameter(backbone: str, head: str, auxiliary: str | None) -> None:
    model = build(backbone, head, num_classes=5, auxiliary_head=auxiliary)
    assert not model.training
    with torch.no_grad():
        assert model(torch.rand(1, 3, 65, 97)).shape == (1, 5, 65, 97)
    output = model.train().segment(torch.rand(2, 3, 65, 97))
    assert ("aux" in output.auxiliary) == (auxiliary is not None or head == "acfnet")
    total = output.logits.square().mean()
    for logits in output.auxiliary.values():
        total = total + logits.square().mean()
    total.backward()
    expected_unused = unused(backbone, head, auxiliary)
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert {name for name in without if not name.startswith(expected_unused)} == set()
    assert all(any(name.startswith(prefix) for name in without) for prefix in expected_unused)


def unused(backbone: str, head: str, auxiliary: str | None) -> tuple[str, ...]:
    """Swin gives each map its own norm, so those of maps that nothing reads stay without a gradient."""
    if backbone.endswith("swin_t") and head == "acfnet":
        return ("backbone.norm0.", "backbone.norm1.")
    if (backbone, head) == ("resnet34", "fcn"):
        return ("backbone.layer4.",)
    return ()


LARGE = ("_large", "_huge", "_b5", "_b6", "_m", "_l", "152", "_large_os8")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.endswith(LARGE)) for name in BACKBONES]
)
def test_every_named_backbone_is_what_it_declares(name: str) -> None:
    with torch.device("meta"):
        backbone = make_backbone(name)
        maps = backbone(torch.empty(1, 3, 128, 256))
    assert tuple(map_.shape[1] for map_ in maps) == backbone.channels
    extra = int(name == "ecanet101_os8")  # its pool rounds up
    assert [map_.shape[2:] for map_ in maps] == [
        (128 // stride + extra, 256 // stride + extra) for stride in backbone.strides
    ]


@pytest.mark.parametrize("head", HEADS)
def test_every_named_head_sits_on_some_backbone(head: str) -> None:
    backbone = "attanet_light" if head == "attanet_light" else "resnet18"
    assert build(backbone, head, num_classes=3)(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)


class OneMap(nn.Module):
    channels, strides = (16,), (8,)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 8, stride=8)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.conv(x),)


class Linear(nn.Module):
    def __init__(self, channels: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels[-1], num_classes, 1)

    def main(self, features: tuple[Tensor, ...]) -> Tensor:
        logits: Tensor = self.conv(features[-1])
        return logits

    def forward(self, features: tuple[Tensor, ...]) -> SegOutput:
        return SegOutput(self.main(features), {})


def test_parts_of_the_callers_own() -> None:
    normalization = Normalization(mean=(0.5, 0.5, 0.5), bgr=True)
    model = segattn.build(OneMap(), Linear, num_classes=4, align_corners="corners", normalization=normalization)
    assert model(torch.rand(2, 3, 32, 40)).shape == (2, 4, 32, 40)
    assert (model.align_corners, model.normalization, model.num_classes) == ("corners", normalization, 4)
    narrow = segattn.build("resnet18", lambda channels, classes: UperNet(channels, classes, channels=32), num_classes=4)
    assert narrow(torch.rand(1, 3, 64, 64)).shape == (1, 4, 64, 64)


def test_pytorchs_flags_are_read_as_their_words() -> None:
    for flag, word in ((True, "corners"), (False, "edges")):
        assert segattn.build(OneMap(), Linear, num_classes=4, align_corners=flag).align_corners == word
    with pytest.raises(ValueError, match="align_corners: found 'center', expected one of 'corners', 'edges', 'grid'"):
        segattn.build(OneMap(), Linear, num_classes=4, align_corners="center")  # type: ignore[arg-type]


def test_a_pair_is_a_network_of_a_recipe() -> None:
    model = Pair(backbone="resnet18", head="upernet", auxiliary_head="fcn", align_corners="corners").build(7)
    assert (model.num_classes, model.align_corners, model.training) == (7, "corners", True)
    assert isinstance(model.head, UperNet)
    recipe = override(
        segattn.recipe("attanet_light_camvid"), {"network": "{kind: Pair, backbone: van_tiny, head: danet}"}
    )
    assert recipe.network == Pair(backbone="van_tiny", head="danet")
    assert from_dict(Recipe, to_dict(recipe)) == recipe


@pytest.mark.parametrize(
    ("backbone", "head", "message"),
    [
        ("resnet51", "danet", r"unknown backbone 'resnet51'\. Did you mean resnet\d"),
        ("resnet50", "upernett", r"unknown head 'upernett'\. Did you mean upernet\?"),
        ("df2", "light_ham", r"light_ham needs exactly 4 maps, the backbone gives 3, of strides \(8, 16, 32\)"),
        (OneMap(), "upernet", r"upernet needs at least 2 maps, the backbone gives 1"),
        (OneMap(), "danet", r"danet: last map of 16 channels, expected 32 or more"),
        ("resnet50_os8", "semantic_fpn", r"maps that halve .* the backbone's are \(4, 8, 8, 8\)"),
    ],
)
def test_what_does_not_fit_is_said(backbone: str | OneMap, head: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build(backbone, head, num_classes=3)


def test_a_backbone_must_declare_its_maps() -> None:
    with pytest.raises(TypeError, match="backbone Conv2d: `channels` is None, expected a tuple"):
        build(nn.Conv2d(3, 8, 1), "danet", num_classes=3)  # type: ignore[arg-type]


def test_no_classes() -> None:
    with pytest.raises(ValueError, match="num_classes 0: expected 1 or more"):
        build("resnet18", "danet", num_classes=0)
