"""ACFNet's class feature in loops over classes and positions, float64: the paper's and the released code's."""

from __future__ import annotations

import numpy as np


def class_centers(features: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """(C', N) features and (K, N) logits -> (C', N)."""
    classes, n = coarse.shape
    P = np.zeros((classes, n))
    for i in range(n):
        powers = np.exp(coarse[:, i] - coarse[:, i].max())
        P[:, i] = powers / powers.sum()
    out = np.zeros(features.shape)
    for k in range(classes):
        center = np.zeros(len(features))
        for i in range(n):
            center += P[k, i] * features[:, i]
        center /= P[k].sum()
        for i in range(n):
            out[:, i] += P[k, i] * center
    return out


def released(features: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """(C', N) features and (K, N) logits -> (C', N)."""
    classes, n = coarse.shape
    out = np.zeros(features.shape)
    for k in range(classes):
        energy = np.zeros(len(features))
        for i in range(n):
            energy += coarse[k, i] * features[:, i]
        powers = np.exp((energy.max() - energy) - (energy.max() - energy.min()))
        attention = powers / powers.sum()
        for i in range(n):
            out[:, i] += attention * coarse[k, i]
    return out
