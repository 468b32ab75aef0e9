"""Strip attention one number at a time, from the paper's description: no matrix product, no softmax function."""

from __future__ import annotations

import math

import numpy as np


def strip_attention(x: np.ndarray, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """For one image: x (C, H, W), query and key maps (D, H, W), value map (C, H, W) -> (C, H, W)."""
    channels, height, width = x.shape
    strip_keys = [[sum(row[c] for row in plane) / height for plane in key] for c in range(width)]
    strip_values = [[sum(row[c] for row in plane) / height for plane in value] for c in range(width)]
    result = x.copy()
    for i in range(height):
        for j in range(width):
            affinity = [sum(query[d, i, j] * strip[d] for d in range(len(query))) for strip in strip_keys]
            exponentials = [math.exp(a - max(affinity)) for a in affinity]
            for c in range(channels):
                taken = sum(e * strip[c] for e, strip in zip(exponentials, strip_values, strict=True))
                result[c, i, j] += taken / sum(exponentials)
    return result
