"""ImageNet weights that can be downloaded by name: an explicit list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segattn.contracts import nearest
from segattn.weights.download import download


@dataclass(frozen=True)
class PretrainedFile:
    """A published file of a ResNet's weights, in torchvision's names.

    Attributes:
        url: where it is published.
        sha256: the first digits of its checksum, which its publisher made part of its name.
    """

    url: str
    sha256: str


def _torchvision(name: str) -> PretrainedFile:
    return PretrainedFile(f"https://download.pytorch.org/models/{name}.pth", name.rpartition("-")[2])


PRETRAINED: dict[str, PretrainedFile] = {
    "resnet18": _torchvision("resnet18-5c106cde"),
    "resnet34": _torchvision("resnet34-333f7ec4"),
    "resnet50": _torchvision("resnet50-19c8e357"),
    "resnet101": _torchvision("resnet101-5d3b4d8f"),
    "resnet152": _torchvision("resnet152-b121ed2d"),
    "resnet18_2021": _torchvision("resnet18-f37072fd"),
    "resnet50_2021": _torchvision("resnet50-0676ba61"),
    "resnet101_2021": _torchvision("resnet101-63fe2227"),
}
"""What recipes may name as `pretrained`. The papers started from the first five; torchvision replaced them in 2021."""


def pretrained_file(name: str) -> Path:
    """The local copy of a file of `PRETRAINED`, downloaded if it is not there yet.

    Raises:
        ValueError: an unknown name, or what arrived has another checksum.
        ConnectionError: it can't be downloaded.
    """
    if name not in PRETRAINED:
        raise ValueError(
            f"unknown pretrained weights {name!r}: expected one of {', '.join(PRETRAINED)}.{nearest(name, PRETRAINED)}"
        )
    return download(PRETRAINED[name].url, sha256=PRETRAINED[name].sha256)
