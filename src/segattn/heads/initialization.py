"""How the decoders of VAN and Agent Attention start, and the norms that they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

Norm = Callable[[int], nn.Module]
"""Makes a norm of a channel count."""

group_norm: Norm = partial(nn.GroupNorm, 32)


def initialize_convolutions(module: nn.Module) -> None:
    """Kaiming normal by fan-out for ReLU, biases zero."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)


def make_classifier(channels: int, num_classes: int) -> nn.Sequential:
    """Whole channels dropped with 0.1 in training, then 1 x 1 with bias, starting at normal(0, 0.01)."""
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return nn.Sequential(nn.Dropout2d(0.1), conv)
