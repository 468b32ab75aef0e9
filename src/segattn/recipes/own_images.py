"""Crops and protocols of a recipe for images of another size."""

from __future__ import annotations

from dataclasses import replace

from segattn.evaluation.geometry import FitInside
from segattn.evaluation.protocol import SLIDE_1024, Protocol
from segattn.transforms.compose import Transform
from segattn.transforms.crops import CategoryLimitedCrop, ClassBalancedCrop, EnlargingCrop, Pad, RandomCrop
from segattn.transforms.resizing import RandomFit, RandomShortSide

_STRIDE = 32
"""The coarsest maps' of every backbone here: crops are multiples of it, or one more where corners are aligned."""
_SMALLEST = 64
_LARGEST_WHOLE = 1 << 21
"""Pixels (those of Cityscapes' images) up to which an image is scored at once, as memory goes by them."""
_SIZED = (RandomCrop, EnlargingCrop, ClassBalancedCrop, CategoryLimitedCrop, Pad)


def last_crop(augmentation: tuple[Transform, ...]) -> tuple[int, tuple[int, int]]:
    """The place of the last crop or padding, and its height and width.

    Raises:
        ValueError: there is none, so that batches can't be made of images of several sizes.
    """
    for index in reversed(range(len(augmentation))):
        transform = augmentation[index]
        if isinstance(transform, _SIZED):
            return index, (transform.height, transform.width)
    raise ValueError("augmentation: no crop in it, which images of several sizes need to become a batch; add one")


def fit_augmentation(augmentation: tuple[Transform, ...], size: tuple[int, int]) -> tuple[tuple[Transform, ...], str]:
    """The augmentation for images of that median height and width, and why.

    The crop is never larger than the recipe's, and lies as the images do. Where the recipe itself brings images to a
    size (`RandomFit`) nothing changes.
    """
    _, (height, width) = last_crop(augmentation)
    of = f"images are {size[0]}x{size[1]}"
    if any(isinstance(transform, RandomFit) for transform in augmentation):
        return augmentation, f"{of}, and resized by the recipe"
    why = f"the recipe's; {of}"
    if height != width and (size[0] > size[1]) != (height > width):
        height, width = width, height
        why = f"the recipe's, turned as the images are; {of}"
    fitted = (_side(height, size[0]), _side(width, size[1]))
    if fitted != (height, width):
        aligned = " and one more" if fitted[0] % 2 else ""
        why = f"{of}; multiples of {_STRIDE}{aligned}"
    return tuple(_resized(transform, fitted, min(size)) for transform in augmentation), why


def _side(crop: int, image: int) -> int:
    """The side of a crop in an image's side: as it is, or on the grid that it lies on."""
    if crop <= image:
        return crop
    beyond = crop % 16 if crop % 16 < 2 else 0
    return min(crop, max((image - beyond) // _STRIDE * _STRIDE, _SMALLEST) + beyond)


def _resized(transform: Transform, size: tuple[int, int], short: int) -> Transform:
    if isinstance(transform, RandomShortSide):
        return replace(transform, base=max(short, 2))
    if isinstance(transform, ClassBalancedCrop):
        return replace(transform, height=size[0], width=size[1], class_weights=None)
    return replace(transform, height=size[0], width=size[1]) if isinstance(transform, _SIZED) else transform


def fit_protocol(protocol: Protocol, size: tuple[int, int]) -> tuple[Protocol, str]:
    """The protocol for images of that median size, and why: sizes of another data set's images say nothing of these."""
    if isinstance(protocol.resize, FitInside):
        return protocol, "the recipe's, which resizes"
    if size[0] * size[1] > _LARGEST_WHOLE:
        return replace(SLIDE_1024, outputs=protocol.outputs), f"images of {size[0]}x{size[1]} are too large at once"
    return Protocol(outputs=protocol.outputs), f"images of {size[0]}x{size[1]} are seen whole, at their own size"
