from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segattn.attention.strip import AttentionFusion, StripAttention
from segattn.models.attanet import ATTANET_LIGHT, ATTANET_RESNET


def oracle() -> ModuleType:
    path = Path(__file__).parents[1] / "oracles" / "strip_attention.py"
    spec = importlib.util.spec_from_file_location("oracle_strip_attention", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def released_state(parity: Any, case: dict[str, Any], released: str, ours: str) -> dict[str, torch.Tensor]:
    """The case's weights by our names inside the module at `ours`, which the released code calls `released`."""
    key_map = ATTANET_LIGHT if "light" in case["name"] else ATTANET_RESNET
    state = parity.state(case["keys"])
    return {key_map.translate(released + key).removeprefix(ours): value for key, value in state.items()}


def case_of(parity: Any, name: str) -> tuple[dict[str, Any], torch.Tensor]:
    case = parity.description("modules_cnn")["cases"][name]
    return case | {"name": name}, torch.from_numpy(parity.arrays("modules_cnn")[f"{name}.out"])


@pytest.mark.parametrize(("name", "channels"), [("attanet_light", 64), ("attanet_r18", 128)])
def test_strip_attention_gives_the_released_modules_output(parity: Any, name: str, channels: int) -> None:
    case, expected = case_of(parity, f"{name}.sam")
    module = StripAttention(channels).eval()
    module.load_state_dict(released_state(parity, case, "head.sam.", "head.strip."))
    with torch.no_grad():
        found = module(parity.case_input(case["inputs"]["x"]))
    assert (found - expected).abs().max() < 1e-4  # a hundredth of the smallest plausible mistake is 2e-2


@pytest.mark.parametrize(("name", "sizes"), [("attanet_light", (64, 64, 64, 3)), ("attanet_r18", (128, 512, 128, 1))])
def test_attention_fusion_gives_the_released_modules_output(parity: Any, name: str, sizes: tuple[int, ...]) -> None:
    case, expected = case_of(parity, f"{name}.afm")
    module = AttentionFusion(*sizes).eval()
    module.load_state_dict(released_state(parity, case, "head.afm.", "head.fusion."))
    with torch.no_grad():
        found = module(parity.case_input(case["inputs"]["high"]), parity.case_input(case["inputs"]["low"]))
    assert (found - expected).abs().max() < 1e-4


def test_strip_attention_is_the_loop_written_one() -> None:
    module = StripAttention(6, key_channels=4).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    with torch.no_grad():
        found = module(x)
        maps = [part(x).numpy() for part in (module.query, module.key, module.value)]
    expected = [oracle().strip_attention(x[b].numpy(), *(m[b] for m in maps)) for b in range(2)]
    np.testing.assert_allclose(found.numpy(), np.stack(expected), rtol=1e-10, atol=1e-10)


def test_each_pixel_spreads_one_unit_of_attention_over_the_columns() -> None:
    module = StripAttention(8).eval()
    attention = module.attention(3 * torch.randn(2, 8, 5, 7))
    assert attention.shape == (2, 7, 5 * 7)
    assert torch.allclose(attention.sum(dim=1), torch.ones(2, 35))
    assert attention.std() > 1e-3


def test_strips_are_columns_so_shuffling_rows_only_shuffles_the_result() -> None:
    module, x, rows, columns = (
        StripAttention(8).eval(),
        3 * torch.randn(1, 8, 6, 6),
        torch.randperm(6),
        torch.randperm(6),
    )
    with torch.no_grad():
        assert torch.allclose(module(x[:, :, rows]), module(x)[:, :, rows], atol=1e-5)
        assert torch.allclose(module(x[..., columns]), module(x)[..., columns], atol=1e-5)
        mixed_columns = torch.cat((x[:, :, :1].roll(1, dims=3), x[:, :, 1:]), dim=2)
        assert not torch.allclose(module(mixed_columns)[:, :, 1:], module(x)[:, :, 1:], atol=1e-4)


def test_fusion_weights_are_one_per_channel_between_0_and_1_at_any_sizes() -> None:
    module = AttentionFusion(4, 6, 5, kernel_size=3).eval()
    w = module(torch.randn(3, 4, 9, 7), 10 * torch.randn(3, 6, 5, 3))
    assert w.shape == (3, 5, 1, 1)
    assert ((w > 0) & (w < 1)).all()


def test_every_parameter_gets_a_gradient_and_images_do_not_mix() -> None:
    x, coarse = torch.randn(2, 8, 4, 6), torch.randn(2, 5, 2, 3)
    strip, fusion = StripAttention(8), AttentionFusion(8, 5, 8, kernel_size=1)
    (strip(x) * fusion(x, coarse) * torch.randn(2, 8, 4, 6)).sum().backward()
    for name, parameter in [*strip.named_parameters(), *fusion.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    strip.eval(), fusion.eval()
    with torch.no_grad():
        together = strip(x) * fusion(x, coarse)
        alone = torch.cat([strip(x[i : i + 1]) * fusion(x[i : i + 1], coarse[i : i + 1]) for i in range(2)])
    assert torch.allclose(together, alone, atol=1e-6)
