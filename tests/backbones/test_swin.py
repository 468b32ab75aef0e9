"""Swin and Agent-Swin: shapes, sizes, block kinds, gradients, initialisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segattn.attention.agent import AgentAttention
from segattn.attention.window import WindowAttention
from segattn.backbones.swin import PatchMerging, Swin, block_kinds
from segattn.layers import DropPath

DEPTHS = (2, 2, 18, 2)


@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        ("AAAB", ("AA", "AA", "A" * 18, "BB")),
        ("AABB", ("AA", "AA", "B" * 18, "BB")),
        ("AAMB2", ("AA", "AA", "AA" + "B" * 16, "BB")),
        ("BBBB", ("BB", "BB", "B" * 18, "BB")),
    ],
)
def test_block_kinds(attention: str, expected: tuple[str, ...]) -> None:
    assert tuple("".join(stage) for stage in block_kinds(attention, DEPTHS)) == expected


@pytest.mark.parametrize("attention", ["AAA", "AACB", "AAMB", "AAAB2", "AAMBx", ""])
def test_block_kinds_refuses(attention: str) -> None:
    with pytest.raises(ValueError, match="expected 4 letters"):
        block_kinds(attention, DEPTHS)


@pytest.mark.parametrize(
    ("size", "attention", "parameters"),
    [
        ("t", None, 28_135_308),
        ("s", None, 48_899_028),
        ("b", None, 87_071_888),
        # Published with classifier: 28 288 354, 49 606 258, 87 768 224. Stage norms take the final norm's place.
        ("t", "BBBB", 28_288_354 - 769_000 + 2 * (96 + 192 + 384)),
        ("s", "BBBB", 49_606_258 - 769_000 + 2 * (96 + 192 + 384)),
        ("b", "BBBB", 87_768_224 - 1_025_000 + 2 * (128 + 256 + 512)),
    ],
)
def test_parameters(size: str, attention: str | None, parameters: int) -> None:
    with torch.device("meta"):
        backbone = Swin(size, attention=attention, drop_path=0.0)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == parameters


def test_odd_blocks_of_windows_are_shifted() -> None:
    with torch.device("meta"):
        backbone = Swin("b", drop_path=0.0)
    blocks = [block for stage in backbone.layers for block in stage.blocks]
    kinds = [type(block.attn) for block in blocks]
    assert sum(issubclass(kind, AgentAttention) for kind in kinds) == 6
    shifts = [block.attn.shift for block in blocks if isinstance(block.attn, WindowAttention)]
    assert shifts == [0, 3] * 9


@pytest.mark.parametrize("attention", [None, "BBBB"])
@pytest.mark.parametrize("size", [(65, 97), (98, 130), (1, 1)])
def test_maps_round_up_and_agree_with_what_is_declared(attention: str | None, size: tuple[int, int]) -> None:
    backbone = Swin("t", attention=attention, drop_path=0.0).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, *size))
    sides = [-(-side // 4) for side in size]
    assert backbone.strides == (4, 8, 16, 32)
    for channels, feature in zip(backbone.channels, features, strict=True):
        assert feature.shape == (1, channels, *sides)
        sides = [-(-side // 2) for side in sides]


def test_patch_merging_takes_cells_column_by_column() -> None:
    merging = PatchMerging(1).eval()
    seen: list[torch.Tensor] = []
    merging.norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    merging(torch.arange(1.0, 7.0).view(1, 2, 3, 1))
    assert seen[0].tolist() == [[[[1, 4, 2, 5], [3, 6, 0, 0]]]]


@pytest.mark.parametrize("attention", ["AAMB2", "BBBB"])
def test_every_parameter_receives_a_gradient(attention: str) -> None:
    backbone = Swin("t", attention=attention, drop_path=0.0).train()
    sum(feature.square().sum() for feature in backbone(torch.randn(2, 3, 65, 97))).backward()  # type: ignore[union-attr]
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_batch_equals_its_images_and_calls_repeat() -> None:
    backbone = Swin("t", drop_path=0.3).eval()
    x = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        whole, again = backbone(x), backbone(x)
        parts = [backbone(image) for image in x.split(1)]
    for i in range(4):
        assert torch.equal(whole[i], again[i])
        torch.testing.assert_close(whole[i], torch.cat([part[i] for part in parts]), rtol=1e-4, atol=1e-4)


def test_initialisation() -> None:
    backbone = Swin("t", attention="AAMB2", drop_path=0.3)
    rates = [module.rate for module in backbone.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.3 * i / 11 for i in range(12)])
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1), name
            assert module.bias is None or not module.bias.any(), name
        elif isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-5
            assert (module.weight == 1).all()
    for name, parameter in backbone.named_parameters():
        if name.endswith(("an_bias", "wa_bias", "relative_position_bias_table")):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name
    assert backbone.get_parameter("layers.0.blocks.0.attn.dwc.bias").any()


def test_unknown_size() -> None:
    with pytest.raises(ValueError, match="Swin size 'm': expected one of t, s, b"):
        Swin("m", drop_path=0.0)


@pytest.mark.slow
def test_compiles_in_one_graph_and_exports() -> None:
    backbone = Swin("t", drop_path=0.0).eval()
    compiled = torch.compile(backbone, backend="aot_eager", fullgraph=True, dynamic=False)
    side = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.export.export(backbone, (torch.randn(1, 3, 98, 130),), dynamic_shapes={"x": side}).module()
        for size in [(98, 130), (128, 160), (65, 97)]:
            x = torch.randn(1, 3, *size)
            for ours, expected in zip(program(x), backbone(x), strict=True):
                torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
        for ours, expected in zip(compiled(x), backbone(x), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
