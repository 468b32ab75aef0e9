"""What is known of an image's channels: how many there are, and how their values become a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from segattn.contracts import FINITE, POSITIVE, Range, check, shown

_CHANNELS = Range(1, 512, "1 to 512")
"""OpenCV's images have no more."""


@dataclass(frozen=True)
class Normalization:
    """The normalisation of an image's values to the network's input: ``(value - mean) / std`` per channel.

    Attributes:
        mean, std: one a channel, RGB order where these are red, green and blue, for values in 0..1.
        bgr: hand the channels to the network in the order blue, green, red.
        value_range: the stored values that are 0 and 1, whatever their type, as (0, 10000) for reflectances of
            Sentinel-2; values beyond it become numbers below 0 or above 1. None: the type says it, 0..255 for uint8,
            0..65535 for uint16, and floats are 0..1 as they are.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    bgr: bool = False
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check(self, mean=FINITE, std=POSITIVE, value_range=FINITE)
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"std has {len(self.std)} entries and mean {len(self.mean)}: expected one each a channel")
        if self.bgr and len(self.mean) != 3:
            raise ValueError(f"bgr true with {len(self.mean)} channels: only red, green and blue have that other order")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range {shown(self.value_range)}: expected two numbers, the first the smaller")

    @property
    def stored(self) -> bool:
        """Whether images are taken as they are stored: other than three channels, or of a stated range of values.

        All others are RGB of 8 bits, which files of any kind are made.
        """
        return len(self.mean) != 3 or self.value_range is not None


def require_entries(normalization: Normalization, in_channels: int) -> None:
    """That there are a mean and a deviation for each channel.

    Raises:
        ValueError: naming both, and what to do.
    """
    if in_channels not in _CHANNELS:
        raise ValueError(f"in_channels {shown(in_channels)}: expected {_CHANNELS.words}")
    if len(normalization.mean) != in_channels:
        raise ValueError(
            f"in_channels {in_channels}: normalization.mean and std have {len(normalization.mean)} entries, expected "
            f"{in_channels}; `segattn data stats` prints those of a folder with bands"
        )


def check_channels(network: Any) -> None:
    """`require_entries` of a description with `in_channels` and `normalization`; errors as there."""
    require_entries(network.normalization, network.in_channels)
