"""Strip attention: every pixel looks at the columns of the map, each squeezed into one vector.

AttaNet, AAAI 2021, arXiv 2103.05930: the Strip Attention Module and the weights of the Attention Fusion Module.
Names follow the paper's figure and the usual convention: the pixels ask (query), the strips answer (key and value).
The released code calls the two the other way round: its `conv1` (query) is our `key`, its `conv2` (key) our `query`.
The paper's abstract speaks of fusion weights at each pixel; its figure and the released code, followed here, have one
weight per channel and image.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from segattn.layers import ConvNormAct, resize


def strip_weights(Q: Tensor, K: Tensor) -> Tensor:
    """Queries (B, D, n) of any pixels and keys (B, D, W) of all strips -> A (B, W, n); sums to 1 over the strips."""
    return torch.softmax(K.mT @ Q, dim=1)


class StripAttention(nn.Module):
    """x + V softmax(K^T Q), with K and V averaged over the height: cost H W W instead of (H W)^2.

    | symbol | meaning                                              | shape        |
    |--------|------------------------------------------------------|--------------|
    | x      | feature map                                          | (B, C, H, W) |
    | Q      | query of each pixel                                  | (B, D, H W)  |
    | K      | key of each strip: a column, averaged                | (B, D, W)    |
    | V      | value of each strip                                  | (B, C, W)    |
    | A      | softmax over the strips, for each pixel; not scaled  | (B, W, H W)  |

    Args:
        channels: C.
        key_channels: D.
    """

    def __init__(self, channels: int, key_channels: int = 64) -> None:
        super().__init__()
        self.query = ConvNormAct(channels, key_channels, 1)
        self.key = ConvNormAct(channels, key_channels, 1)
        self.value = ConvNormAct(channels, channels, 1)

    def attention(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> A (B, W, H W): how much each pixel takes from each strip; sums to 1 over the strips."""
        Q: Tensor = self.query(x).flatten(2)
        K: Tensor = self.key(x).mean(dim=2)
        return strip_weights(Q, K)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        V: Tensor = self.value(x).mean(dim=2)
        A = self.attention(x)
        return x + (V @ A).view_as(x)


class AttentionFusion(nn.Module):
    """The share of a coarse map, channel by channel, in its sum with a fine one: w; the fine one gets 1 - w.

    | symbol | meaning                                  | shape              |
    |--------|------------------------------------------|--------------------|
    | fine   | map of the higher resolution             | (B, C_f, H, W)     |
    | coarse | map of the lower resolution              | (B, C_c, h, w)     |
    | z      | mean of the mixed maps over the pixels   | (B, C, 1, 1)       |
    | w      | sigmoid(norm(conv(z)))                   | (B, C, 1, 1), 0..1 |

    In training the norm needs more than one image: there is a single value per channel and image.

    Args:
        fine_channels, coarse_channels: C_f, C_c.
        channels: C; 128 as on ResNet-18.
        kernel_size: of the convolution that mixes the two maps: 1 on ResNet-18, 3 in the light network.
    """

    conv_norm_pairs: ClassVar = (("gate", "norm"),)

    def __init__(self, fine_channels: int, coarse_channels: int, channels: int = 128, kernel_size: int = 1) -> None:
        super().__init__()
        self.mix = ConvNormAct(fine_channels + coarse_channels, channels, kernel_size)
        self.gate = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.gate.weight, a=1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(B, C_f, H, W), (B, C_c, h, w) -> w (B, C, 1, 1)."""
        coarse = resize(coarse, fine.shape[-2:], "nearest")
        z = self.mix(torch.cat((fine, coarse), dim=1)).mean(dim=(2, 3), keepdim=True)
        return torch.sigmoid(self.norm(self.gate(z)))
