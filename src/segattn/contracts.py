"""The types that cross folders: everything else is private to the folder that defines it.

Shapes: B images, H x W pixels of the network input, h x w cells of a feature map, C channels, K classes.
This module imports no torch at run time, so that recipes, protocols and data sets stay quick to import.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from math import inf
from pathlib import Path
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast, get_args, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Features = tuple[Tensor, ...]

IGNORE = 255
"""The training id of pixels that neither train nor score, in every mask inside the package."""


def counted(number: int, what: str, many: str = "") -> str:
    """A number of things in words: counted(1, "image") is "1 image", counted(2, "image") "2 images"."""
    return f"{number} {what if number == 1 else many or what + 's'}"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, the ends included unless they are open; never NaN or infinite."""

    low: float
    high: float
    words: str
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low < value if self.low_open else self.low <= value
        below = value < self.high if self.high_open else value <= self.high
        return above and below


POSITIVE = Range(0, inf, "a positive number below infinity", low_open=True, high_open=True)
ABOVE_ZERO = Range(0, inf, "a number above 0", low_open=True, high_open=True)
NOT_NEGATIVE = Range(0, inf, "a finite number, 0 or more", high_open=True)
FINITE = Range(-inf, inf, "a finite number", low_open=True, high_open=True)
FRACTION = Range(0, 1, "0 to 1")
BELOW_ONE = Range(0, 1, "0 or more and below 1", high_open=True)
ABOVE_ZERO_TO_ONE = Range(0, 1, "a number above 0, at most 1", low_open=True)
FACTOR = Range(0, 100, "above 0, at most 100", low_open=True)
COUNT = Range(1, 2**63 - 1, "1 or more, below 2^63")
COUNT_OR_NONE = Range(0, 2**63 - 1, "0 or more, below 2^63")
PIXELS = Range(1, 32768, "1 to 32768 pixels")
CHANNELS = Range(1, 16384, "1 to 16384")
BYTE = Range(0, 255, "0 to 255")
TEMPERATURE = Range(0.01, 100, "0.01 to 100")


def check(owner: Any, **ranges: Range) -> None:
    """That fields of a description lie in their ranges; None, and each number of a tuple for itself.

    Raises:
        ValueError: naming the field, what it holds and what was expected.
    """
    for name, expected in ranges.items():
        value = getattr(owner, name)
        if value is None:
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if number not in expected:
                each = " each" if isinstance(value, tuple) else ""
                raise ValueError(f"{name} {shown(value)}: expected {expected.words}{each}")


def check_size(owner: Any) -> None:
    """That `height` and `width` of a description are in `PIXELS`.

    Raises:
        ValueError: naming both, and what was expected.
    """
    sides = (owner.height, owner.width)
    if any(side not in PIXELS for side in sides):
        height, width = map(shown, sides)
        raise ValueError(f"size {height}x{width} (height x width): expected {PIXELS.words} a side")


AlignCorners = Literal["corners", "edges", "grid"]
"""The place of a coarse map's cells on the image that it is resized to.

"corners": the centres of the corner cells lie on those of the corner pixels (PyTorch's ``align_corners=True``).
"edges": the outer edges of both coincide, so that each cell covers its share of the image, as in most libraries
(PyTorch's ``align_corners=False``, also called half-pixel centres). "grid": cell i lies on pixel i * stride, where
strided convolutions with centred padding compute it, and beyond the last cell's pixel that cell is repeated. "corners"
is the same as "grid" on sides that are multiples of the stride plus 1; on others it puts scores up to stride - 1 pixels
beside what they come from.
"""


def align_corners_in_words(value: object) -> AlignCorners:
    """The word of `AlignCorners`; PyTorch's True and False, which older recipes and checkpoints hold, become theirs.

    Raises:
        ValueError: `value` is neither.
    """
    if value is True or value is False:
        return "corners" if value else "edges"
    if value not in get_args(AlignCorners):
        words = ", ".join(map(repr, get_args(AlignCorners)))
        raise ValueError(f"align_corners: found {shown(value)}, expected one of {words}")
    return cast(AlignCorners, value)


class SegOutput(NamedTuple):
    """A head's output, at the head's own resolution.

    Attributes:
        logits: (B, K, h, w), the scores that a prediction is made from.
        auxiliary: further maps that only losses and some protocols read, by name; each (B, K, h', w').
    """

    logits: Tensor
    auxiliary: dict[str, Tensor]


class Description(Protocol):
    """A network as data (`segattn.models.networks`)."""

    def build(self, num_classes: int) -> Any:
        """An `nn.Module` that is a `SegmentationModel`, with random weights, in training mode."""
        ...

    def __hash__(self) -> int: ...


class Backbone(Protocol):
    """Image to feature maps, fine to coarse.

    Attributes:
        channels: of each returned map.
        strides: nominal input pixels per cell of each returned map (sizes round up or down as the paper's code does).
        blocks: the paths of its blocks, modules of one tensor to one, in the order in which data flows. Layer decay,
            activation checkpointing and sharding go by them.

    It may also have `block_of`, a mapping from paths of modules and parameters outside the blocks to the block beside
    which they learn, where the order in which they were registered does not say it (see `training/blocks.py`).
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    blocks: tuple[str, ...]

    def __call__(self, x: Tensor) -> Features:
        """(B, C, H, W) normalised, mostly C = 3 -> one (B, channels[i], ~H/strides[i], ~W/strides[i]) map per stage."""
        ...


class Head(Protocol):
    """Feature maps to logits. It never sees labels and never resizes to the image.

    It may also have `tail`, the path of a module in it and a number of cells: what follows from that module's input on,
    a map of the logits' size, gives in evaluation the same logit if that input is cut to the cells that lie no further
    from the logit's own, in rows and in columns. A single logit then costs little more than what comes before.
    """

    def __call__(self, features: Features) -> SegOutput:
        """All maps, as losses need them."""
        ...

    def main(self, features: Features) -> Tensor:
        """The main logits alone, (B, K, h, w): equal to ``self(features).logits`` without the auxiliary work."""
        ...


class SegmentationModel(Protocol):
    """The interface that scoring, prediction and export need. `segattn.models.segmenter.Segmenter` has it."""

    align_corners: AlignCorners
    """The way in which this model's logits are resized to the input's size."""

    def normalize(self, images: Tensor) -> Tensor:
        """RGB (B, 3, H, W), uint8 0..255 or float 0..1 -> the network's input, float."""
        ...

    def segment(self, x: Tensor) -> SegOutput:
        """Normalised (B, 3, H, W) -> all outputs at the heads' own resolution."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """Normalised (B, 3, H, W) -> the main logits alone, at the head's own resolution."""
        ...


def require_model(model: object) -> None:
    """That something has the methods of a `SegmentationModel`.

    Raises:
        ValueError: it has not, as a plain `nn.Module`; says what to do.
    """
    if not callable(getattr(model, "normalize", None)):
        raise ValueError(
            f"{type(model).__name__} is not a model of this package: it has no `normalize`. Any module that gives"
            " logits can be put into one with segattn.wrap(module, classes=...)"
        )


@dataclass(frozen=True)
class Classes:
    """The label space of a data set, in the order of the training ids.

    Attributes:
        names: one per training id 0..K-1.
        palette: RGB 0..255, one per training id.
        file_ids: what label files and test servers write for each training id; None where that is the training id, -1
            for a class that no id of the files stands for.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    file_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for what in ("palette", "file_ids"):
            values = getattr(self, what)
            if values is not None and len(values) != len(self.names):
                raise ValueError(f"{len(self.names)} class names but {len(values)} entries in {what}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def named(self) -> bool:
        """Whether they have names of their own, not those that `numbered` makes up."""
        return self.names != Classes.numbered(len(self)).names

    @classmethod
    def of(cls, given: Classes | Sequence[str] | int) -> Classes:
        """Classes of these names, or of this number, in colours of their own; `Classes` as they are.

        Raises:
            ValueError: none or more than 254, a name twice, or something else.
        """
        if isinstance(given, Classes):
            return given
        if isinstance(given, int) and 1 <= given <= 254:
            return cls.numbered(given)
        names = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
        texts = {name for name in names if isinstance(name, str)}
        if not 1 <= len(texts) <= 254 or len(texts) < len(names):
            raise ValueError(
                f"classes {shown(given)}: expected segattn.Classes, 1 to 254 different names, or how many there are"
            )
        return cls(names, cls.numbered(len(names)).palette)

    @classmethod
    def numbered(cls, count: int) -> Classes:
        """`count` classes that nobody has named, in colours a golden-ratio step of hue apart."""

        def colour(index: int) -> tuple[int, int, int]:
            red, green, blue = hsv_to_rgb(index * 0.618034 % 1.0, 0.65, 0.95)
            return round(255 * red), round(255 * green), round(255 * blue)

        return cls(tuple(f"class {i}" for i in range(count)), tuple(colour(i) for i in range(count)))


def class_difference(own: Classes, other: Classes, of: str) -> str | None:
    """In words, how classes differ from those `of` something else, by name and order; None if they are the same.

    Where one of the two is unnamed, only their numbers are compared.
    """
    if own.names == other.names or (len(own) == len(other) and not (own.named and other.named)):
        return None
    some, others = (cut(", ".join(c.names[:3])) + (", ..." if len(c) > 3 else "") for c in (own, other))
    text = f"its {len(own)} classes ({some}) are not the {len(other)} of {of} ({others})"
    first = next((i for i, pair in enumerate(zip(own.names, other.names, strict=False)) if pair[0] != pair[1]), None)
    if len(own) == len(other) and first is not None and first >= 3:
        text += f": class {first} is {cut(own.names[first])} here and {cut(other.names[first])} there"
    return text


def require_same_classes(owner: object, own: Classes, data: Classes) -> None:
    """That what a model's outputs mean is what the ids of a data set's masks mean (`class_difference`).

    Args:
        owner: the model's file, or another name for it, for the error.

    Raises:
        ValueError: naming both.
    """
    difference = class_difference(own, data, "the data set")
    if difference is not None:
        same = "; they are the same in another order, in which --map-classes puts the model's outputs"
        raise ValueError(f"{owner}: {difference}{same if sorted(own.names) == sorted(data.names) else ''}")


@dataclass(frozen=True, repr=False)
class Sample:
    """One image with its truth.

    Attributes:
        image: (H, W, 3) uint8, RGB; or bands (H, W, C) as they are stored, uint8, uint16 or float32.
        mask: (H, W) uint8 training ids, `IGNORE` where nothing is labelled; None for images without truth.
        name: unique in its data set, without extension; predictions are named after it.
        image_path: the file it was read from.
    """

    image: np.ndarray
    mask: np.ndarray | None
    name: str
    image_path: Path

    def __repr__(self) -> str:
        mask = None if self.mask is None else self.mask.shape
        return f"Sample(name={self.name!r}, image={self.image.shape}, mask={mask}, image_path={str(self.image_path)!r})"


@runtime_checkable
class SegmentationDataset(Protocol):
    """A split of a data set: an ordered sequence of samples and the classes of their masks."""

    classes: Classes

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def require_dataset(data: object) -> None:
    """That something is a data set with the classes of its masks.

    Raises:
        ValueError: it is not, as a path or a list of pairs; says what to do.
    """
    if not isinstance(getattr(data, "classes", None), Classes):
        raise ValueError(
            f"{shown(data) if isinstance(data, str) else type(data).__name__} is not a data set of this package:"
            " segattn.FolderDataset(folder, split) opens a folder, and segattn.as_dataset(items, classes=...) takes"
            " pairs of images and masks"
        )


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """The end of an error message for an unknown name: ' Did you mean a, b?', or '' when nothing is close.

    Close is what `word` begins (three letters or more), what has the same letters in another order, or what shares two
    thirds of both words' letters in order: of single typos in our names that finds 99.9 %, while 4.5 % of words that
    mean something else get a suggestion (14 % at one half).
    """
    from difflib import SequenceMatcher

    def plain(name: str) -> str:
        return name.strip("-").replace("-", "_").lower()

    wanted = plain(word[:_LONGEST])
    matcher = SequenceMatcher(b=wanted)
    close: list[tuple[float, str]] = []
    for name in known:
        candidate = plain(name)
        if len(name) > _LONGEST or not candidate:
            continue
        matcher.set_seq1(candidate)
        if sorted(candidate) == sorted(wanted):
            close.append((1.0, name))
        elif matcher.real_quick_ratio() >= _CLOSE and (ratio := matcher.ratio()) >= _CLOSE:
            close.append((ratio, name))
        elif len(wanted) >= _BEGINNING and candidate.startswith(wanted):
            close.append((0.0, name))
    close.sort(key=lambda found: -found[0])
    return f" Did you mean {', '.join(name for _, name in close[:count])}?" if close else ""


def shown(value: object) -> str:
    """The `repr` of what was found, for an error message: of bounded length, and made in bounded time."""
    return cut(_REPR.repr(value))


def cut(text: str) -> str:
    """The beginning of a text that may be long, for an error message: one line of printable letters."""
    text = " ".join(text[: 4 * _LONGEST].split()) if len(text) > _LONGEST else text
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _bounded_repr() -> Repr:
    bounded = Repr()
    bounded.maxlevel, bounded.maxlist, bounded.maxtuple, bounded.maxdict = 4, 8, 8, 8
    bounded.maxstring = bounded.maxlong = bounded.maxother = _LONGEST
    return bounded


_LONGEST = 120
_CLOSE, _BEGINNING = 0.66, 3
_REPR = _bounded_repr()
