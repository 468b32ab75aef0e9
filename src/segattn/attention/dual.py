"""Dual attention: every position attends to every position, every channel to every channel.

Paper: Dual Attention Network for Scene Segmentation, CVPR 2019, arXiv 1809.02983, sections 3.2 and 3.3.

| code | paper | shape |
|---|---|---|
| x | A | (B, C, h, w), N = h * w positions |
| q, k | B, C of section 3.2 | (B, E, N), E = 64 |
| v | D | (B, C, N), C = 512 |
| gamma | alpha (position), beta (channel) | scalar, starts at 0 |

Deliberate differences: the N x N matrix S of equation 1 is never held at once (the values are the same), and channel
attention has the sign of the released code, not of equation 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from segattn.layers import at_least_float32, without_autocast

_CPU_ROWS, _CPU_BYTES = 1024, 128 << 20  # beyond these the matrix products get no faster
_GPU_BYTES = 256 << 20
_FEWEST_ROWS = 256  # thinner blocks spend their time re-reading the values


def _rows_at_once(n: int, like: Tensor) -> int:
    most, budget = (_CPU_ROWS, _CPU_BYTES) if like.device.type == "cpu" else (n, _GPU_BYTES)
    return min(n, most, max(_FEWEST_ROWS, budget // (n * like.element_size())))


@torch.library.custom_op("segattn::position_attention", mutates_args=())
def position_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``out[:, :, i] = sum_j softmax_j(q_i . k_j) v_j``, exactly, in memory that grows with N and not with its square.

    Rows of the softmax are independent, so blocks of them are computed one after another in one buffer; the backward
    pass computes each block again. One operator, so that `torch.compile` does not unroll the blocks.

    Args:
        q, k: (B, E, N); the energies are not scaled.
        v: (B, C, N).

    Returns:
        (B, C, N), laid out in memory as `v`.
    """
    n = v.shape[-1]
    step = _rows_at_once(n, v)
    scores = v.new_empty(step, n)
    out = torch.empty_like(v)
    for q_b, k_b, v_b, out_b in zip(q, k, v, out, strict=True):
        for start in range(0, n, step):
            rows = slice(start, start + step)
            p = _softmax_rows(q_b[:, rows], k_b, scores)
            torch.mm(p, v_b.t(), out=out_b[:, rows].t())
    return out


def _softmax_rows(q: Tensor, k: Tensor, buffer: Tensor) -> Tensor:
    """(E, rows), (E, N) -> softmax over N of the energies, (rows, N), in the first rows of `buffer`."""
    p = buffer[: q.shape[1]]
    torch.mm(q.t(), k, out=p)
    return torch.softmax(p, -1, out=p)


def position_rows(q: Tensor, k: Tensor, positions: Sequence[int]) -> Tensor:
    """The rows of the N x N matrix S that belong to a few positions, and nothing else of it.

    Args:
        q, k: (B, E, N); the energies are not scaled.
        positions: row * w + column of each, in 0..N - 1.

    Returns:
        (B, len(positions), N); each row sums to 1.
    """
    rows = q.new_empty(len(q), len(positions), k.shape[-1])
    for q_b, k_b, rows_b in zip(q, k, rows, strict=True):
        _softmax_rows(q_b[:, list(positions)], k_b, rows_b)
    return rows


@torch.library.custom_op("segattn::position_attention_backward", mutates_args=())
def _position_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n = v.shape[-1]
    step = _rows_at_once(n, v)
    scores, d_scores = v.new_empty(step, n), v.new_empty(step, n)
    dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for b in range(len(q)):
        for start in range(0, n, step):
            rows = slice(start, start + step)
            q_i, grad_i = q[b][:, rows], grad[b][:, rows]
            p = _softmax_rows(q_i, k[b], scores)
            dv[b].addmm_(grad_i, p)
            dp = torch.mm(grad_i.t(), v[b], out=d_scores[: p.shape[0]])
            # sum_j p_ij dp_ij equals grad_i . out_i, which needs no pass over the block
            de = dp.sub_((grad_i * out[b][:, rows]).sum(0).unsqueeze(1)).mul_(p)
            torch.mm(de, k[b].t(), out=dq[b][:, rows].t())
            dk[b].addmm_(q_i, de)
    return dq, dk, dv


@position_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(v)


@_position_attention_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _save_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor, Tensor] = _position_attention_backward(grad, *ctx.saved_tensors)
    return gradients


position_attention.register_autograd(_backward, setup_context=_save_for_backward)


@register_flop_formula(torch.ops.segattn.position_attention)
def _forward_flops(q: Any, k: Any, v: Any, **_: Any) -> int:
    return int(2 * q[0] * q[2] ** 2 * (q[1] + v[1]))


@register_flop_formula(torch.ops.segattn.position_attention_backward)
def _backward_flops(grad: Any, q: Any, k: Any, v: Any, out: Any, **_: Any) -> int:
    return int(2 * q[0] * q[2] ** 2 * (3 * q[1] + 2 * v[1]))


def plain_position_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`position_attention` as two matrix products and a softmax, N x N matrices and all: to compare with."""
    p = torch.softmax(q.transpose(1, 2) @ k, dim=-1)
    return v @ p.transpose(1, 2)


def looped_position_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`position_attention` as a loop over the rows of the map: for export, whose formats know loops, not our operator.

    A step holds w x N energies instead of N x N, 33 MB instead of 4.3 GB for one image of 1024 x 2048 at stride 8.
    There is no gradient.

    Args:
        q: (B, E, h, w), a map still.
        k: (B, E, N).
        v: (B, C, N).

    Returns:
        (B, C, h, w).
    """
    from torch._higher_order_ops.scan import scan  # not public yet; torch._dynamo comes with it

    q, k, values = q.detach(), k.detach(), v.detach().transpose(1, 2)

    def step(carry: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        return carry.clone(), torch.softmax(row.transpose(1, 2) @ k, dim=-1) @ values

    _, rows = scan(step, q.new_zeros(1), q.permute(2, 0, 1, 3))  # a state is asked for, though there is none
    out: Tensor = rows.permute(1, 3, 0, 2)  # from (h, B, w, C)
    return out


class PositionAttention(nn.Module):
    """Position attention (section 3.2, equations 1 and 2): ``gamma * attended values + x``.

    Queries, keys and values are plain 1x1 convolutions, as in the released code and the paper's fourth version; its
    first three have norm and ReLU after them. The energies are not scaled. Exported graphs hold
    `looped_position_attention`.

    Args:
        channels: C of the map, and of the values.
        key_channels: E of queries and keys; C // 8 where it is not given, as in the paper's code.

    Raises:
        ValueError: no key channel is left.
    """

    def __init__(self, channels: int, key_channels: int | None = None) -> None:
        super().__init__()
        key_channels = channels // 8 if key_channels is None else key_channels
        if key_channels < 1:
            raise ValueError(f"{channels} channels and {key_channels} key channels: expected 1 or more of each")
        self.query = nn.Conv2d(channels, key_channels, 1)
        self.key = nn.Conv2d(channels, key_channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        q, k, v = self.query(x), self.key(x).flatten(2), self.value(x).flatten(2)
        if torch.compiler.is_exporting():
            return self.gamma * looped_position_attention(q, k, v) + x
        attended: Tensor = position_attention(q.flatten(2), k, v)
        return self.gamma * attended.view_as(x) + x


class ChannelAttention(nn.Module):
    """Channel attention (section 3.3): ``gamma * attention f + x`` with f = x as (C, N) and C x C attention.

    The released code takes the softmax of rowmax(f f^T) - f f^T, so the most *dissimilar* channels get the weight;
    equation 3 has the opposite sign. This follows the code, as the released weights need it. The row maximum is a
    shift that the softmax itself takes out again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def attention(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, C): how much each channel (row) takes from each channel; rows sum to 1."""
        f = x.flatten(2)
        # energies are sums over all positions, in the thousands: half precision would round their differences away
        with without_autocast(x):
            wide = at_least_float32(f)
            return torch.softmax(-(wide @ wide.transpose(1, 2)), dim=-1).to(f.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return self.gamma * (self.attention(x) @ x.flatten(2)).view_as(x) + x
