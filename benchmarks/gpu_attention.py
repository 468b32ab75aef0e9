"""Position attention on a GPU in several forms: time, memory and how near each is to float64. Run by gpu.py."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from gpu_session import Session, tf32
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from segattn.attention.dual import plain_position_attention, position_attention

KEYS, VALUES = 64, 512
IN_BLOCKS = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
"""Ways of PyTorch's attention that hold no N x N matrix: where none of them can be taken, that is an error."""


def attend(session: Session, n: int, precision: str, form: str, backward: bool) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    q, k, v = (torch.randn(1, c, n, generator=generator) * 0.5 for c in (KEYS, KEYS, VALUES))
    rows = slice(0, min(n, 256))
    wanted = v[0].double() @ torch.softmax(q[0, :, rows].double().t() @ k[0].double(), -1).t()  # (C, rows)
    with torch.enable_grad() if backward else torch.no_grad():
        inputs = [x.to(session.device, dtype).requires_grad_(backward) for x in (q, k, v)]
        call = attention_form(session, form)
        weight = torch.ones_like(inputs[2]).detach()

        def run() -> Tensor:
            out = call(*inputs)
            if backward:
                torch.autograd.grad(out, inputs, weight)
            return out.detach()

        with tf32(precision == "tf32"):
            got = run()[0, :, rows].double().cpu()
            before = session.reset_peak()
            run()
            peak = session.peak_mib(before)
            times = session.timed(run)
    products = 2 * n**2 * (KEYS + VALUES) * (3 if backward else 1)
    return {
        "ms": round(1e3 * statistics.median(times), 3),
        "ms_range": [round(1e3 * min(times), 3), round(1e3 * max(times), 3)],
        "tflops": round(products / statistics.median(times) / 1e12, 2),
        "above_inputs_mib": peak,
        "largest_difference": float(f"{((got - wanted).abs().max() / wanted.abs().max()).item():.2e}"),
    }


def attention_form(session: Session, form: str) -> Callable[..., Tensor]:
    """A function of q, k (1, 64, N) and v (1, 512, N) that gives (1, 512, N)."""
    if form == "ours":
        return position_attention
    if form == "plain":
        return plain_position_attention
    if form == "sdpa":

        def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            query, key, value = sliced(q, k, v, v.shape[1] // KEYS)
            with sdpa_kernel(IN_BLOCKS):
                return whole(F.scaled_dot_product_attention(query, key, value, scale=1.0))

        return sdpa
    from torch.nn.attention.flex_attention import flex_attention

    torch._dynamo.reset()  # each size is compiled as if it were the first
    flex: Any = flex_attention if session.smoke else torch.compile(flex_attention)

    def flexible(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        slices = v.shape[1] // KEYS if "slices" in form else 1
        query, key, value = sliced(q, k, v, slices)
        return whole(flex(query, key, value, scale=1.0))

    return flexible


def sliced(q: Tensor, k: Tensor, v: Tensor, slices: int) -> tuple[Tensor, Tensor, Tensor]:
    """(1, E, N) twice and (1, C, N) -> (1, slices, N, E) twice, all slices the same, and (1, slices, N, C / slices)."""
    query, key = (x.transpose(1, 2).unsqueeze(1).expand(-1, slices, -1, -1).contiguous() for x in (q, k))
    return query, key, v.unflatten(1, (slices, -1)).transpose(2, 3).contiguous()


def whole(out: Tensor) -> Tensor:
    """(1, slices, N, C / slices) -> (1, C, N)."""
    return out.transpose(2, 3).flatten(1, 2)
