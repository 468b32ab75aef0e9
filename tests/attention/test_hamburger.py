"""Matrix factorisation against loops over single numbers; where the bases come from; what flows back."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.attention.hamburger import EVAL_STEPS, TRAIN_STEPS, Hamburger, MatrixFactorization, factorize


def factorize_by_loops(X: list[list[float]], W: list[list[float]], steps: int) -> list[list[float]]:
    """One image: X (D, N), W (D, R) as lists, entry by entry as the algorithm is stated."""
    D, N, R = len(X), len(X[0]), len(W[0])
    C = []
    for n in range(N):
        scores = [math.exp(sum(X[d][n] * W[d][r] for d in range(D))) for r in range(R)]
        C.append([score / sum(scores) for score in scores])

    def update_coefficients() -> list[list[float]]:
        gram = [[sum(W[d][r] * W[d][s] for d in range(D)) for s in range(R)] for r in range(R)]
        return [
            [
                C[n][r]
                * sum(X[d][n] * W[d][r] for d in range(D))
                / (sum(C[n][s] * gram[s][r] for s in range(R)) + 1e-6)
                for r in range(R)
            ]
            for n in range(N)
        ]

    for _ in range(steps):
        C = update_coefficients()
        gram = [[sum(C[n][r] * C[n][s] for n in range(N)) for s in range(R)] for r in range(R)]
        W = [
            [
                W[d][r]
                * sum(X[d][n] * C[n][r] for n in range(N))
                / (sum(W[d][s] * gram[s][r] for s in range(R)) + 1e-6)
                for r in range(R)
            ]
            for d in range(D)
        ]
    C = update_coefficients()
    return [[sum(W[d][r] * C[n][r] for r in range(R)) for n in range(N)] for d in range(D)]


def unit_bases(*shape: int) -> Tensor:
    return F.normalize(torch.rand(shape, dtype=torch.float64), dim=1)


@pytest.mark.parametrize("steps", [1, 6, 7])
def test_equals_the_loops(steps: int) -> None:
    X, W = torch.rand(2, 5, 6, dtype=torch.float64), unit_bases(2, 5, 3)
    X[0, 1] = 0.0  # what a ReLU leaves
    expected = [factorize_by_loops(x.tolist(), w.tolist(), steps) for x, w in zip(X, W, strict=True)]
    torch.testing.assert_close(factorize(X, W, steps), torch.tensor(expected, dtype=torch.float64))


def test_a_matrix_of_low_rank_is_recovered() -> None:
    X = torch.rand(1, 12, 2, dtype=torch.float64) @ torch.rand(1, 2, 40, dtype=torch.float64)
    error = (factorize(X, unit_bases(1, 12, 8), 200) - X).norm() / X.norm()
    assert error < 0.01


def test_steps_in_training_and_evaluation() -> None:
    ham, x, bases = MatrixFactorization(8, 4), torch.rand(2, 8, 3, 5), unit_bases(2, 8, 4).float()
    assert (TRAIN_STEPS, EVAL_STEPS) == (6, 7)
    torch.testing.assert_close(ham.train()(x, bases), factorize(x.flatten(2), bases, 6).view(x.shape))
    torch.testing.assert_close(ham.eval()(x, bases), factorize(x.flatten(2), bases, 7).view(x.shape))


def test_fixed_bases_follow_their_rule_and_are_no_state() -> None:
    ham = MatrixFactorization(8, 4).eval()
    draw = np.random.default_rng(zlib.crc32(b"bases")).random((1, 8, 4)).astype(np.float32)
    assert torch.equal(ham.fixed, F.normalize(torch.from_numpy(draw), dim=1))
    assert not ham.state_dict()
    x = torch.rand(2, 8, 3, 5)
    assert torch.equal(ham(x), ham(x, ham.fixed))


def test_evaluation_repeats_and_a_batch_equals_its_images() -> None:
    ham, x = MatrixFactorization(16, 4).eval(), torch.rand(3, 16, 4, 5)
    assert torch.equal(ham(x), ham(x))
    torch.testing.assert_close(ham(x), torch.cat([ham(image[None]) for image in x]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("training", "random_in_eval"), [(True, False), (False, True)])
def test_random_draws_differ_by_call_and_by_image(training: bool, random_in_eval: bool) -> None:
    ham = MatrixFactorization(16, 4, random_in_eval=random_in_eval).train(training)
    x = torch.rand(1, 16, 4, 5).expand(2, -1, -1, -1)
    first, second = ham(x)
    assert (first - second).abs().max() > 1e-4
    assert (ham(x)[0] - first).abs().max() > 1e-4


def test_gradient_flows_through_every_step() -> None:
    """The derivative along a direction is that of the whole computation, not of the last update alone."""
    X, W = torch.rand(1, 5, 6, dtype=torch.float64, requires_grad=True), unit_bases(1, 5, 3)
    assert torch.autograd.gradcheck(lambda X: factorize(X, W, 6), (X,))


def test_half_precision_computes_in_single() -> None:
    ham, x = MatrixFactorization(32, 8).eval(), 30 * torch.rand(1, 32, 4, 5)
    expected = ham(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ham(x), expected)
    half = x.bfloat16()
    torch.testing.assert_close(ham(half), ham(half.float()).bfloat16())
    assert ham.bfloat16()(half).dtype == torch.bfloat16


def test_hamburger_is_a_residual_between_rectifiers() -> None:
    burger = Hamburger(8, 4, norm=nn.BatchNorm2d).eval()
    x = torch.randn(2, 8, 3, 5)
    inside = burger.ham(F.relu(F.conv2d(x, burger.ham_in.weight, burger.ham_in.bias)))
    torch.testing.assert_close(burger(x), F.relu(x + burger.ham_out(inside)))
    bases = unit_bases(2, 8, 4).float()
    assert (burger(x, bases) - burger(x)).abs().max() > 1e-6


def test_exports_and_compiles_with_dynamic_sizes() -> None:
    burger = Hamburger(8, 4, norm=nn.BatchNorm2d).eval()
    dim = torch.export.Dim
    shapes = ({0: dim("b", min=1, max=8), 2: dim("h", min=2, max=64), 3: dim("w", min=2, max=64)}, None)
    program = torch.export.export(burger, (torch.randn(2, 8, 6, 7), None), dynamic_shapes=shapes)
    compiled = torch.compile(burger, backend="eager", fullgraph=True, dynamic=True)
    for size in [(6, 7), (12, 4), (3, 30)]:
        for batch in (1, 3):
            x = torch.randn(batch, 8, *size)
            torch.testing.assert_close(program.module()(x, None), burger(x))
            torch.testing.assert_close(compiled(x), burger(x))
