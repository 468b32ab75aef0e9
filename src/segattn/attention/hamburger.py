"""Hamburger: global context as a low-rank reconstruction of the feature map (arXiv 2109.04553).

The "ham" is non-negative matrix factorisation by multiplicative updates, between two 1 x 1 convolutions.

| paper | here                                                        |
|-------|-------------------------------------------------------------|
| X     | `X` (B, D, N): D channels at N = h w positions, not negative |
| D     | `W` (B, D, R): R bases (the dictionary)                     |
| C     | `C` (B, N, R): their coefficients at every position         |
| K     | `steps`                                                     |

The paper differentiates only the last update ("one-step gradient"). The released segmentation code, which this follows,
differentiates all of them, and takes 6 steps in training and 7 in evaluation.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.layers import at_least_float32, group_norm, without_autocast

TRAIN_STEPS = 6
EVAL_STEPS = 7


def factorize(X: Tensor, W: Tensor, steps: int) -> Tensor:
    """The reconstruction W C^T (B, D, N) of X from `factors`, whose arguments it has."""
    W, C = factors(X, W, steps)
    return W @ C.mT


def factors(X: Tensor, W: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Non-negative factors of X by multiplicative updates.

    Args:
        X: (B, D, N), not negative.
        W: (B, D, R) initial bases, columns of unit length.
        steps: of alternating updates; the coefficients are updated once more after them.

    Returns:
        The bases W (B, D, R) and their coefficients C (B, N, R).
    """
    C = torch.softmax(X.mT @ W, dim=-1)
    for _ in range(steps):
        C = _update(C, X.mT, W)
        W = _update(W, X, C)
    return W, _update(C, X.mT, W)


def _update(A: Tensor, X: Tensor, B: Tensor) -> Tensor:
    """A nearer to X ~ A B^T: A * (X B) / (A B^T B)."""
    return A * (X @ B) / (A @ (B.mT @ B) + 1e-6)


def fixed_bases(channels: int, bases: int) -> Tensor:
    """(1, D, R): one draw, always the same, uniform in [0, 1) with columns then divided by their lengths."""
    rng = np.random.default_rng(zlib.crc32(b"bases"))
    return F.normalize(torch.tensor(rng.random((1, channels, bases)).astype(np.float32)), dim=1)


class MatrixFactorization(nn.Module):
    """(B, D, h, w), not negative -> its reconstruction from R bases, computed in float32 at least.

    Initial bases are drawn anew for each image in training. In evaluation they are `fixed_bases` for every image, so
    that an image always scores the same, alone or in a batch.

    Args:
        channels: D.
        bases: R.
        random_in_eval: draw anew in evaluation too, as the released code does (logits then vary by 2 to 11 %).
    """

    fixed: Tensor

    def __init__(self, channels: int, bases: int, *, random_in_eval: bool = False) -> None:
        super().__init__()
        self.random_in_eval = random_in_eval
        self.register_buffer("fixed", fixed_bases(channels, bases), persistent=False)

    def forward(self, x: Tensor, bases: Tensor | None = None) -> Tensor:
        """`bases`: initial ones to use instead, (1 or B, D, R) with columns of unit length."""
        with without_autocast(x):  # products of products leave the range of half precision
            return self._reconstruct(x, bases)

    def factors(self, x: Tensor, bases: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """X (B, D, N) in float32 at least, and the bases (B, D, R) and coefficients (B, N, R) that it is made of.

        Random bases are drawn anew, so two calls then differ.
        """
        with without_autocast(x):
            X, W, steps = self._start(x, bases)
            return X, *factors(X, W, steps)

    def _reconstruct(self, x: Tensor, bases: Tensor | None) -> Tensor:
        return factorize(*self._start(x, bases)).to(x.dtype).view(x.shape)

    def _start(self, x: Tensor, bases: Tensor | None) -> tuple[Tensor, Tensor, int]:
        X = at_least_float32(x.flatten(2))
        if bases is None:
            bases = self._initial_bases(X.shape[0])
        W = bases.to(X).expand(X.shape[0], -1, -1)  # len() would bind an export to its batch
        return X, W, TRAIN_STEPS if self.training else EVAL_STEPS

    def _initial_bases(self, batch: int) -> Tensor:
        if self.training or self.random_in_eval:
            shape = (batch, *self.fixed.shape[1:])
            return F.normalize(torch.rand(shape, device=self.fixed.device, dtype=torch.float32), dim=1)
        return self.fixed

    def paper_operations(self, x: Tensor, *_: object) -> dict[str, int]:
        """The first coefficients are multiplied by a temperature of 1."""
        return {"product": x[:, 0].numel() * self.fixed.shape[-1]}


def draws_anew(model: nn.Module) -> bool:
    """Whether a model in evaluation draws bases at random, so that two calls differ."""
    return any(isinstance(module, MatrixFactorization) and module.random_in_eval for module in model.modules())


class Hamburger(nn.Module):
    """(B, D, h, w) -> (B, D, h, w): 1 x 1, ReLU, factorisation, 1 x 1 and norm; added to the input, then ReLU.

    Args:
        channels: D; a multiple of 32 for the default norm.
        bases: R; 64 in the paper's segmentation networks.
        norm: makes the norm of a channel count; groups of 32 in the paper's code.
        random_in_eval: see `MatrixFactorization`.
    """

    def __init__(
        self,
        channels: int,
        bases: int = 64,
        *,
        norm: Callable[[int], nn.Module] = group_norm,
        random_in_eval: bool = False,
    ) -> None:
        super().__init__()
        self.ham_in = nn.Conv2d(channels, channels, 1)
        self.ham = MatrixFactorization(channels, bases, random_in_eval=random_in_eval)
        self.ham_out = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(channels, channels, 1, bias=False), norm=norm(channels))
        )

    def forward(self, x: Tensor, bases: Tensor | None = None) -> Tensor:
        return F.relu(x + self.ham_out(self.ham(F.relu(self.ham_in(x)), bases)))
