"""Agent attention against its plain form, at any size; and what it keeps between calls."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import segattn.attention.agent
from segattn.attention.agent import AgentAttention, AgentShape, interpolation_matrix

SHAPE = AgentShape(grid=14, trained=3, agents=(4, 5))
SIZES = [(6, 9), (14, 14), (9, 14), (3, 4), (1, 1), (17, 2)]


class OneLinear(AgentAttention):
    def __init__(self, channels: int, heads: int, shape: AgentShape) -> None:
        super().__init__(channels, heads, shape)
        self.qkv = nn.Linear(channels, 3 * channels)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return q, k, v


def plain(module: AgentAttention, x: Tensor) -> Tensor:
    path = Path(__file__).parents[1] / "oracles" / "agent_attention.py"
    spec = importlib.util.spec_from_file_location("oracle_agent_attention", path)
    assert spec is not None
    assert spec.loader is not None
    oracle: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    return oracle.agent_attention(module, x)


@pytest.fixture
def attention() -> AgentAttention:
    """With biases large enough to matter."""
    module = OneLinear(12, 3, SHAPE).double()
    for name, parameter in module.named_parameters():
        if name.endswith("_bias"):
            nn.init.normal_(parameter)
    return module.eval()


def image(h: int, w: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, h, w, 12, dtype=torch.float64)


@pytest.mark.parametrize(("outputs", "inputs"), [(5, 7), (7, 7), (20, 7), (1, 4), (3, 1), (112, 56)])
def test_interpolation_matrix(outputs: int, inputs: int) -> None:
    x = torch.randn(2, 3, inputs, dtype=torch.float64)
    expected = F.interpolate(x, outputs, mode="linear", align_corners=False)
    torch.testing.assert_close(x @ interpolation_matrix(outputs, inputs, x).T, expected)


def test_interpolation_to_the_same_size_changes_nothing() -> None:
    assert torch.equal(interpolation_matrix(14, 14, torch.ones(1)), torch.eye(14))


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_plain_form(attention: AgentAttention, size: tuple[int, int]) -> None:
    x = image(*size)
    with torch.no_grad():
        expected = plain(attention, x)
        torch.testing.assert_close(attention(x), expected)
        torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("elements", [1, 100, 300])
def test_pieces_of_the_masks_give_the_same(
    attention: AgentAttention, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segattn.attention.agent, "MASK_ELEMENTS", elements)
    x = image(7, 5)
    torch.testing.assert_close(attention(x), plain(attention, x))


@pytest.mark.parametrize("missing", ["an_bias", "na_bias", "ah_bias", "aw_bias", "ha_bias", "wa_bias"])
def test_every_bias_counts(attention: AgentAttention, missing: str) -> None:
    x = image(6, 9)
    before = attention(x)
    with torch.no_grad():
        attention.get_parameter(missing).zero_()
    assert (attention(x) - before).abs().max() > 1e-3


def test_gradients_equal_those_of_the_plain_form(attention: AgentAttention) -> None:
    attention.train()
    x, weight = image(6, 9).requires_grad_(), image(6, 9)
    gradients = [
        torch.autograd.grad((form(x) * weight).sum(), [x, *attention.parameters()])
        for form in (attention, lambda x: plain(attention, x))
    ]
    for ours, expected in zip(*gradients, strict=True):
        assert expected.any()
        torch.testing.assert_close(ours, expected)


def test_batch_equals_its_images(attention: AgentAttention) -> None:
    x = image(6, 9, batch=3)
    torch.testing.assert_close(attention(x), torch.cat([attention(part) for part in x.split(1)]))


def test_heads_must_divide_channels() -> None:
    with pytest.raises(ValueError, match="12 channels do not divide into 5 heads"):
        OneLinear(12, 5, SHAPE)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes that biases were worked out for, as it happens."""
    sizes: list[tuple[int, int]] = []
    original: Callable[..., object] = AgentAttention.map_terms

    def counted(self: AgentAttention, h: int, w: int) -> object:
        sizes.append((h, w))
        return original(self, h, w)

    monkeypatch.setattr(AgentAttention, "map_terms", counted)
    return sizes


def test_biases_are_made_once_a_size_in_evaluation(attention: AgentAttention, made: list[tuple[int, int]]) -> None:
    with torch.no_grad():
        first = [attention(torch.ones(1, h, 5, 12, dtype=torch.float64)) for h in (4, 6)]
        again = [attention(torch.ones(1, h, 5, 12, dtype=torch.float64)) for h in (4, 6)]
    assert made == [(4, 5), (6, 5)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_biases_are_made_at_every_training_call(attention: AgentAttention, made: list[tuple[int, int]]) -> None:
    attention.train()
    for _ in range(2):
        attention(image(4, 5))
    assert made == [(4, 5), (4, 5)]


@pytest.mark.parametrize("fused", [False, True])
def test_weights_that_change_are_seen(attention: AgentAttention, fused: bool) -> None:
    x = image(4, 5)
    optimizer = torch.optim.AdamW(attention.parameters(), lr=0.1, fused=fused)
    for _ in range(2):
        with torch.no_grad():
            torch.testing.assert_close(attention(x), plain(attention, x))
        attention.train()(x).square().sum().backward()
        optimizer.step()
        attention.eval()
    attention.load_state_dict({key: value.flip(-1) for key, value in attention.state_dict().items()})
    with torch.no_grad():
        torch.testing.assert_close(attention(x), plain(attention, x))
        attention.float()
        assert attention(x.float()).dtype == torch.float32


def test_change_of_mode_forgets(attention: AgentAttention) -> None:
    """Writes through `.data` leave no trace that a cache could see."""
    x = image(4, 5)
    with torch.no_grad():
        attention(x)
        attention.an_bias.data.add_(torch.randn_like(attention.an_bias))
        attention.train().eval()
        torch.testing.assert_close(attention(x), plain(attention, x))


@pytest.mark.slow
def test_compiles_in_one_graph(attention: AgentAttention, made: list[tuple[int, int]]) -> None:
    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True, dynamic=True)
    with torch.no_grad():
        for size in SIZES[:3]:
            x = image(*size)
            torch.testing.assert_close(compiled(x), plain(attention, x))
            attention.an_bias.add_(1.0)


@pytest.mark.slow
def test_exports_with_dynamic_sizes(attention: AgentAttention) -> None:
    side = {1: torch.export.Dim("h", min=2, max=64), 2: torch.export.Dim("w", min=2, max=64)}
    with torch.no_grad():
        attention(image(6, 9, batch=1))  # what is kept must not end up in the program
        program = torch.export.export(attention, (image(6, 9, batch=1),), dynamic_shapes={"x": side}).module()
        for size in [(6, 9), (14, 14), (3, 4), (17, 2)]:
            x = image(*size, batch=1)
            torch.testing.assert_close(program(x), plain(attention, x))
