"""What an idea has to show: arrays by name, and panels, which say what is drawn, in which unit and what it means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from segattn.models.segmenter import Segmenter

Array = NDArray[Any]
Pixel = tuple[int, int]
"""(y, x) in the image, from 0."""

Hook = tuple[nn.Module, Callable[[nn.Module, Any, Any], None]]
"""A module, and what is called with (module, arguments, output) after it has run; it may only read."""

Others = Callable[[Sequence[Pixel]], Iterable[Array]]
"""What a panel's values would be for other pixels, in their order."""


class Target(NamedTuple):
    """The asked pixel (y, x) of an image of height x width."""

    y: int
    x: int
    height: int
    width: int

    def cell(self, size: Sequence[int], pixel: Pixel | None = None) -> tuple[int, int]:
        """(row, column) of the cell of a map of `size` (h, w) that holds the pixel, or another one of the image."""
        (h, w), (y, x) = size, pixel or (self.y, self.x)
        return int((y + 0.5) * h / self.height), int((x + 0.5) * w / self.width)


@dataclass(frozen=True, eq=False)
class Scene:
    """What the network saw and answered.

    Attributes:
        model: in evaluation mode.
        target: the asked pixel.
        logits: (1, K, h, w), the main ones, at the head's own resolution.
        chosen: the class that the asked pixel was given.
        scores: of pixels: softmax over the classes of the logits at each, as `predict` resizes them; (pixels, K).
    """

    model: Segmenter
    target: Target
    logits: Tensor
    chosen: int
    scores: Callable[[Sequence[Pixel]], Array]


@dataclass(frozen=True, eq=False, kw_only=True)
class Panel:
    """Attributes:
    name: of the array or the file.
    title: what it is, in a few words.
    text: what a reader should know to read it, with its numbers.
    unit: of the values.
    values: what is drawn; the leaf says of which shape.
    others: for panels that depend on the asked pixel and are cheap to make for another.
    of_pixel: whether it is about the asked pixel, without `others`, and not about the whole image.
    """

    name: str
    title: str
    text: str
    unit: str
    values: Array
    others: Others | None = field(default=None, repr=False)
    of_pixel: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class MapPanel(Panel):
    """(h, w), not negative, spread over the whole image."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MapsPanel(Panel):
    """(n, h, w), not negative, each spread over the whole image and on a scale of its own; `labels` names the n."""

    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class BarsPanel(Panel):
    """(n,), a bar each for the largest; `labels` names all n."""

    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class ProfilePanel(Panel):
    """(n,), the largest first, all drawn side by side; `axis` says of what."""

    axis: str


@dataclass(frozen=True, eq=False, kw_only=True)
class MatrixPanel(Panel):
    """(n, m) with the names of its axes; `labels` names both where n = m, or is empty."""

    axes: tuple[str, str]
    labels: tuple[str, ...] = ()


class Part(NamedTuple):
    """What one idea adds to a view."""

    arrays: dict[str, Array]
    panels: list[Panel]


class Idea(ABC):
    """One idea in one network: it reads while the network runs once, then says what was looked at.

    Attributes:
        name: by which it is asked for.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def find(cls, model: Segmenter, target: Target) -> Idea | None:
        """The idea in this network, or None if it has no module of it."""

    @abstractmethod
    def hooks(self) -> list[Hook]:
        """What reads."""

    @abstractmethod
    def part(self, scene: Scene) -> Part:
        """What it saw; called once the network has run."""


def last_of(model: nn.Module, kind: type[nn.Module]) -> Any:
    """The last module of a kind, or None."""
    return next((module for module in reversed(list(model.modules())) if isinstance(module, kind)), None)


def stages(model: Segmenter, kind: type[nn.Module]) -> dict[tuple[int, int], Any]:
    """The modules of a kind in the backbone's blocks, by (stage, block in the stage), both counted from 1."""
    backbone = model.backbone
    assert isinstance(backbone, nn.Module)
    found: dict[tuple[int, int], Any] = {}
    prefixes: list[str] = []
    for path in getattr(backbone, "blocks", ()):
        prefix, _, number = path.rpartition(".")
        if prefix not in prefixes:
            prefixes.append(prefix)
        module = last_of(backbone.get_submodule(path), kind)
        if module is not None:
            found[len(prefixes), int(number) + 1] = module
    return found


def as_array(tensor: Tensor) -> Array:
    """On the CPU, in float32, with memory of its own."""
    return np.array(tensor.detach().float().cpu().numpy())


def percent(share: float) -> str:
    """With the digits that a small share needs."""
    return f"{100 * share:.1f}%" if share >= 0.001 else f"{100 * share:.1g}%"
