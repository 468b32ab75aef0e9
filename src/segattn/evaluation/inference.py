"""One image through a model, as a protocol says. Pure functions; `protocol.py` says what the parts mean.

Shapes: H x W pixels of the image, h x w of the network's input, K classes. All scores are float32.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segattn.contracts import AlignCorners, SegmentationModel, nearest
from segattn.evaluation.argmax import Step
from segattn.evaluation.geometry import FitInside, Pad, Size
from segattn.evaluation.protocol import (
    MEANS,
    WHOLE,
    ExpOfSummedProbabilities,
    Meaning,
    MeanProbabilities,
    Protocol,
    meaning_of,
)
from segattn.evaluation.rows import Held, Placed, Resized, Rows, Sum, Windows, exponential, mirrored, softmax
from segattn.evaluation.score_map import CoarseMap, RowMap, ScoreMap
from segattn.layers import resize

Image = NDArray[Any]
_TOO_SMALL = (
    "kernel size can't be greater",
    "output size is too small",
    "should be greater than 0",
    "padding size should be",
)
"""Torch's messages about maps that are smaller than a kernel or a window."""


@torch.inference_mode()
def predict_scores(
    model: SegmentationModel,
    image: Image,
    protocol: Protocol = WHOLE,
    *,
    size: Size | None = None,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
) -> Tensor:
    """The score of each class at each pixel.

    Args:
        model: in evaluation mode.
        image: (H, W, 3) RGB, uint8 0..255 or float 0..1; or (H, W, C) as the model's `normalize` takes them.
        protocol: how to look; what a score is (a logit, a probability, an exponential) is said by its `combine`.
        size: (height, width) to which the image's scores are resized at last, bilinearly; None for the image's own.
        device: where the model is; None asks its parameters.
        autocast: precision of the network's products; None for float32. Everything around the network is float32.

    Returns:
        (K, H, W), or (K, *size), float32 on the device.

    Raises:
        ValueError: an image of another shape or type, a size that the network can't take, or an output that the model
            doesn't have.
    """
    look = _Look(model, protocol, _device(model, device), autocast)
    return look.several(image, size or _checked_size(image), _said(protocol)).scores()


@torch.inference_mode()
def predict_labels(
    model: SegmentationModel,
    image: Image,
    protocol: Protocol = WHOLE,
    *,
    size: Size | None = None,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
) -> Tensor:
    """The class with the largest score at each pixel: (H, W), or `size`, uint8 on the device.

    The same as ``predict_scores(...).argmax(0)``, to float rounding where two classes tie. The scores of the whole
    image are never held, and of a single view no softmax is taken. Arguments and errors as there.
    """
    return score_map(model, image, protocol, size=size, device=device, autocast=autocast).labels()


@torch.inference_mode()
def score_map(
    model: SegmentationModel,
    image: Image,
    protocol: Protocol = WHOLE,
    *,
    size: Size | None = None,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
) -> ScoreMap:
    """What a network says of one image, its last resize still to be done; arguments and errors as `predict_scores`.

    With a single view the scores are logits, before any softmax; with several, what the protocol makes of them.
    """
    own = _checked_size(image)
    look = _Look(model, protocol, _device(model, device), autocast)
    if protocol.views > 1 or protocol.windows is not None or not isinstance(protocol.combine, MEANS):
        return look.several(image, size or own, meaning_of(protocol))
    (x,) = look.views(image)
    return look.single(look.coarse(x), (x.shape[-2], x.shape[-1]), own, size or own)


@torch.inference_mode()
def score_maps(
    model: SegmentationModel,
    images: Sequence[Image],
    protocol: Protocol = WHOLE,
    *,
    size: Size | None = None,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
) -> list[ScoreMap]:
    """`score_map` of each of several images of one size, to float rounding.

    They go through the network together where the protocol has a single view and no windows, else one by one.
    """
    together = protocol.views == 1 and protocol.windows is None and isinstance(protocol.combine, MEANS)
    if len(images) == 1 or not together:
        return [score_map(model, image, protocol, size=size, device=device, autocast=autocast) for image in images]
    own = _checked_size(images[0])
    look = _Look(model, protocol, _device(model, device), autocast)
    x = torch.cat([view for image in images for view in look.views(image)])
    stops = (x.shape[-2], x.shape[-1]), own, size or own
    return [look.single(maps, *stops) for maps in torch.split(look.coarse(x), 1)]


def single_input(model: SegmentationModel, image: Image, protocol: Protocol = WHOLE) -> Tensor:
    """The one input (1, 3, h, w) that the network sees of an image, where the protocol gives it no more than one.

    Raises:
        ValueError: an image of another shape or type, or a protocol with windows, several scales, mirror images or
            outputs added up.
    """
    _checked_size(image)
    once = protocol.views == 1 and protocol.windows is None and protocol.outputs == ("main",)
    if not once or not isinstance(protocol.combine, MEANS):
        raise ValueError(
            f"protocol {protocol.describe().partition(':')[0]}: looks more than once, and only a single look at the "
            "whole image can be followed; give one such as whole"
        )
    (x,) = _Look(model, protocol, _device(model, None), None).views(image)
    return x


def resize_steps(model: SegmentationModel, seen: Size, *sizes: Size) -> list[Step]:
    """How the logits of an input of `seen` (height, width) come to `sizes`, one after another; none is taken twice."""
    steps: list[Step] = [(seen, model.align_corners)]
    steps += [(size, _between_images(model)) for before, size in pairwise((seen, *sizes)) if size != before]
    return steps


def _between_images(model: SegmentationModel) -> AlignCorners:
    """Of an image and its resized input: there is no stride between them."""
    return "corners" if model.align_corners == "corners" else "edges"


@torch.inference_mode()
def score_input(
    model: SegmentationModel,
    x: Tensor,
    size: Size,
    protocol: Protocol = WHOLE,
    *,
    autocast: torch.dtype | None = None,
) -> Tensor:
    """The scores of one input that is already resized and normalised: (1, 3, h, w) -> (1, K, *size).

    Windows, mirror images and the softmax are the protocol's; its size rule and scales are the caller's business.
    """
    look = _Look(model, protocol, x.device, autocast)
    views = look.at_size(x, size, _said(protocol))
    return RowMap(Sum(views, mean=look.means), _said(protocol), x.device).scores()[None]


def _said(protocol: Protocol) -> Meaning:
    """What a protocol says that scores are, where of a single look too logits become probabilities."""
    return "probabilities" if isinstance(protocol.combine, MeanProbabilities) else meaning_of(protocol)


class _Look:
    """A model and the protocol that it is looked through."""

    def __init__(
        self, model: SegmentationModel, protocol: Protocol, device: torch.device, autocast: torch.dtype | None
    ) -> None:
        self.model = model
        self.protocol = protocol
        self.device = device
        self.autocast = autocast
        self.images_align_corners = _between_images(model)

    def views(self, image: Image) -> Iterator[Tensor]:
        """The inputs (1, 3, h, w) that the network sees, one per scale."""
        rule = self.protocol.resize
        height, width = image.shape[:2]
        own = None if isinstance(rule, FitInside) else self._input(image)
        for scale in self.protocol.scales:
            if isinstance(rule, FitInside):
                resized = image
                for size in rule.steps(height, width, scale):
                    resized = cv2.resize(resized, size[::-1], interpolation=cv2.INTER_LINEAR).reshape(*size, -1)
                yield self._input(resized)
            else:
                assert own is not None
                yield resize(own, rule.size(height, width, scale), align_corners=self.images_align_corners)

    @property
    def means(self) -> bool:
        """Whether views are averaged, and a mirror image is one."""
        return isinstance(self.protocol.combine, MEANS)

    def single(self, maps: Tensor, seen: Size, own: Size, size: Size) -> CoarseMap:
        """The scores (1, K, h, w) of a single view, resized but for the last time.

        Args:
            seen, own, size: (height, width) of the network's input, of the image and of the result.
        """
        *before, (_, align_corners) = resize_steps(self.model, seen, own, size)
        for step, align in before:
            maps = resize(maps, step, align_corners=align)
        return CoarseMap(maps, size, align_corners, "logits")

    def several(self, image: Image, size: Size, meaning: Meaning) -> RowMap:
        """The scores of all looks at an image; what the network says is held for each, as coarse as it is."""
        own = _checked_size(image)
        looks = [view for x in self.views(image) for view in self.at_size(x, own, meaning)]
        return RowMap(self._resized(Sum(looks, mean=self.means), size), meaning, self.device)

    def at_size(self, x: Tensor, size: Size, meaning: Meaning) -> list[Rows]:
        """The scores of one input at the image's size; and of its mirror image, where that is a view of its own."""
        views = [self._resized(self._windows(x), size)]
        if self.protocol.flip and self.means:
            views.append(mirrored(self._resized(self._windows(x.flip(-1)), size)))
        return [softmax(view) for view in views] if meaning == "probabilities" else views

    def _resized(self, source: Rows, size: Size) -> Rows:
        return source if source.size == size else Resized(source, size, self.images_align_corners)

    def _windows(self, x: Tensor) -> Rows:
        """The scores of an input, put together from its windows."""
        windows = self.protocol.windows
        if windows is None:
            return self._window(x)
        height, width = x.shape[-2:]
        canvas, corner = windows.canvas(height, width), (0, 0)
        if windows.pad is not None and canvas != (height, width):
            x, corner = self._padded(x, canvas, windows.pad)
        placed = []
        for top, left in windows.corners(*canvas):
            part = x[..., top : top + windows.crop, left : left + windows.crop]
            placed.append(Placed(self._window(part), top, left))
        mean = not isinstance(self.protocol.combine, ExpOfSummedProbabilities)
        return Windows(placed, canvas, corner, (height, width), mean)

    def _window(self, x: Tensor) -> Rows:
        """The scores of one window, at its own size; with its mirror image where both make one score."""
        scores = self._upsampled(x)
        if self.means:
            return scores
        probabilities = isinstance(self.protocol.combine, ExpOfSummedProbabilities)
        parts = [softmax(scores) if probabilities else scores]
        if self.protocol.flip:
            other = self._upsampled(x.flip(-1))
            parts.append(mirrored(softmax(other) if probabilities else other))
        return exponential(Sum(parts, mean=False))

    def _upsampled(self, x: Tensor) -> Rows:
        return Resized(Held(self.coarse(x)), (x.shape[-2], x.shape[-1]), self.model.align_corners)

    def coarse(self, x: Tensor) -> Tensor:
        """The protocol's outputs added up, (1, K, h', w') at the first one's own resolution."""
        with (
            naming_size(x),
            torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None),
        ):
            if self.protocol.outputs == ("main",):
                return self.model.logits(x).to(torch.float32, copy=True)  # held while the network goes on
            output = self.model.segment(x)
        known = {"main": output.logits, **output.auxiliary}
        maps: list[Tensor] = []
        for name in self.protocol.outputs:
            if name not in known:
                raise ValueError(
                    f"the protocol adds the output {name!r}, which this model doesn't have."
                    f"{nearest(name, known)} It has: {', '.join(known)}"
                )
            maps.append(known[name].to(torch.float32, copy=True))
        if any(m.shape[-2:] != maps[0].shape[-2:] for m in maps):
            maps = [resize(m, x.shape[-2:], align_corners=self.model.align_corners) for m in maps]
        return functools.reduce(torch.add, maps)

    def _input(self, image: Image) -> Tensor:
        pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).to(self.device)
        return self.model.normalize(pixels.permute(2, 0, 1)[None].contiguous())

    def _padded(self, x: Tensor, canvas: Size, pad: Pad) -> tuple[Tensor, Size]:
        height, width = x.shape[-2:]
        top, left = ((canvas[0] - height) // 2, (canvas[1] - width) // 2) if pad.place == "around" else (0, 0)
        if pad.value == "zero":
            padded = x.new_zeros(1, x.shape[1], *canvas)
        else:
            black = self.model.normalize(torch.zeros(1, x.shape[1], 1, 1, dtype=torch.uint8, device=x.device))
            padded = black.expand(1, x.shape[1], *canvas).clone()
        padded[..., top : top + height, left : left + width] = x
        return padded, (top, left)


def _checked_size(image: Image) -> Size:
    if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16, np.float32):
        raise ValueError(
            f"image of shape {image.shape} and type {image.dtype}: expected (height, width, 3), RGB, or as many "
            "channels as the network takes, uint8 in 0..255, uint16 or float32 in 0..1"
        )
    return image.shape[0], image.shape[1]


@contextmanager
def naming_size(x: Tensor) -> Iterator[None]:
    """Turns what torch says of an input that is too small for a network into a ValueError."""
    try:
        yield
    except RuntimeError as error:
        if not any(phrase in str(error).lower() for phrase in _TOO_SMALL):
            raise
        height, width = x.shape[-2:]
        raise ValueError(
            f"the network can't take an input of {width}x{height} pixels ({str(error).splitlines()[0][:200]}); "
            "give a larger image, or a protocol that resizes it"
        ) from error


def _device(model: SegmentationModel, device: torch.device | str | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device
