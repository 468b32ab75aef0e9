"""Scoring protocols as data: what the network sees of an image and how its answers become one score map.

A `Protocol` is composed of a size rule, windows, and a way to combine views; the papers' own are the named constants at
the end. `inference.py` carries them out (`score_array.py` those that look once, for exported files without torch), and
nothing else in the package resizes, slides, mirrors or averages for a score. Labels are never resized: score maps are
brought to the image's own size. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segattn.contracts import FACTOR, check, nearest
from segattn.evaluation.geometry import (
    FitInside,
    FixedSize,
    LongSide,
    NativeSize,
    OverhangingWindows,
    Pad,
    ShiftedWindows,
)


@dataclass(frozen=True, kw_only=True)
class MeanLogits:
    """Logits, averaged where windows overlap and over scales and mirror images. Mirrors the whole input."""


@dataclass(frozen=True, kw_only=True)
class MeanProbabilities:
    """Logits averaged where windows overlap; then their softmax at the image's size, averaged over the views.

    Views are scales and mirror images of the whole input.
    """


@dataclass(frozen=True, kw_only=True)
class ExpOfSummedLogits:
    """DANet: e to the sum of a window's and its mirror image's logits, averaged over windows, summed over scales.

    There is no normalisation, so windows and scales with large logits weigh more.
    """


@dataclass(frozen=True, kw_only=True)
class ExpOfSummedProbabilities:
    """AttaNet: e to the sum of a window's and its mirror image's probabilities, summed over windows and scales.

    Overlapping windows are not averaged, so pixels covered twice weigh more once scales are summed.
    """


MEANS = (MeanLogits, MeanProbabilities)
"""Combinations in which a mirror image is a view of its own; elsewhere a window and its mirror image make one score."""

Meaning = Literal["logits", "probabilities", "neither"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One complete way to score.

    Attributes:
        resize: the size at which the network sees the image, at each scale.
        scales: one view (two with `flip`) for each.
        flip: use mirror images too.
        windows: cut the input into windows; None for the whole input at once.
        combine: how windows, mirror images and scales become one score map.
        outputs: the maps that are added: "main", or auxiliary outputs by name.
        absent: how a class that is neither in the labels nor in the predictions of the whole set enters the mean IoU:
            left out, as 0, or as NaN, which makes the mean NaN. Likewise a class without labels in the mean accuracy.
            A class that is predicted but not in the labels has IoU 0 in every case.
    """

    resize: NativeSize | FixedSize | LongSide | FitInside = NativeSize()
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    windows: ShiftedWindows | OverhangingWindows | None = None
    combine: MeanLogits | MeanProbabilities | ExpOfSummedLogits | ExpOfSummedProbabilities = MeanLogits()
    outputs: tuple[str, ...] = ("main",)
    absent: Literal["left out", "zero", "nan"] = "left out"

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError("scales (): expected at least one, all above 0")
        check(self, scales=FACTOR)
        if not self.outputs:
            raise ValueError('outputs (): expected at least one, such as "main"')

    @property
    def views(self) -> int:
        """The number of times that the network sees each part of an image."""
        return len(self.scales) * (2 if self.flip else 1)

    def describe(self) -> str:
        """The name where it is one of `PROTOCOLS`, and the settings in words."""
        words = [_RESIZE_WORDS[type(self.resize)].format(self.resize)]
        if isinstance(self.resize, FitInside) and self.resize.divisor:
            words.append(f"sides rounded up to multiples of {self.resize.divisor}")
        if self.windows is None:
            words.append("no windows")
        else:
            words.append(f"windows of {self.windows.crop} every {self.windows.stride}")
        words.append("scale" + ("s" if len(self.scales) > 1 else "") + " " + " ".join(f"{s:g}" for s in self.scales))
        words.append("flip" if self.flip else "no flip")
        if self.views > 1 or self.windows:
            words.append(_COMBINE_WORDS[type(self.combine)])
        words.append(" + ".join(self.outputs) + (" logits" if len(self.outputs) > 1 else " output"))
        words.append(f"absent classes {self.absent if self.absent == 'left out' else 'count as ' + self.absent}")
        name = next((name for name, known in PROTOCOLS.items() if known == self), "custom")
        return f"{name}: {', '.join(words)}"


_RESIZE_WORDS = {
    NativeSize: "own size",
    FixedSize: "{0.height}x{0.width}",
    LongSide: "long side {0.pixels}",
    FitInside: "fit inside {0.long}x{0.short}",
}
_COMBINE_WORDS = {
    MeanLogits: "mean of logits",
    MeanProbabilities: "mean of probabilities",
    ExpOfSummedLogits: "exp of summed logits",
    ExpOfSummedProbabilities: "exp of summed probabilities",
}

WHOLE = Protocol()
"""The whole image at its own size, once: the default."""

WHOLE_512X1024 = Protocol(resize=FixedSize(height=512, width=1024))
"""AttaNet's real-time setting (arXiv 2103.05930): seen at 512x1024, scored at full size; its script is unpublished."""

SLIDE_512 = Protocol(windows=ShiftedWindows(crop=512, stride=341))
SLIDE_768 = Protocol(windows=ShiftedWindows(crop=768, stride=512))
SLIDE_1024 = Protocol(windows=ShiftedWindows(crop=1024, stride=683))
"""Plain sliding windows at two thirds of their side, logits averaged; images below the window are seen whole."""

ATTANET_SLIDE = Protocol(
    flip=True,
    windows=ShiftedWindows(crop=1024, stride=854, pad=Pad(value="zero", place="around")),
    combine=ExpOfSummedProbabilities(),
    absent="nan",
)
"""AttaNet's released evaluation script."""

_BLACK = Pad(value="black", place="end")

DANET_SINGLE = Protocol(
    resize=LongSide(pixels=2048),
    flip=True,
    windows=OverhangingWindows(crop=768, stride=512, pad=_BLACK),
    combine=ExpOfSummedLogits(),
    absent="zero",
)
"""DANet (arXiv 1809.02983) on Cityscapes, "single scale" (which mirrors too); released script of 2018."""

DANET_MULTI_2018 = Protocol(
    resize=LongSide(pixels=2048),
    scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.2),
    flip=True,
    windows=OverhangingWindows(crop=1024, stride=512, pad=_BLACK),
    combine=ExpOfSummedLogits(),
    absent="zero",
)
"""DANet on Cityscapes: the released script of 2018, behind the 81.5.

The paper says six scales (0.75 to 2) and averaged probability maps."""

DANET_MULTI = Protocol(
    resize=LongSide(pixels=520),
    scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    flip=True,
    windows=OverhangingWindows(crop=480, stride=320, pad=_BLACK),
    combine=ExpOfSummedLogits(),
    absent="zero",
)
"""DANet's current code on PASCAL Context and COCO-Stuff, whose training sizes there are base 520 and crop 480."""

DANET_MULTI_576 = Protocol(
    resize=LongSide(pixels=608),
    scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.2),
    flip=True,
    windows=OverhangingWindows(crop=576, stride=288, pad=_BLACK),
    combine=ExpOfSummedLogits(),
    absent="zero",
)
"""DANet's code of 2018 on PASCAL Context and COCO-Stuff: its default sizes, and its script's scales and steps."""

ACFNET_SLIDE = Protocol(
    windows=ShiftedWindows(crop=769, stride=513, pad=Pad(value="zero", place="end")),
    outputs=("main", "coarse"),
    absent="zero",
)
"""ACFNet (arXiv 1909.09408) on Cityscapes: the released script's setting, each image scored by its own prediction.

The script writes the prediction of a batch's first image for all of the batch; that is not copied."""

ACFNET_MULTI = Protocol(
    scales=(0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    flip=True,
    windows=ShiftedWindows(crop=769, stride=513, pad=Pad(value="zero", place="end")),
    outputs=("main", "coarse"),
    absent="zero",
)
"""ACFNet with scales and mirror images. The paper doesn't list its scales: these are a choice of ours.

Two mistakes of the released code are not copied: it turns the mirrored prediction upside down instead of mirroring it
back, and it fails at scales other than 1 because scores are not resized to the image."""

MMSEG_WHOLE = Protocol(resize=FitInside(long=2048, short=512), combine=MeanProbabilities())
"""ADE20K single scale: Agent Attention, and VAN with HamNet."""

MMSEG_WHOLE_32 = Protocol(resize=FitInside(long=2048, short=512, divisor=32), combine=MeanProbabilities())
"""ADE20K single scale with sides stretched up to multiples of 32: VAN with Light-Ham, UperNet and Semantic FPN."""

_ADE_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)

MMSEG_MULTI = Protocol(resize=FitInside(long=2048, short=512), scales=_ADE_SCALES, combine=MeanProbabilities())
"""`MMSEG_MULTI_FLIP` without mirror images: for scores that don't say whether they have them."""

MMSEG_MULTI_32 = Protocol(
    resize=FitInside(long=2048, short=512, divisor=32), scales=_ADE_SCALES, combine=MeanProbabilities()
)
"""`MMSEG_MULTI_FLIP_32` without mirror images."""

MMSEG_CITYSCAPES = Protocol(resize=FitInside(long=2048, short=1024), combine=MeanProbabilities())
"""mmsegmentation on Cityscapes, trained on crops of 512x1024: the whole image at its own size."""

_SLIDE_769 = ShiftedWindows(crop=769, stride=513)

MMSEG_SLIDE_769 = Protocol(resize=FitInside(long=2049, short=1025), windows=_SLIDE_769, combine=MeanProbabilities())
"""mmsegmentation on Cityscapes, trained on crops of 769x769 with corners aligned."""

MMSEG_SLIDE_769_MULTI_FLIP = Protocol(
    resize=FitInside(long=2049, short=1025),
    scales=_ADE_SCALES,
    flip=True,
    windows=_SLIDE_769,
    combine=MeanProbabilities(),
)
"""The same with six scales and mirror images."""

MMSEG_MULTI_FLIP = Protocol(
    resize=FitInside(long=2048, short=512), scales=_ADE_SCALES, flip=True, combine=MeanProbabilities()
)
"""ADE20K with six scales and mirror images, probabilities averaged."""

MMSEG_MULTI_FLIP_32 = Protocol(
    resize=FitInside(long=2048, short=512, divisor=32), scales=_ADE_SCALES, flip=True, combine=MeanProbabilities()
)
"""The same with sides stretched up to multiples of 32: VAN's multi-scale rows."""

MULTI_FLIP = Protocol(scales=_ADE_SCALES, flip=True, combine=MeanProbabilities())
"""Any data set: six scales of the image's own size and mirror images, probabilities averaged."""

ENLARGED_FLIP = Protocol(scales=(1.0, 1.5, 2.0), flip=True, combine=MeanProbabilities())
"""Small images, such as CamVid's: own size and two larger ones, and mirror images, probabilities averaged."""

PROTOCOLS: dict[str, Protocol] = {
    "whole": WHOLE,
    "whole_512x1024": WHOLE_512X1024,
    "slide_512": SLIDE_512,
    "slide_768": SLIDE_768,
    "slide_1024": SLIDE_1024,
    "multi_flip": MULTI_FLIP,
    "enlarged_flip": ENLARGED_FLIP,
    "attanet_slide": ATTANET_SLIDE,
    "danet_single": DANET_SINGLE,
    "danet_multi_2018": DANET_MULTI_2018,
    "danet_multi": DANET_MULTI,
    "danet_multi_576": DANET_MULTI_576,
    "acfnet_slide": ACFNET_SLIDE,
    "acfnet_multi": ACFNET_MULTI,
    "mmseg_whole": MMSEG_WHOLE,
    "mmseg_whole_32": MMSEG_WHOLE_32,
    "mmseg_multi_flip": MMSEG_MULTI_FLIP,
    "mmseg_multi_flip_32": MMSEG_MULTI_FLIP_32,
    "mmseg_multi": MMSEG_MULTI,
    "mmseg_multi_32": MMSEG_MULTI_32,
    "mmseg_cityscapes": MMSEG_CITYSCAPES,
    "mmseg_slide_769": MMSEG_SLIDE_769,
    "mmseg_slide_769_multi_flip": MMSEG_SLIDE_769_MULTI_FLIP,
}


def protocol(name: str) -> Protocol:
    """One of `PROTOCOLS` by name.

    Raises:
        ValueError: an unknown name; the nearest ones are offered.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}.{nearest(name, PROTOCOLS)} Known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def meaning_of(protocol: Protocol) -> Meaning:
    """What the scores of a `score_map` by this protocol are."""
    if not isinstance(protocol.combine, MEANS):
        return "neither"
    return "probabilities" if protocol.views > 1 and isinstance(protocol.combine, MeanProbabilities) else "logits"


def require_probabilities(meaning: Meaning) -> None:
    """Raises ValueError where scores say nothing of how probable a class is."""
    if meaning == "neither":
        raise ValueError(
            "the protocol adds up exponentials, which are no probabilities, so there is no confidence; take one that "
            "averages logits or probabilities, such as whole or multi_flip"
        )
