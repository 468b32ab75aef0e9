"""Class centres: every pixel is told what its probable classes look like in this image.

Paper: ACFNet: Attentional Class Feature Network for Semantic Segmentation, ICCV 2019, arXiv 1909.09408 (class centre
block and class attention block). The paper's own code was never released; an unofficial implementation computes
something else under the same names and with the same layers. Both are here.

| code | paper | shape |
|---|---|---|
| features | F' | (B, C', h, w), N = h * w positions |
| coarse | logits of the coarse map; P after the softmax over classes | (B, K, h, w) |
| centers | F_class | (B, K, C') |

Sums over all positions are computed in float32 at least, also under autocast: half precision rounds or overflows them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segattn.layers import ConvNormAct, at_least_float32, without_autocast

_EPS = 1e-6  # keeps a class of no probability anywhere from dividing by zero


def class_centers(features: Tensor, coarse: Tensor) -> Tensor:
    """The class feature as in the paper.

    ``F_class[k] = sum_n P[k, n] F'[:, n] / sum_n P[k, n]``, the probability-weighted mean of the features of each
    class, and ``F_a[:, n] = sum_k P[k, n] F_class[k]``, their mixture by the same P. The paper's figure says "multiply
    and normalise"; that P is a softmax and the normalisation a division by its sum is the common reading of it.

    Args:
        features: F', (B, C', h, w).
        coarse: logits, (B, K, h, w). The gradient flows into them.

    Returns:
        F_a, (B, C', h, w).
    """
    with without_autocast(features):
        centers, P = centers_and_mix(features, coarse)
        return (centers.transpose(1, 2) @ P).to(features.dtype).view_as(features)


def centers_and_mix(features: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """What `class_centers` multiplies, in float32 at least; arguments as there.

    Returns:
        F_class (B, K, C'), a row per class, and P (B, K, N), by how much of each class's centre a pixel's feature is
        made; sums to 1 over the classes.
    """
    with without_autocast(features):
        F, p = at_least_float32(features.flatten(2)), at_least_float32(coarse.flatten(2))
        P = torch.softmax(p, dim=1)
        return P @ F.transpose(1, 2) / (P.sum(2, keepdim=True) + _EPS), P


def released_class_feature(features: Tensor, coarse: Tensor) -> Tensor:
    """The class feature as in the unofficial released code: arguments and result as `class_centers`.

    Coarse *logits* p weight both sums, and each class's vector of sums goes through a softmax over the *channels* of
    (maximum - value), as in DANet's channel attention. So there is no class centre in it. The maximum is a shift that
    the softmax itself takes out again.
    """
    with without_autocast(features):
        F, p = at_least_float32(features.flatten(2)), at_least_float32(coarse.flatten(2))
        energy = p @ F.transpose(1, 2)
        return (torch.softmax(-energy, dim=2).transpose(1, 2) @ p).to(features.dtype).view_as(features)


class ClassFeature(nn.Module):
    """The class feature of each pixel, between two 1x1 convolutions.

    As in the released code, norm, ReLU and channel dropout 0.2 follow the first convolution; the paper draws none.

    Args:
        in_channels: of the feature map F.
        channels: C'; 512 in the paper.
        aggregate: `class_centers` or `released_class_feature`; both have the same parameters.
    """

    def __init__(
        self, in_channels: int, channels: int = 512, *, aggregate: Callable[[Tensor, Tensor], Tensor] = class_centers
    ) -> None:
        super().__init__()
        self.reduce = ConvNormAct(in_channels, channels, 1)
        self.dropout = nn.Dropout2d(0.2)
        self.aggregate = aggregate
        self.project = nn.Conv2d(channels, channels, 1)
        nn.init.kaiming_normal_(self.project.weight, a=1)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        """F (B, in_channels, h, w) and coarse logits (B, K, h, w) -> (B, channels, h, w)."""
        reduced = self.dropout(self.reduce(features))
        feature: Tensor = self.project(self.aggregate(reduced, coarse))
        return feature
