"""Efficient channel attention: each channel's gate looks at its neighbours in channel order only.

Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", CVPR 2020, arXiv 1910.03151.
ACFNet's code puts it at the end of every bottleneck of its backbone, with kernel 3 everywhere; the ECA paper lets the
kernel grow with the number of channels (equation 12).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EfficientChannelAttention(nn.Module):
    """x * sigmoid(conv(mean(x))), the convolution running along the channel axis.

    | symbol | meaning                          | shape        |
    |--------|----------------------------------|--------------|
    | x      | feature map                      | (B, C, H, W) |
    | y      | mean of each channel             | (B, 1, C)    |
    | w      | gate of each channel, in 0..1    | (B, C, 1, 1) |

    Args:
        kernel_size: k, how many neighbouring channels a gate sees; odd.
    """

    def __init__(self, kernel_size: int = 3) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"ECA kernel size {kernel_size}: expected an odd positive number")
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = x.mean(dim=(2, 3)).unsqueeze(1)
        w = torch.sigmoid(self.conv(y)).squeeze(1)
        return x * w[:, :, None, None]
