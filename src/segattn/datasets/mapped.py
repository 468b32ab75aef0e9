"""Any map-style data set as one of ours: pairs, mappings or samples, in memory or made when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, Classes, Sample, shown
from segattn.datasets.arrays import as_ids, as_image

_IMAGE_KEYS = ("image", "pixel_values")
_MASK_KEYS = ("mask", "label", "labels", "annotation", "segmentation_mask")


class MapStyle(Protocol):
    """What has a length and items by number from 0, as torch's and Hugging Face's data sets, and lists."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class MappedDataset:
    """The samples of a map-style data set: a `segattn.contracts.SegmentationDataset`; see `as_dataset`."""

    def __init__(self, data: MapStyle, classes: Classes, *, ignore: int | None) -> None:
        self.data = data
        self.classes = classes
        self.ignore = ignore

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        where = f"item {index}"
        item = self.data[index]
        if isinstance(item, Sample):
            return item
        name = f"{index:06d}"
        if isinstance(item, Mapping):
            name = str(item.get("name", name))
            image, mask = _entry(item, _IMAGE_KEYS, where), _entry(item, _MASK_KEYS, where)
        elif isinstance(item, (tuple, list)) and len(item) == 2:
            image, mask = item
        else:
            raise ValueError(
                f"{where}: of type {type(item).__name__}; expected (image, mask), a mapping with {_IMAGE_KEYS[0]!r} and"
                f" {_MASK_KEYS[0]!r}, or a segattn.Sample"
            )
        pixels = as_image(image, name=f"{where}: image")
        ids = None if mask is None else self._training_ids(as_ids(mask, name=f"{where}: mask"), where)
        if ids is not None and ids.shape != pixels.shape[:2]:
            raise ValueError(
                f"{where}: an image of {pixels.shape[0]}x{pixels.shape[1]} (height x width) and a mask of"
                f" {ids.shape[0]}x{ids.shape[1]}; expected equal sizes"
            )
        return Sample(pixels, ids, name, Path(f"{type(self.data).__name__}[{index}]"))

    def _training_ids(self, ids: NDArray[np.integer[Any]], where: str) -> NDArray[np.uint8]:
        known = (ids >= 0) & (ids < len(self.classes))
        ignored = np.zeros_like(known) if self.ignore is None else ids == self.ignore
        if not (known | ignored).all():
            found, counts = np.unique(ids[~(known | ignored)], return_counts=True)
            values = ", ".join(f"{value} ({count} pixels)" for value, count in zip(found[:5], counts[:5], strict=True))
            also = "" if self.ignore is None else f", or {self.ignore}, which `ignore` says"
            raise ValueError(f"{where}: mask: id {values}; expected 0..{len(self.classes) - 1}{also}")
        return np.where(ignored, IGNORE, ids).astype(np.uint8)


def as_dataset(data: MapStyle, classes: Classes | Sequence[str] | int, *, ignore: int | None = IGNORE) -> MappedDataset:
    """Any map-style data set as one to train, score and predict on.

    >>> segattn.as_dataset([(image, mask)], classes=["road", "car"])

    Args:
        data: has a length, and items by number: (image, mask), a mapping with "image" and "mask" (or "label",
            "labels", "annotation"), or `segattn.Sample`. Images are arrays, tensors, `PIL.Image`s or bytes of a file;
            masks are arrays, tensors or `PIL.Image`s of class ids from 0, or None where there is no truth. Items are
            asked for by several threads or processes at once.
        classes: what the ids mean: `segattn.Classes`, or names, which get colours of their own, or how many there are.
        ignore: the id in the masks of pixels that neither train nor score, such as 255, or -100; None if there is none.

    Raises:
        ValueError: no classes, or names that are no texts; and on access, naming the item: another form, an id that is
            no class, or an image and a mask of different sizes.
        TypeError: `data` has no length or no items, as an iterable-style data set.
    """
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise TypeError(f"data of type {type(data).__name__}: expected a length and items by number (map-style)")
    return MappedDataset(data, Classes.of(classes), ignore=ignore)


def _entry(item: Mapping[Any, Any], keys: tuple[str, ...], where: str) -> Any:
    for key in keys:
        if key in item:
            return item[key]
    raise ValueError(f"{where}: has {shown([str(key) for key in item])}; expected one of {', '.join(map(repr, keys))}")
