"""DANet's two attentions in loops over positions and channels, float64."""

from __future__ import annotations

import math

import numpy as np


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def position_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(E, N), (E, N), (C, N) -> (C, N)."""
    n = q.shape[1]
    out = np.zeros(v.shape)
    for i in range(n):
        weights = softmax([float(sum(q[e, i] * k[e, j] for e in range(len(q)))) for j in range(n)])
        for j in range(n):
            out[:, i] += weights[j] * v[:, j]
    return out


def channel_attention(f: np.ndarray) -> np.ndarray:
    """(C, N) -> (C, N), with the released code's rowmax - energy."""
    channels, n = f.shape
    out = np.zeros(f.shape)
    for a in range(channels):
        energies = [float(sum(f[a, i] * f[b, i] for i in range(n))) for b in range(channels)]
        weights = softmax([max(energies) - energy for energy in energies])
        for b in range(channels):
            out[a] += weights[b] * f[b]
    return out
