"""Agent attention: a few agents gather from all tokens, and all tokens then read from the agents.

Han et al., "Agent Attention: On the Integration of Softmax and Linear Attention", ECCV 2024, arXiv 2312.08874, section
4. Code: LeapLabTHU/Agent-Attention. With n tokens and a agents it costs O(n a) instead of O(n n), in two softmaxes.

======  ======================  ==========================================================================
symbol  shape                   meaning
======  ======================  ==========================================================================
Q K V   (B, heads, n, d)        queries, keys, values of the n = h w tokens
A       (B, heads, a, d)        agents: the unscaled queries, average-pooled to A1 x A2 cells, a = A1 A2
V_A     (B, heads, a, d)        gathered: softmax over tokens of (d^-1/2 A K^T + P), times V
P       (heads, a, n)           position bias of gathering
O       (B, heads, n, d)        read back: softmax over agents of (d^-1/2 Q A^T + R), times V_A
R       (heads, n, a)           position bias of reading; the paper's second B, the code's `na`, `ha`, `wa`
======  ======================  ==========================================================================

The result is proj(O + DWC(V)), DWC a depthwise 3x3 convolution (section 4.2, the diversity restoration module).

P = I(an) + I(ah + aw) and R = I(na) + I(ha + wa). The parameters were made for a map of g x g and p x p agents: `an`,
`na` on 7 x 7 positions, `ah`, `ha` on rows, `aw`, `wa` on columns. I resizes bilinearly (corners not aligned), the
positions to h x w and, at each position, the agents' p x p map to A1 x A2. The paper tells nothing of other sizes
than the trained one; this is what the released segmentation code does.

Both resizes are linear and separable, so they are products with matrices of one axis each, and P splits into factors of
one axis: over the rows y and columns x of the map, P[m, i, y, x] = sum_j U[m, i, y, j] X[x, j] + W[m, i, x], where U
holds `an` resized along rows, and `ah`. The factors have heads * a * (8 h + w) elements instead of heads * a * h * w:
they are what evaluation keeps from call to call, while P and R exist only a few heads or rows at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.layers import SizeCache, averaging_matrix

POSITIONS = 7
"""Rows and columns of positions of `an_bias` and `na_bias`."""

MASK_ELEMENTS = 2**20
"""On CPU, P and R are made in pieces of about so many elements: as masks that still lie in the cache when used."""


class AgentShape(NamedTuple):
    """Sizes of one stage's agents.

    Attributes:
        grid: g, the side of the map that the biases were trained for.
        trained: p, the side of the agents' map that they were trained for.
        agents: (A1, A2), to which the queries are pooled now; may exceed the trained number, and even the map.
    """

    grid: int
    trained: int
    agents: tuple[int, int]


class MapTerms(NamedTuple):
    """All that depends on the weights and the map's size alone; see the module's text.

    Attributes:
        columns: X, (w, 8): resizes 7 positions to w columns; the eighth entry is 1.
        gather_rows: U of P, (heads, a, h, 8): the eighth entry is `ah`.
        gather_columns: W of P, (heads, a, 1, w).
        read_rows: U of R, (heads, h, 8, a).
        read_columns: W of R, (heads, 1, w, a).
        pool_rows, pool_columns: (A1, h) and (A2, w), which average queries to agents.
    """

    columns: Tensor
    gather_rows: Tensor
    gather_columns: Tensor
    read_rows: Tensor
    read_columns: Tensor
    pool_rows: Tensor
    pool_columns: Tensor


def interpolation_matrix(outputs: int, inputs: int, like: Tensor) -> Tensor:
    """(outputs, inputs): linear interpolation, corners not aligned, no antialiasing; the identity at equal sizes."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    source = (torch.arange(outputs, device=like.device, dtype=dtype) + 0.5) * inputs / outputs - 0.5
    cell = torch.arange(inputs, device=like.device, dtype=dtype)
    weights = (1 - (source.clamp(0, inputs - 1)[:, None] - cell).abs()).clamp(min=0)
    return weights.to(like.dtype)


class AgentAttention(nn.Module, ABC):
    """(B, h, w, C) -> (B, h, w, C), C = heads * d; a leaf says how Q, K and V are projected from the map.

    Everything but the projection of Q, K and V is here, under the released names. Any map size works.

    Args:
        channels: C.
        heads: divides C.
        shape: of the agents.
    """

    counts_products = False

    def __init__(self, channels: int, heads: int, shape: AgentShape) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.heads = heads
        self.shape = shape
        g, p2 = shape.grid, shape.trained**2
        self.an_bias = nn.Parameter(torch.empty(heads, p2, POSITIONS, POSITIONS))
        self.na_bias = nn.Parameter(torch.empty(heads, p2, POSITIONS, POSITIONS))
        self.ah_bias = nn.Parameter(torch.empty(1, heads, p2, g, 1))
        self.aw_bias = nn.Parameter(torch.empty(1, heads, p2, 1, g))
        self.ha_bias = nn.Parameter(torch.empty(1, heads, g, 1, p2))
        self.wa_bias = nn.Parameter(torch.empty(1, heads, 1, g, p2))
        self.dwc = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.proj = nn.Linear(channels, channels)
        for bias in self._biases():
            nn.init.trunc_normal_(bias, std=0.02)
        self._terms: SizeCache[MapTerms] = SizeCache()

    @abstractmethod
    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, h, w, C) -> queries, keys, values, each (B, h, w, C) with the heads one after another in C."""

    def train(self, mode: bool = True) -> AgentAttention:
        self._terms.clear()
        super().train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        q, k, v = self.project(x)
        terms = self.terms(h, w)
        A = self._agents(q, terms)
        V_A = self._gather(A, self._split(k).flatten(2, 3), self._split(v).flatten(2, 3), terms)
        out = self._read(self._split(q), A, V_A, terms).flatten(2).view(x.shape)
        diversity = self.dwc(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y: Tensor = self.proj(out + diversity)
        return y

    def agent_maps(self, x: Tensor, agents: Sequence[int], *, biases: bool) -> tuple[Tensor, Tensor]:
        """Where some agents gather from, and who reads from them: rows and columns of the two softmaxes alone.

        Args:
            x: (B, h, w, C), the module's input.
            agents: row * A2 + column of each among the A1 x A2.
            biases: with the position biases P and R, as the module computes it, or as if they were zero.

        Returns:
            Both (B, heads, len(agents), h, w). The first sums to 1 over the map, for each head and agent; the second
            sums to 1 over all a agents, for each head and token.
        """
        h, w = x.shape[1:3]
        q, k, _ = self.project(x)
        terms = self.terms(h, w)
        A, Q, which = self._agents(q, terms), self._split(q), list(agents)
        scale = A.shape[-1] ** -0.5
        energy = (scale * A[:, :, which]) @ self._split(k).flatten(2, 3).mT
        if biases:
            energy += _gather_bias(terms, slice(None), which)
        gather = torch.softmax(energy, dim=-1).view(*energy.shape[:3], h, w)
        read = torch.empty_like(gather)
        for y in _pieces(h, self.heads * w * A.shape[2], x.device):
            energy = (scale * Q[:, :, y].flatten(2, 3)) @ A.mT
            if biases:
                energy += _read_bias(terms, y)
            share = torch.softmax(energy, dim=-1)[..., which].mT
            read[..., y, :] = share.reshape(*share.shape[:3], -1, w)
        return gather, read

    def terms(self, h: int, w: int) -> MapTerms:
        """`map_terms`, kept from call to call in evaluation."""
        return self._terms.get((h, w), lambda: self.map_terms(h, w), training=self.training, weights=self._biases())

    def map_terms(self, h: int, w: int) -> MapTerms:
        """The matrices of P, R and the pooling for a map of h x w, as factors of one axis each."""
        g, p, (A1, A2) = self.shape
        like = self.an_bias
        agents = torch.kron(interpolation_matrix(A1, p, like), interpolation_matrix(A2, p, like))
        y, x = interpolation_matrix(h, POSITIONS, like), interpolation_matrix(w, POSITIONS, like)
        y_grid, x_grid = interpolation_matrix(h, g, like), interpolation_matrix(w, g, like)
        # m heads, i agents, k trained agents, y x positions of the map, u v trained positions
        an = torch.einsum("yu,mkuv,ik->miyv", y, self.an_bias, agents)
        na = torch.einsum("yu,mkuv,ik->myvi", y, self.na_bias, agents)
        ah = torch.einsum("yu,mku,ik->miy", y_grid, self.ah_bias[0, ..., 0], agents)
        ha = torch.einsum("yu,muk,ik->myi", y_grid, self.ha_bias[0, :, :, 0], agents)
        aw = torch.einsum("xv,mkv,ik->mix", x_grid, self.aw_bias[0, :, :, 0], agents)
        wa = torch.einsum("xv,mvk,ik->mxi", x_grid, self.wa_bias[0, :, 0], agents)
        return MapTerms(
            columns=torch.cat([x, torch.ones_like(x[:, :1])], dim=1),
            gather_rows=torch.cat([an, ah.unsqueeze(3)], dim=3),
            gather_columns=aw.unsqueeze(2),
            read_rows=torch.cat([na, ha.unsqueeze(2)], dim=2),
            read_columns=wa.unsqueeze(1),
            pool_rows=averaging_matrix(h, A1, like),
            pool_columns=averaging_matrix(w, A2, like),
        )

    def _biases(self) -> tuple[nn.Parameter, ...]:
        return self.an_bias, self.na_bias, self.ah_bias, self.aw_bias, self.ha_bias, self.wa_bias

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, ..., C) -> (B, heads, ..., d)."""
        return tokens.view(*tokens.shape[:-1], self.heads, -1).movedim(-2, 1)

    def _agents(self, q: Tensor, terms: MapTerms) -> Tensor:
        """A (B, heads, a, d) from the queries (B, h, w, C)."""
        agents = terms.pool_rows @ (terms.pool_columns @ q).flatten(2)  # (B, A1, A2 C)
        return self._split(agents.view(q.shape[0], -1, q.shape[3]))

    def _gather(self, A: Tensor, K: Tensor, V: Tensor, terms: MapTerms) -> Tensor:
        """V_A, some heads at a time."""
        pieces = []
        for m in _pieces(self.heads, A.shape[2] * K.shape[2], K.device):
            P = _gather_bias(terms, m)
            pieces.append(F.scaled_dot_product_attention(A[:, m], K[:, m], V[:, m], attn_mask=P[None]))
        return torch.cat(pieces, dim=1)

    def _read(self, Q: Tensor, A: Tensor, V_A: Tensor, terms: MapTerms) -> Tensor:
        """O as (B, n, heads, d) from Q as (B, heads, h, w, d), some rows of the map at a time."""
        h, w = Q.shape[2:4]
        pieces = []
        for y in _pieces(h, self.heads * w * A.shape[2], Q.device):
            R = _read_bias(terms, y)
            pieces.append(F.scaled_dot_product_attention(Q[:, :, y].flatten(2, 3), A, V_A, attn_mask=R[None]))
        return torch.cat([piece.transpose(1, 2) for piece in pieces], dim=1)

    def paper_operations(self, x: Tensor) -> dict[str, int]:
        """Biases by four bilinear resizes and agents by pooling; here both are products with matrices of one axis.

        `script_attention` is the term of the authors' own script, 4 h w a C.
        """
        batch, h, w, channels = x.shape
        n, a = h * w, prod(self.shape.agents)
        return {
            "bilinear": 4 * self.heads * n * (self.shape.trained**2 + a),
            "adaptive_pool": batch * a * channels,
            "adaptive_pool_input": x.numel(),
            "script_attention": 4 * x.numel() * a,
        }


def _gather_bias(terms: MapTerms, heads: slice, agents: slice | list[int] = slice(None)) -> Tensor:
    """P of some heads and agents: (heads, agents, h w)."""
    rows, columns = terms.gather_rows[heads][:, agents], terms.gather_columns[heads][:, agents]
    return (rows @ terms.columns.mT).add_(columns).flatten(2)


def _read_bias(terms: MapTerms, rows: slice) -> Tensor:
    """R of some rows of the map: (heads, rows * w, a)."""
    return (terms.columns @ terms.read_rows[:, rows]).add_(terms.read_columns).flatten(1, 2)


class SwinAgentAttention(AgentAttention):
    """Agent attention with Swin's projection: one linear layer for Q, K and V.

    Args:
        heads: divides C; C // 32 where it is not given, as in the paper's Swin networks.
        shape: of the agents; by default that of their maps of 1/16.
    """

    def __init__(
        self,
        channels: int,
        heads: int | None = None,
        shape: AgentShape = AgentShape(grid=14, trained=7, agents=(14, 14)),
    ) -> None:
        super().__init__(channels, max(channels // 32, 1) if heads is None else heads, shape)
        self.qkv = nn.Linear(channels, 3 * channels)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return q, k, v


def _pieces(count: int, elements: int, device: torch.device) -> list[slice]:
    """`count` slices of a mask with `elements` each, cut into runs that fit the CPU's cache; elsewhere all at once."""
    if device.type != "cpu" or torch.compiler.is_compiling():
        return [slice(None)]
    run = max(1, MASK_ELEMENTS // elements)
    return [slice(start, start + run) for start in range(0, count, run)]
