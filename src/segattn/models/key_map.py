"""Translation of released checkpoints' tensor names into ours: rules as data, and those that several papers share.

What only one paper's files have stands beside its description, in the module of its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class KeyMap:
    """The names of tensors in one family of released files.

    Attributes:
        name: for messages, e.g. "AttaNet, released".
        renames: (regular expression, replacement) pairs, applied to every key one after another; anchor them.
        dropped: (regular expression, reason) pairs for tensors that our network has no place for, matched on the
            released name.
        absent: (regular expression, reason) pairs for tensors of ours that such files may lack, matched on our name.
    """

    name: str
    renames: tuple[tuple[str, str], ...]
    dropped: tuple[tuple[str, str], ...] = ()
    absent: tuple[tuple[str, str], ...] = ()

    def translate(self, key: str) -> str:
        """Our name for a released one. Keys that no rule matches keep their name."""
        for pattern, replacement in self.renames:
            key = re.sub(pattern, replacement, key)
        return key

    def reason_to_drop(self, key: str) -> str | None:
        """Why a released tensor is left out, or None if it must find its place."""
        return next((reason for pattern, reason in self.dropped if re.search(pattern, key)), None)

    def reason_to_lack(self, key: str) -> str | None:
        """Why a file may come without our tensor `key`, or None if it must have it."""
        return next((reason for pattern, reason in self.absent if re.search(pattern, key)), None)

    def translate_all(self, keys: Iterable[str]) -> dict[str, str]:
        """{released key: our key} of everything that is not dropped."""
        return {key: self.translate(key) for key in keys if self.reason_to_drop(key) is None}


MMSEG = KeyMap(
    name="mmsegmentation (Light-Ham, HamNet, UperNet, Semantic FPN, FCN)",
    renames=(
        (r"^neck\.(\w+)\.(\d)\.conv\.", r"head.neck.\1.\2."),
        (r"^decode_head\.", "head."),
        (r"^((?:head|auxiliary_head)\..*\.)[bg]n\.", r"\1norm."),
        (r"^(head|auxiliary_head)\.conv_seg\.", r"\1.classifier.1."),
        (r"^head\.ham_(in|out)\.", r"head.hamburger.ham_\1."),
        (r"^head\.hamburger\.ham_in\.conv\.", "head.hamburger.ham_in."),
        (r"^head\.psp_modules\.(\d)\.1\.", r"head.pyramid.\1."),
        (r"^auxiliary_head\.convs\.0\.", "auxiliary_head.block."),
    ),
)
"""The released files of VAN and Agent Attention, which were trained with mmsegmentation. The backbones keep their
released names."""

GATE_NAME = ".eca.conv.weight"
"""The end of the names of ECA gates. ECA-Net's kernels grow with the stage, ACFNet's are 3 everywhere."""

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
