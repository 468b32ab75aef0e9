"""PVT and Agent-PVT: shapes, sizes, position embeddings, gradients, initialisation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segattn.backbones.pvt import PVT, position_map
from segattn.layers import DropPath


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("t", 11_057_352), ("s", 20_122_066), ("m", 35_408_746), ("l", 48_225_180)],
)
def test_parameters(size: str, parameters: int) -> None:
    with torch.device("meta"):
        backbone = PVT(size, drop_path=0.0)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == parameters


@pytest.mark.parametrize(("size", "published"), [("t", 13.2), ("s", 24.5), ("m", 44.2), ("l", 61.4)])
def test_parameters_of_plain_pvt(size: str, published: float) -> None:
    """PVT's table 2 counts classifiers, which have besides: a linear layer, a class token with its position, a norm."""
    with torch.device("meta"):
        backbone = PVT(size, agents=False, drop_path=0.0)
    count = sum(parameter.numel() for parameter in backbone.parameters()) + 513 * 1000 + 2 * 512 + 2 * 512
    assert round(count / 1e6, 1) == published


@pytest.mark.parametrize("agents", [True, False])
@pytest.mark.parametrize("size", [(65, 97), (100, 132), (32, 32)])
def test_maps_round_down_and_agree_with_what_is_declared(agents: bool, size: tuple[int, int]) -> None:
    backbone = PVT("t", agents=agents, drop_path=0.0).eval()
    if not agents and min(size) // 4 < 8:
        pytest.skip("smaller than one cell of the reduction")
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, *size))
    for channels, stride, feature in zip(backbone.channels, backbone.strides, features, strict=True):
        assert feature.shape == (1, channels, size[0] // stride, size[1] // stride)


def test_too_small_an_image() -> None:
    with pytest.raises(ValueError, match="image of 31 x 64: PVT needs 32 pixels"):
        PVT("t", drop_path=0.0)(torch.randn(1, 3, 31, 64))


@pytest.mark.parametrize(("h", "w"), [(28, 112), (112, 28), (56, 57), (12, 16), (128, 512)])
def test_position_embedding_follows_height_and_width(h: int, w: int) -> None:
    """28 x 112 has as many cells as the trained 56 x 56, and needs resizing all the same."""
    grid = torch.arange(56.0).view(1, 1, 56, 1) + 100 * torch.arange(56.0)
    embedding = grid.expand(1, 3, 56, 56).flatten(2).transpose(1, 2)
    expected = F.interpolate(grid, (h, w), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    torch.testing.assert_close(position_map(embedding, h, w), expected.expand(-1, -1, -1, 3))


def test_position_embedding_of_the_trained_size_is_untouched() -> None:
    embedding = torch.randn(1, 49, 5)
    assert torch.equal(position_map(embedding, 7, 7).flatten(1, 2), embedding)


@pytest.mark.parametrize("size", [(112, 448), pytest.param((448, 448), marks=pytest.mark.slow)])
def test_sizes_at_which_the_released_code_goes_wrong(size: tuple[int, int]) -> None:
    """With position embeddings that grow to the right alone, stage 1's input must grow to the right alone."""
    backbone = PVT("t", drop_path=0.0).eval()
    seen: list[torch.Tensor] = []
    backbone.get_submodule("block1").register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        backbone.get_parameter("pos_embed1").copy_(torch.arange(56.0).repeat(56)[None, :, None].expand(1, -1, 64))
        features = backbone(torch.zeros(1, 3, *size))
    assert features[3].shape[-2:] == (size[0] // 32, size[1] // 32)
    positions = seen[0] - seen[0][:, :1, :1]
    assert torch.equal(positions, positions[:, :1].expand_as(positions))
    assert (positions.diff(dim=2) >= 0).all()
    assert positions.max() > 50


@pytest.mark.parametrize("agents", [True, False])
def test_every_parameter_receives_a_gradient(agents: bool) -> None:
    backbone = PVT("t", agents=agents, drop_path=0.0).train()
    sum(feature.square().sum() for feature in backbone(torch.randn(2, 3, 65, 97))).backward()  # type: ignore[union-attr]
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_batch_equals_its_images_and_calls_repeat() -> None:
    backbone = PVT("t", drop_path=0.1).eval()
    x = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        whole, again = backbone(x), backbone(x)
        parts = [backbone(image) for image in x.split(1)]
    for i in range(4):
        assert torch.equal(whole[i], again[i])
        torch.testing.assert_close(whole[i], torch.cat([part[i] for part in parts]), rtol=1e-4, atol=1e-4)


def test_initialisation() -> None:
    backbone = PVT("t", drop_path=0.1)
    rates = [module.rate for module in backbone.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1 * i / 7 for i in range(8)])
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1), name
            assert not module.bias.any(), name
        elif isinstance(module, nn.LayerNorm):
            assert module.eps == (1e-5 if "patch_embed" in name else 1e-6)
    for stage in range(1, 5):
        assert backbone.get_parameter(f"pos_embed{stage}").std().item() == pytest.approx(0.02, rel=0.1)


def test_unknown_size() -> None:
    with pytest.raises(ValueError, match="PVT size 'xl': expected one of t, s, m, l"):
        PVT("xl", drop_path=0.0)


@pytest.mark.slow
def test_compiles_in_one_graph_and_exports() -> None:
    backbone = PVT("t", drop_path=0.0).eval()
    compiled = torch.compile(backbone, backend="aot_eager", fullgraph=True, dynamic=False)
    side = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.export.export(backbone, (torch.randn(1, 3, 100, 132),), dynamic_shapes={"x": side}).module()
        for size in [(100, 132), (128, 160), (65, 97)]:
            x = torch.randn(1, 3, *size)
            for ours, expected in zip(program(x), backbone(x), strict=True):
                torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
        for ours, expected in zip(compiled(x), backbone(x), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
