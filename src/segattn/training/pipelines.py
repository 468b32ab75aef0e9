"""Augmentation by a callable of the caller's, such as an albumentations pipeline, instead of a recipe's transforms."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from segattn.contracts import shown
from segattn.datasets.arrays import as_array, as_ids, as_image
from segattn.recipes.schema import Recipe
from segattn.transforms.compose import Transform
from segattn.transforms.pixels import Image, Item, is_rgb

Pipeline = Callable[..., Any]
"""Called as ``pipeline(image=..., mask=...)`` with (H, W, 3) uint8 RGB and (H, W) uint8 training ids, `IGNORE` among
them; gives a mapping with both, of one size: arrays, tensors or `PIL.Image`s, colours not normalised. Where a data set
reads bands as they are stored, it is given those, and gives as many of the same type."""

_LONGEST = 300


class Seeded:
    """A pipeline that takes no generator, as a transform here: all that it draws from is seeded from ours first.

    That is `random`, `numpy.random`, `torch`, and what a method `set_random_seed` seeds, as albumentations' has.

    Raises:
        ValueError: on call, for a result of another form.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def __call__(self, *, image: Image, mask: Image, rng: np.random.Generator) -> Item:
        seed = int(rng.integers(2**32))
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        reseed = getattr(self.pipeline, "set_random_seed", None)
        if reseed is not None:
            reseed(seed)
        result = self.pipeline(image=image, mask=mask)
        if not isinstance(result, Mapping) or not {"image", "mask"} <= result.keys():
            keys = f" with {shown([str(key) for key in result])}" if isinstance(result, Mapping) else ""
            raise ValueError(
                f"the augmentation gave {type(result).__name__}{keys}; expected a mapping with 'image' and 'mask'"
            )
        try:
            pixels, ids = _pixels(result["image"], image), as_ids(result["mask"])
        except ValueError as error:
            raise ValueError(
                f"the augmentation gave an {error}" if str(error).startswith("image") else f"the augmentation's {error}"
            ) from None
        if ids.shape != pixels.shape[:2] or ids.min() < 0 or ids.max() > 255:
            raise ValueError(
                f"the augmentation gave an image of shape {pixels.shape} and a mask of shape {ids.shape} with ids"
                f" {ids.min()} to {ids.max()}; expected one size, and ids of 0..255"
            )
        return {"image": pixels, "mask": ids.astype(np.uint8)}


def _pixels(result: Any, before: Image) -> Image:
    """The image that a pipeline gave: RGB of 8 bits, or as many bands as it was given, in their type."""
    if is_rgb(before):
        return as_image(result)
    array = as_array(result)
    if array is None or array.ndim != 3 or array.shape[2] != before.shape[2] or array.dtype != before.dtype:
        found = type(result).__name__ if array is None else f"array {array.shape} of {array.dtype}"
        raise ValueError(
            f"image {found}; expected (height, width, {before.shape[2]}) of {before.dtype}, as it was given"
        )
    return array


def with_augmentation(
    recipe: Recipe, augmentation: Sequence[Transform] | Pipeline | None
) -> tuple[Recipe, Pipeline | None]:
    """The recipe that a run with this augmentation has, and the pipeline that is no part of it.

    Transforms of ours become the recipe's. A callable stays outside of it, and its own transforms are taken out, so
    that no file says that they were used.

    Raises:
        ValueError: neither of the two.
    """
    if augmentation is None:
        return recipe, None
    if callable(augmentation):
        return replace(recipe, augmentation=()), augmentation
    if not isinstance(augmentation, Sequence) or not all(isinstance(part, Transform) for part in augmentation):
        raise ValueError(
            f"augmentation {shown(augmentation)}: expected a callable of the form augment(image=..., mask=...), or a"
            " list of this package's transforms"
        )
    return replace(recipe, augmentation=tuple(augmentation)), None


def described(pipeline: Pipeline) -> str:
    """A pipeline in words that are the same in every process: its type and what its `repr` says, addresses left out.

    Of a function that is its name alone.
    """
    kind = type(pipeline)
    text = re.sub(r" at 0x[0-9A-Fa-f]+", "", f"{kind.__module__}.{kind.__qualname__}: {pipeline!r}")
    text = " ".join(text.split())
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... (sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]})"
