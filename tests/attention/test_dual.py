from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segattn.attention import dual
from segattn.attention.dual import (
    ChannelAttention,
    PositionAttention,
    plain_position_attention,
    position_attention,
)
from segattn.models.danet import DANET


def oracle() -> ModuleType:
    path = Path(__file__).parents[1] / "oracles" / "dual_attention.py"
    spec = importlib.util.spec_from_file_location("oracle_dual_attention", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def qkv(batch: int, n: int, keys: int = 64, values: int = 512, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Queries, keys and values with energies of about +-10, so that the softmax is neither flat nor one-hot."""
    sizes = (keys, keys, values)
    scales = (keys**-0.25 * 1.5, keys**-0.25 * 1.5, 1.0)
    return [(torch.randn(batch, c, n, dtype=dtype) * s).requires_grad_() for c, s in zip(sizes, scales, strict=True)]


def relative_error(got: Tensor, wanted: Tensor) -> float:
    return ((got - wanted).abs().max() / wanted.abs().max()).item()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 16 rows, so that small maps have many of them and a last one that is not full."""
    monkeypatch.setattr(dual, "_CPU_ROWS", 16)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("n", [2, 15, 16, 17, 203])
@pytest.mark.usefixtures("small_blocks")
def test_lean_equals_plain_in_value_and_gradient(n: int, channels_last: bool) -> None:
    leaves = qkv(2, n)
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in leaves) if channels_last else leaves
    weight = torch.randn(2, 512, n)
    lean, plain = position_attention(q, k, v), plain_position_attention(q, k, v)
    assert relative_error(lean, plain) < 1e-5
    for got, wanted in zip(
        torch.autograd.grad(lean, leaves, weight), torch.autograd.grad(plain, leaves, weight), strict=True
    ):
        assert relative_error(got, wanted) < 1e-5


def test_a_single_position_attends_to_itself() -> None:
    q, k, v = qkv(2, 1)
    out = position_attention(q, k, v)
    assert torch.equal(out, v)
    out.sum().backward()
    assert q.grad is not None
    assert q.grad.abs().max() < 1e-4


def test_lean_equals_plain_at_the_blocks_of_real_maps() -> None:
    q, k, v = (x.detach() for x in qkv(1, 2500))
    assert dual._rows_at_once(2500, v) == 1024
    assert relative_error(position_attention(q, k, v), plain_position_attention(q, k, v)) < 1e-5


@pytest.mark.usefixtures("small_blocks")
def test_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(position_attention, qkv(2, 37, keys=3, values=4, dtype=torch.float64))


@pytest.mark.usefixtures("small_blocks")
def test_position_attention_against_loops() -> None:
    q, k, v = (x.detach() for x in qkv(2, 35, keys=4, values=5, dtype=torch.float64))
    for b, out in enumerate(position_attention(q, k, v)):
        wanted = oracle().position_attention(q[b].numpy(), k[b].numpy(), v[b].numpy())
        torch.testing.assert_close(out, torch.from_numpy(wanted), rtol=1e-12, atol=1e-12)


def test_channel_attention_against_loops() -> None:
    module = ChannelAttention().double()
    nn.init.constant_(module.gamma, 0.7)
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    for image, out in zip(x, module(x), strict=True):
        wanted = torch.from_numpy(oracle().channel_attention(image.flatten(1).numpy())).view_as(image)
        torch.testing.assert_close(out, 0.7 * wanted + image, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [9216, 32768, 131072])
def test_rows_held_at_once_grow_with_n_only(n: int) -> None:
    assert dual._rows_at_once(n, torch.empty(0)) * n * 4 <= max(128 << 20, 256 * n * 4)
    assert dual._rows_at_once(n, torch.empty(0)) >= 256


def test_nothing_of_n_squared_is_allocated() -> None:
    n = 3000
    leaves = qkv(1, n, keys=8, values=8)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        position_attention(*leaves).sum().backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert 1024 * n * 4 <= largest <= 2.2 * 1024 * n * 4 < n * n * 4


def test_the_operator_keeps_the_rules_of_operators() -> None:
    torch.library.opcheck(position_attention, qkv(2, 21, keys=3, values=5))


@pytest.mark.usefixtures("small_blocks")
def test_compiled_equals_eager_in_value_and_gradient() -> None:
    module = nn.Sequential(PositionAttention(16, 4), ChannelAttention())
    for attention in module:
        nn.init.constant_(attention.gamma, 0.5)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in ((5, 7), (6, 9)):
        x = torch.randn(2, 16, *size)
        got, wanted = compiled(x), module(x)
        torch.testing.assert_close(got, wanted)
        names = [name for name, _ in module.named_parameters()]
        gradients = [torch.autograd.grad(out.square().sum(), list(module.parameters())) for out in (got, wanted)]
        for name, compiled_gradient, gradient in zip(names, *gradients, strict=True):
            torch.testing.assert_close(compiled_gradient, gradient, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # inductor's own
def test_compiled_by_inductor_equals_eager() -> None:
    module = PositionAttention(16, 4)
    nn.init.constant_(module.gamma, 0.5)
    x = torch.randn(2, 16, 5, 7)
    got, wanted = torch.compile(module, fullgraph=True)(x), module(x)
    torch.testing.assert_close(got, wanted)
    gradients = [torch.autograd.grad(out.square().sum(), list(module.parameters())) for out in (got, wanted)]
    for compiled_gradient, gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled_gradient, gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_lean_equals_plain_on_cuda() -> None:
    leaves = [x.detach().cuda().requires_grad_() for x in qkv(1, 9216)]
    weight = torch.randn(1, 512, 9216, device="cuda")
    assert dual._rows_at_once(9216, leaves[0]) < 9216
    lean, plain = position_attention(*leaves), plain_position_attention(*leaves)
    assert relative_error(lean, plain) < 1e-5
    for got, wanted in zip(
        torch.autograd.grad(lean, leaves, weight), torch.autograd.grad(plain, leaves, weight), strict=True
    ):
        assert relative_error(got, wanted) < 1e-5


def test_exported_graph_holds_a_loop_for_every_size() -> None:
    module = nn.Sequential(PositionAttention(16, 4), ChannelAttention()).eval()
    for attention in module:
        nn.init.constant_(attention.gamma, 0.5)
    size = {2: torch.export.Dim("h", min=2, max=64), 3: torch.export.Dim("w", min=2, max=64)}
    program = torch.export.export(module, (torch.randn(1, 16, 5, 7),), dynamic_shapes=(size,))
    assert "segattn" not in str(program.graph)
    assert "scan" in str(program.graph)
    x = torch.randn(1, 16, 9, 4)
    torch.testing.assert_close(program.module()(x), module(x))


def test_flops_of_both_directions_are_counted() -> None:
    n = 50
    with FlopCounterMode(display=False) as forward:
        out = position_attention(*qkv(2, n))
    assert forward.get_total_flops() == 2 * 2 * n * n * (64 + 512)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert backward.get_total_flops() == 2 * 2 * n * n * (3 * 64 + 2 * 512)


@pytest.mark.parametrize("module", [PositionAttention(16, 2), ChannelAttention()], ids=["position", "channel"])
def test_gamma_starts_at_zero_and_the_module_as_the_identity(module: nn.Module) -> None:
    x = torch.randn(2, 16, 5, 6)
    assert torch.equal(module(x), x)


def test_channel_attention_takes_the_most_dissimilar_channels() -> None:
    module = ChannelAttention()
    nn.init.constant_(module.gamma, 1.0)
    f = torch.randn(1, 1, 8, 8)
    x = torch.cat([f, f, -f], dim=1) * 10
    torch.testing.assert_close(module(x)[:, 0], x[:, 0] + x[:, 2])


def test_bfloat16_autocast_stays_near_full_precision() -> None:
    position, channel = PositionAttention(32, 4), ChannelAttention()
    for module in (position, channel):
        nn.init.constant_(module.gamma, 0.5)
    x = torch.randn(2, 32, 20, 20, requires_grad=True)
    wanted = channel(position(x))
    with torch.autocast("cpu", torch.bfloat16):
        got = channel(position(x))
    assert relative_error(got.float(), wanted) < 0.02
    got.float().square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("case", ["danet.pam", "danet.cam"])
def test_modules_equal_the_released_code(case: str, parity: Any) -> None:
    description = parity.description("modules_cnn")["cases"][case]
    prefix, ours, module = {
        "danet.pam": ("head.sa.", "head.position.1.", PositionAttention(64, 8)),
        "danet.cam": ("head.sc.", "head.channel.1.", ChannelAttention()),
    }[case]
    state = parity.state(description["keys"])
    module.load_state_dict({DANET.translate(prefix + key).removeprefix(ours): value for key, value in state.items()})
    with torch.no_grad():
        out = module(parity.case_input(description["inputs"]["x"]))
    wanted = torch.from_numpy(parity.arrays("modules_cnn")[f"{case}.out"])
    assert (out - wanted).abs().max() < 1e-4
