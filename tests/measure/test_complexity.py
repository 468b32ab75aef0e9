from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segattn.contracts import SegOutput
from segattn.measure.complexity import CONVENTIONS, complexities, complexity, count_operations
from segattn.models.acfnet import ACFNet
from segattn.models.agent import AgentPVTSemanticFPN, AgentSwinUperNet
from segattn.models.attanet import AttaNet
from segattn.models.danet import DANet
from segattn.models.networks import Network
from segattn.models.segmenter import Segmenter
from segattn.models.van import VANHamNet, VANLightHam, VANSemanticFPN, VANUperNet

LATER_NAMES = {"b0": "tiny", "b1": "small", "b2": "base", "b3": "large", "b4": "huge"}
VAN_HEADS: dict[str, Any] = {"ham": VANHamNet, "upernet": VANUperNet, "fpn": VANSemanticFPN}
VANS = ["tiny", "small", "base", "large"]
ROWS = [
    "light_van_tiny_d256",
    *(f"light_van_{size}" for size in (*VANS, "huge")),
    *(f"{head} van_{size}" for head in ("ham", "upernet", "fpn") for size in VANS),
    *(f"upernet van_b{i} (later README)" for i in range(7)),
    "fpn van_b4 (later code)",
    *(f"agent_swin_{size}" for size in "tsb"),
    *(f"agent_pvt_{size}" for size in "tsml"),
]
QUICK = {"light_van_tiny_d256", "ham van_tiny", "upernet van_b2 (later README)", "fpn van_small", "agent_swin_t"}
KINDS = {"conv": "convolution", "bmm": "matrix_product", "mul": "product", "avg_pool": "adaptive_pool"}
NOT_COUNTED = {"activation", "softmax"}

NOT_TO_THE_DIGIT = {
    "upernet van_b3 (later README)": "1030.6 was cut to 1030",
    "upernet van_b5 (later README)": "the released configuration is not the published 117M and 1208G",
    "upernet van_b6 (later README)": "1656.7 against 1658",
}
"""Published figures that the reference itself, counted, does not give either."""


def described(row: str) -> Network:
    if row == "light_van_tiny_d256":
        return VANLightHam(size="tiny", ham_channels=256, channels=256, bases=16)
    words: Any = row.replace("_", " ").split()
    if words[0] == "light":
        return VANLightHam(size=words[2], ham_channels=480 if words[2] == "tiny" else 512)
    if words[0] == "agent":
        return AgentSwinUperNet(size=words[2]) if words[1] == "swin" else AgentPVTSemanticFPN(size=words[2])
    network: Network = VAN_HEADS[words[0]](size=LATER_NAMES.get(words[2], words[2]))
    return network


def on_meta(network: Network, num_classes: int = 150) -> Segmenter:
    with torch.device("meta"):
        return network.build(num_classes)


@pytest.fixture(scope="module")
def published(parity: Any) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in parity.description("flops_mm")["rows"]}


def test_every_row_is_tested(published: dict[str, dict[str, Any]]) -> None:
    assert set(ROWS) == set(published)


@pytest.mark.parametrize("row", [row if row in QUICK else pytest.param(row, marks=pytest.mark.slow) for row in ROWS])
def test_published_rows(published: dict[str, dict[str, Any]], row: str) -> None:
    expected = published[row]
    height, width = map(int, expected["size_HxW"].split("x"))
    model = on_meta(described(row))
    operations, used = count_operations(model, (height, width))
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sum(sizes.values()) == expected["parameters"]
    assert sum(sizes[name] for name in used) == expected["parameters_without_auxiliary_head"]
    # "bilinear" is kept with its weight of 4
    elements = {key: value for key, value in expected["elements"].items() if key not in NOT_COUNTED}
    assert {key: operations[KINDS.get(key, key)] * (4 if key == "bilinear" else 1) for key in elements} == elements

    giga = {}
    for convention, weights in CONVENTIONS.items():
        giga[convention] = sum(weight * operations[kind] for kind, weight in weights.items()) / 1e9
        if convention in expected["G"]:
            assert f"{giga[convention]:.3f}" == f"{expected['G'][convention]:.3f}"
    if expected["published_GFLOPs"] is not None and row not in NOT_TO_THE_DIGIT:
        # whole numbers in the tables of Agent Attention and of the later VAN README, one digit in the first
        figure = giga[expected["convention"]]
        digits = 1 if height == width else 0
        assert f"{figure:.{digits}f}" == f"{expected['published_GFLOPs']:.{digits}f}"
    if expected["published_parameters"] is not None and row not in NOT_TO_THE_DIGIT:
        stated = expected["published_parameters"].partition("M")[0]
        digits = len(stated.partition(".")[2])
        cut = 0.5 if row == "agent_swin_b" else 0.0  # 121.6M is printed as 121M
        assert f"{expected['parameters'] / 1e6 - cut:.{digits}f}" == stated


@pytest.mark.parametrize(
    "network",
    [AttaNet(backbone="light"), DANet(backbone="resnet101", stem="deep"), ACFNet(backbone="ecanet101")],
    ids=lambda network: type(network).__name__,
)
def test_large_images_take_shapes_only(network: Network) -> None:
    small, large = (complexity(on_meta(network, 19), size) for size in ((128, 256), (2048, 4096)))
    # 256 times the pixels; ACFNet's pool adds a row and a column, and attention's cost may grow with their square
    assert large.macs > 230 * small.macs
    assert large.parameters_without_auxiliary < large.parameters == sum(count for _, count in large.parts)


def test_position_attention_is_two_products() -> None:
    model = on_meta(DANet(backbone="resnet50"), 19)
    one, two = (count_operations(model, size)[0] for size in ((64, 64), (64, 128)))
    n, c, e = 64, 512, 64
    channel = 2 * c * c * n
    assert one["matrix_product"] == n * n * (e + c) + channel
    assert two["matrix_product"] == 4 * n * n * (e + c) + 2 * channel


class Attending(nn.Module):
    channels, strides = (8,), (1,)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        q = x.new_ones(2, 4, 100, 16)
        return (F.scaled_dot_product_attention(q, key=q[:, :, :30], value=q[:, :, :30, :8]).sum() + x,)


class First(nn.Module):
    def main(self, features: tuple[Tensor, ...]) -> Tensor:
        return features[0]

    def forward(self, features: tuple[Tensor, ...]) -> SegOutput:
        return SegOutput(features[0], {})


def test_attention_is_counted_where_torch_counts_nothing() -> None:
    """torch's own counter knows the fused operators of GPUs alone: on the CPU attention is free to it."""
    model = Segmenter(Attending(), First(), num_classes=3, align_corners="edges")
    expected = 2 * 4 * 100 * 30 * (16 + 8)
    assert complexity(model, (4, 4)).macs == expected
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 3, 4, 4))
    assert counter.get_total_flops() in (0, 2 * expected)


def test_the_model_is_left_as_it_was() -> None:
    model = AttaNet(backbone="light").build(5).train()
    model.head.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = complexity(model, (64, 96))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert result == complexity(on_meta(AttaNet(backbone="light"), 5).requires_grad_(False), (64, 96)).__class__(
        **{**vars(result), "trainable": dict(result.parts)["backbone"]}
    )


def test_prints_itself() -> None:
    plain, profiled = complexities(on_meta(VANHamNet(size="tiny")), (512, 512), ("macs", "torchprofile"))
    assert str(plain) == (
        "11,940,236 parameters (backbone 3,848,800, head 7,683,734, auxiliary head 407,702, "
        "11,532,534 without what only training runs), 50.579 GMACs at 512x512 (macs)"
    )
    assert str(profiled).endswith("50.791 GMACs at 512x512 (torchprofile)")


def test_unknown_convention() -> None:
    with pytest.raises(ValueError, match=r"'torchprofil': expected one of macs, .* Did you mean torchprofile"):
        complexity(on_meta(AttaNet(backbone="light")), (64, 64), "torchprofil")


def test_imports_by_itself() -> None:
    """Whoever counts need not have imported the attention whose operator is counted."""
    done = subprocess.run(
        [sys.executable, "-c", "import segattn.measure.complexity"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
