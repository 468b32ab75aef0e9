"""Key names of ImageNet ResNets and ECA-Nets, and what of them may stay behind on request."""

from __future__ import annotations

import re
from collections.abc import Iterable

from segattn.weights.keymap import KeyMap

GATE_NAME = ".eca.conv.weight"
"""How the names of ECA gates end. ECA-Net's kernels grow with the stage, ACFNet's are 3 everywhere."""

_DROPPED = ((r"^fc\.", "ImageNet classifier, which segmentation does not use"),)
_ABSENT = (
    (rf"{re.escape(GATE_NAME)}$", "a plain ResNet's file has no channel-attention gates; they start as initialised"),
)

RESNET_IMAGENET = KeyMap(
    name="ResNet or ECA-Net, ImageNet (torchvision)",
    renames=((r"^(conv[123]|bn[123]|layer[1-4])\.", r"backbone.\1."),),
    dropped=_DROPPED,
    absent=_ABSENT,
)

_IN_A_ROW = ("conv1", "bn1", None, "conv2", "bn2", None, "conv3", "bn3")
"""Our names of a deep stem's layers, by their place in the sequence that other libraries make of them."""


def deep_stem_renames(prefix: str) -> tuple[tuple[str, str], ...]:
    """From names such as `conv1.0` and `conv1.4`, `prefix` being "conv1" and what stands before it, to ours."""
    places = enumerate(_IN_A_ROW)
    return tuple((rf"^{re.escape(prefix)}\.{place}\.", f"backbone.{name}.") for place, name in places if name)


DEEP_STEM_IMAGENET = KeyMap(
    name="deep-stem ResNet, ImageNet (stem conv1.0 to conv1.6)",
    renames=((r"^bn1\.", "backbone.bn3."), *deep_stem_renames("conv1"), (r"^(layer[1-4])\.", r"backbone.\1.")),
    dropped=_DROPPED,
    absent=_ABSENT,
)

V1C_IMAGENET = KeyMap(
    name="deep-stem ResNet, ImageNet (mmsegmentation's ResNetV1c)",
    renames=(*deep_stem_renames("stem"), (r"^(layer[1-4])\.", r"backbone.\1.")),
    dropped=_DROPPED,
    absent=_ABSENT,
)


def in_stem(key: str) -> bool:
    """Whether a tensor (our name) is of the stem or of what reads it, which fit no ResNet of the other stem."""
    return re.match(r"backbone\.(?:conv[123]|bn[123]|layer1\.0\.(?:conv1|bn1|downsample\.[01]))\.", key) is not None


def has_deep_stem(keys: Iterable[str]) -> bool:
    """Whether our names `keys` are of a deep-stem ResNet's backbone."""
    return "backbone.conv3.weight" in set(keys)
