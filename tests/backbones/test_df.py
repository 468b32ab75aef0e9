from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segattn.backbones.df import DF1, DF2
from segattn.models.attanet import DF_IMAGENET


def filled(parity: Any, norm_eps: float = 1e-5) -> DF2:
    net = DF2(norm_eps).eval()
    net.load_state_dict(parity.state(parity.description("df2_backbone")["keys"]))
    return net


@pytest.mark.parametrize("size", ["128x160", "97x129"])
def test_df2_gives_the_reference_maps_and_taps(parity: Any, fill: Any, size: str) -> None:
    net, arrays = filled(parity), parity.arrays("df2_backbone")
    taps: dict[str, torch.Tensor] = {}
    names = [key.split(".tap.")[1] for key in arrays if key.startswith(f"{size}.tap.")]
    assert len(names) == 7
    for name in names:
        net.get_submodule(name).register_forward_hook(
            lambda _, __, y, name=name: taps.update(
                {name: torch.stack((y[0].mean((1, 2)), y[0].std((1, 2), correction=0)))}
            )
        )
    with torch.no_grad():
        maps = net(torch.from_numpy(fill.image(*map(int, size.split("x")))))
    for found, name in zip(maps, ("f8", "f16", "f32"), strict=True):
        expected = torch.from_numpy(arrays[f"{size}.{name}"])
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-4
    for name in names:
        assert (taps[name] - torch.from_numpy(arrays[f"{size}.tap.{name}"])).abs().max() < 1e-4, name


def test_the_epsilon_of_the_caffe_models_reaches_every_norm(parity: Any, fill: Any) -> None:
    x = torch.from_numpy(fill.image(97, 129))
    with torch.no_grad():
        ours, caffe = filled(parity)(x), filled(parity, 1e-4)(x)
    expected = next(v for k, v in parity.description("df2_backbone")["relevance"].items() if k.startswith("eps"))
    for a, b, relative in zip(ours, caffe, expected, strict=True):
        assert ((a - b).norm() / a.norm()).item() == pytest.approx(relative, rel=0.05)
    assert all(m.eps == 1e-4 for m in DF1(1e-4).modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("make", "parameters", "gmacs"), [(DF1, 8_020_128, 0.746), (DF2, 17_474_208, 1.774)], ids=["df1", "df2"]
)
def test_has_the_published_size_and_cost(make: type[DF1] | type[DF2], parameters: int, gmacs: float) -> None:
    with torch.device("meta"):
        net, x = make(), torch.empty(1, 3, 224, 224)
    assert sum(p.numel() for p in net.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        net(x)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=0.0006)


@pytest.mark.parametrize("make", [DF1, DF2])
@pytest.mark.parametrize("size", [(97, 129), (64, 80)])
def test_maps_have_the_declared_channels_and_strides(make: type[DF1] | type[DF2], size: tuple[int, int]) -> None:
    with torch.device("meta"):
        net = make()
        maps = net(torch.empty(1, 3, *size))
    for found, channels, stride in zip(maps, net.channels, net.strides, strict=True):
        assert found.shape == (1, channels, *((n - 1) // stride + 1 for n in size))


def test_every_parameter_gets_a_gradient() -> None:
    for net in (DF1(), DF2()):
        net(torch.randn(2, 3, 65, 49))[-1].square().mean().backward()
        assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_starts_from_he_initialisation() -> None:
    weight = DF2().stage3_1[3].conv2.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.01)


def test_imagenet_files_fill_the_backbone_and_leave_the_classifier(parity: Any) -> None:
    keys = [*parity.description("df2_backbone")["keys"], "fc.weight", "fc.bias"]
    translated = DF_IMAGENET.translate_all(keys)
    with torch.device("meta"):
        assert set(translated.values()) == {f"backbone.{key}" for key in DF2().state_dict()}
        df1 = list(DF1().state_dict())
    assert set(DF_IMAGENET.translate_all(df1).values()) == {f"backbone.{key}" for key in df1}
    assert "fc.weight" not in translated
    assert "classifier" in (DF_IMAGENET.reason_to_drop("fc.weight") or "")
