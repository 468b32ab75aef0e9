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


def require_rgb(normalization: Normalization, what: str) -> None:
    """That a network takes RGB images, for what is made for these alone.

    Raises:
        ValueError: it takes bands as they are stored; says what labels them.
    """
    if normalization.stored:
        raise ValueError(
            f"{what}: is for RGB images of 8 bits, and the network takes {len(normalization.mean)} bands as they are "
            "stored (network.in_channels, network.normalization); `segattn predict` labels GeoTIFF and .npy files"
        )


@dataclass(frozen=True)
class BandFacts:
    """What is known of the bands of a data set's images, as they are stored.

    Attributes:
        numbers: of the bands in the files, from 1, in the order in which they are read.
        kinds: the names of the types that are stored.
        mean, std: of the values of each band.
        images: that these were computed of.
    """

    numbers: tuple[int, ...]
    kinds: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: int

    def normalization(self, value_range: tuple[float, float] | None = None) -> Normalization:
        """That of a network which learns from these images.

        Args:
            value_range: the values that become 0 and 1; None for those of the type, where it is one of whole numbers
                from 0 on.

        Raises:
            ValueError: it is not stated, and the type doesn't say it.
        """
        known = value_range or (_RANGES.get(self.kinds[0]) if len(self.kinds) == 1 else None)
        if known is None:
            raise ValueError(
                f"values of type {' and '.join(self.kinds)}, of which 0 and 1 are not known: state them with "
                "--network.normalization.value_range '[0, 10000]'"
            )
        low, high = known
        return Normalization(
            mean=tuple(_rounded((mean - low) / (high - low)) for mean in self.mean),
            std=tuple(_rounded(std / (high - low)) or 1.0 for std in self.std),
            value_range=(float(low), float(high)),
        )


_RANGES: dict[str, tuple[float, float]] = {"uint8": (0, 255), "uint16": (0, 65535)}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
