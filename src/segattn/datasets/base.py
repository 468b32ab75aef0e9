"""Data sets on disk: images and masks by file name, label maps, lists and palettes.

A data set file states facts only (folders, suffixes, classes, label map) and hands pairs of files to `PairedDataset`.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import IGNORE, Classes, Sample, SegmentationDataset, cut, nearest, shown
from segattn.datasets.bands import bands_size, read_bands
from segattn.datasets.headers import IMAGE_SUFFIXES, read_checked
from segattn.datasets.images import files_below, read_ids, read_image
from segattn.files import read_text, require_folder, require_regular, require_separate, require_unread

_UNKNOWN = 254
_SIDEWAYS = 5
"""EXIF orientations from here on change height and width."""
_SHOWN = 5


class LabelMap:
    """The ids in label files -> training ids, by a lookup table.

    Args:
        mapping: raw id -> training id, `IGNORE` for pixels that neither train nor score. Every id that files may hold
            must be there: anything else is taken for a mistake.
        hint: what to do about an id that is not in the map, the end of the error message.

    Raises:
        ValueError: a raw id outside 0..65535 or a training id outside 0..253 and `IGNORE`.
    """

    def __init__(self, mapping: Mapping[int, int], *, hint: str) -> None:
        for raw, train in mapping.items():
            if not 0 <= raw <= 0xFFFF or not (0 <= train < _UNKNOWN or train == IGNORE):
                raise ValueError(
                    f"label map {raw}: {train}; expected 0..65535: 0..{_UNKNOWN - 1}, or {IGNORE} to ignore"
                )
        self._table = np.full(1 << 16, _UNKNOWN, np.uint8)
        self._table[list(mapping)] = list(mapping.values())
        self._bytes = np.ascontiguousarray(self._table[:256])
        self._hint = hint

    def training_id(self, raw: int) -> int | None:
        """The training id of a raw id, or `IGNORE`; None for one that is not in the map."""
        train = int(self._table[raw]) if 0 <= raw <= 0xFFFF else _UNKNOWN
        return None if train == _UNKNOWN else train

    def __call__(self, ids: NDArray[np.integer[Any]], path: Path) -> NDArray[np.uint8]:
        """(H, W) raw ids -> (H, W) uint8 training ids. `path` is named in the error for an id outside the map."""
        if ids.dtype == np.uint8:
            mask = cv2.LUT(ids, self._bytes)
        else:
            outside = (ids < 0) | (ids > 0xFFFF)
            mask = np.where(outside, np.uint8(_UNKNOWN), self._table[np.where(outside, 0, ids)])
        unknown = mask == _UNKNOWN
        if unknown.any():
            values, counts = np.unique(ids[unknown], return_counts=True)
            shown = ", ".join(f"{v} ({n} pixels)" for v, n in zip(values[:_SHOWN], counts[:_SHOWN], strict=True))
            more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
            raise ValueError(f"{path}: label {shown}{more} is not in the label map; {self._hint}")
        return np.asarray(mask, np.uint8)


class Pair(NamedTuple):
    """An image, its label file (None where there is no truth) and the name of the sample."""

    name: str
    image: Path
    label: Path | None


class PairedDataset:
    """Pairs of image and label files as `Sample`s: a `segattn.contracts.SegmentationDataset`.

    Data sets derive from it only to prepare the arguments.

    Args:
        classes: of the training ids.
        pairs: in the order of the samples.
        label_map: raw ids to training ids.
        read_label: label file -> (H, W) raw ids, for formats other than images.
        upright: what masks were drawn on. True: images turned as their files say (EXIF orientation), as viewers show
            them; False: their pixels as they are stored, as the published data sets mean it; None: nobody has said,
            and images are turned, as labelling tools do. `segattn data check` then names each one that this concerns.
        bands: read these of each image as they are stored, not RGB of 8 bits (`segattn.datasets.bands`); pixels without
            data are `IGNORE` in the mask.

    Raises:
        ValueError: two samples have one name.
    """

    def __init__(
        self,
        classes: Classes,
        pairs: list[Pair],
        label_map: LabelMap,
        *,
        read_label: Callable[[Path], NDArray[np.integer[Any]]] = read_ids,
        upright: bool | None = False,
        bands: tuple[int, ...] | None = None,
    ) -> None:
        first: dict[str, Pair] = {}
        for pair in pairs:
            other = first.setdefault(pair.name, pair)
            if other is not pair:
                raise ValueError(f"{other.image} and {pair.image} are both the sample {pair.name}; remove one of them")
        self.classes = classes
        self.pairs = pairs
        self._label_map = label_map
        self._read_label = read_label
        self.upright = upright
        self.bands = bands

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Reads both files. Raises ValueError naming the file for anything wrong with them; IndexError past the end."""
        name, image_path, label_path = self.pairs[index]
        valid: NDArray[np.bool_] | None = None
        image: NDArray[Any]
        if self.bands is None:
            image = read_image(image_path, upright=self.upright is not False)
        else:
            image, valid, _ = read_bands(image_path, self.bands)
        if label_path is None:
            return Sample(image, None, name, image_path)
        mask = self._label_map(self._read_label(label_path), label_path)
        if mask.shape != image.shape[:2]:
            raise ValueError(_size_error(image, mask, image_path, label_path))
        if valid is not None and not valid.all():
            mask = np.where(valid, mask, np.uint8(IGNORE))
        return Sample(image, mask, name, image_path)

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image as it is read, from its header. Raises ValueError naming the file."""
        path = self.pairs[index].image
        if self.bands is not None:
            return bands_size(path)
        header = read_checked(path).header
        turned = self.upright is not False and header.orientation >= _SIDEWAYS
        return (header.width, header.height) if turned else (header.height, header.width)

    def read_stored_ids(self, index: int) -> NDArray[np.integer[Any]]:
        """(H, W) ids as the label file of a sample has them. Raises ValueError naming the file if it can't be read."""
        label = self.pairs[index].label
        assert label is not None, "this sample has no label file"
        return self._read_label(label)

    def training_id(self, raw: int) -> int | None:
        """The training id of an id in the label files, `IGNORE`, or None where that has none."""
        return self._label_map.training_id(raw)


def images_of_both(some: SegmentationDataset, others: SegmentationDataset) -> list[Path]:
    """The image files that two splits share, where their names are known without reading."""
    if not (isinstance(some, PairedDataset) and isinstance(others, PairedDataset)):
        return []
    known = {pair.image.resolve() for pair in others.pairs}
    return [pair.image for pair in some.pairs if pair.image.resolve() in known]


def require_separate_files(dataset: SegmentationDataset, folder: Path) -> None:
    """Find out, where the names are known without reading, whether `folder`/NAME.png of each sample can be written.

    Raises:
        ValueError: two samples' would be one file, or one would replace a file of the data set.
    """
    pairs = dataset.pairs if isinstance(dataset, PairedDataset) else []
    outputs: dict[str, Path] = {}
    for pair in pairs:
        require_separate(outputs, pair.image, f"{pair.name}.png")
    read = [path for pair in pairs for path in (pair.image, pair.label) if path is not None]
    require_unread([folder / f"{pair.name}.png" for pair in pairs], read)


def require_no_own_file(dataset: SegmentationDataset | None, root: str | Path, output: Path) -> None:
    """Find out before work whether `output` would replace a file of the data set in `root`, of any of its splits.

    Its files are the split's images and masks, what else is in the folders of these, and what is no kind of output.

    Args:
        dataset: None where it can't be opened: what is in any folder below `root` then counts as its.

    Raises:
        ValueError: it would, naming the file.
    """
    pairs = dataset.pairs if isinstance(dataset, PairedDataset) else []
    read = {path for pair in pairs for path in (pair.image, pair.label) if path is not None}
    place, target = Path(root).resolve(), output.resolve()
    if target.is_file() and target.is_relative_to(place):
        resolved = [path.resolve() for path in read]
        folders = {path.relative_to(place).parts[0] for path in resolved if path.is_relative_to(place)}
        first, *below = target.relative_to(place).parts
        inside = bool(below) if dataset is None else first in folders
        if inside or target.suffix.lower() not in _OUTPUTS:
            read.add(target)
    require_unread([output], read)


_OUTPUTS = (".json", ".png", ".jpg", ".jpeg")


def check_split(split: str, known: Iterable[str], dataset: str) -> None:
    """Raises ValueError for a split that the data set does not have, offering the nearest."""
    known = tuple(known)
    if split not in known:
        raise ValueError(f"{dataset} has no split {shown(split)}; it has {', '.join(known)}.{nearest(split, known)}")


def require_folders(root: str | Path, folders: Iterable[str], dataset: str) -> tuple[Path, ...]:
    """The folders under `root`. Raises FileNotFoundError saying what was looked for and what is there instead."""
    root, folders = Path(root), tuple(folders)
    require_folder(root, f"{dataset} was to be read from it")
    missing = [cut(folder) for folder in folders if not os.path.isdir(root / folder)]
    if missing:
        raise FileNotFoundError(
            f"{root}: {dataset} needs {' and '.join(missing)} there, found {describe_folder(root)}; "
            "give the folder that contains them as the data root"
        )
    return tuple(root / folder for folder in folders)


def describe_folder(folder: Path) -> str:
    """The first few entries of a folder, for error messages."""
    entries = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    more = f" and {len(entries) - 8} more" if len(entries) > 8 else ""
    return (", ".join(entries[:8]) or "nothing") + more


def find_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Files whose names end in one of `suffixes`, by their name without it, in the order of the names.

    Suffixes are the end of the file's name, such as "_leftImg8bit.png"; case does not matter, and the longest that fits
    counts. Sub-folders, linked ones too, become part of the name ("city/frame"). Hidden files and folders and tools'
    leftovers are left out (`segattn.datasets.images`).

    Raises:
        ValueError: two files have the same name but for the suffix, or one is a pipe, a device or a socket.
        FileNotFoundError: a link leads to nothing.
    """
    by_length = sorted(suffixes, key=len, reverse=True)
    found: dict[str, Path] = {}
    for path in sorted(files_below(folder)):
        lower = path.name.lower()
        suffix = next((s for s in by_length if lower.endswith(s.lower())), None)
        if suffix is None:
            continue
        require_regular(path)
        name = path.relative_to(folder).as_posix()[: -len(suffix)]
        if name in found:
            raise ValueError(f"{path} and {found[name].name} have the same name but for the suffix; remove one of them")
        found[name] = path
    return found


def pair_files(images: Mapping[str, Path], labels: Mapping[str, Path], *, folders: tuple[Path, Path]) -> list[Pair]:
    """Pairs by equal names, sorted. `folders` (of the images, of the labels) are named in errors.

    Raises:
        FileNotFoundError: no images at all, or a file without its partner, naming some of them and both counts.
    """
    image_folder, label_folder = folders
    if not images:
        raise FileNotFoundError(f"{image_folder}: no images found, but {describe_folder(image_folder)}")
    for ours, others, what, where in (
        (images, labels, "label file", label_folder),
        (labels, images, "image", image_folder),
    ):
        alone = [path for name, path in sorted(ours.items()) if name not in others]
        if alone:
            if not others and next(files_below(where), None) is not None:
                raise FileNotFoundError(
                    f"{where}: not one {what} of the expected suffix there, but {describe_folder(where)}; masks are PNG"
                    ' (JPEG changes ids), and others are named in dataset.yaml, as in "mask_suffix: .tif"'
                )
            shown = ", ".join(path.name for path in alone[:_SHOWN])
            more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
            raise FileNotFoundError(
                f"{where}: no {what} for {shown}{more}; "
                f"{len(images)} images in {image_folder}, {len(labels)} label files in {label_folder}; "
                "complete the copy"
            )
    return [Pair(name, images[name], labels[name]) for name in sorted(images)]


def _size_error(image: NDArray[Any], mask: NDArray[np.uint8], image_path: Path, label_path: Path) -> str:
    (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
    turned = (height, width) == (mask_width, mask_height)
    return (
        f"{label_path}: the mask is {mask_width}x{mask_height} but {image_path} is {width}x{height}; "
        f"{size_advice(turned=turned)}"
    )


def size_advice(*, turned: bool) -> str:
    """Advice about a mask of another size than its image's; `turned`: of the same one but for a quarter turn."""
    if not turned:
        return "masks must have their image's size"
    return (
        "the image is stored turned (EXIF orientation?), so save it upright, or say in dataset.yaml what its mask was "
        "drawn on (`upright: true` or `upright: false`)"
    )


class Conversion(NamedTuple):
    """One mask: the PNG that will hold it, and how to make its (H, W) ids, each 0..255. `make` raises ValueError."""

    target: Path
    make: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Plan:
    """All masks of a data set, and the list files (path -> names) that are written once every mask is there."""

    conversions: list[Conversion]
    lists: Mapping[Path, list[str]] = field(default_factory=dict)


_LARGEST = 1 << 26
"""Bytes of a list file."""


def read_list(path: Path) -> list[str]:
    """The names in a list file, in its order; empty lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file of UTF-8 text (with or without byte order mark), names nothing, or a name
            twice, or a path that leads elsewhere, or holds control characters.
    """
    if not os.path.lexists(path):
        there = describe_folder(path.parent) if path.parent.is_dir() else "no such folder"
        raise FileNotFoundError(f"{path}: no such list; {path.parent} holds {there}")
    names = [line.strip() for line in read_text(path, "list file", largest=_LARGEST).splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path}: the list names no samples; copy it again")
    strange = next((name for name in names if any(unicodedata.category(letter) == "Cc" for letter in name)), None)
    if strange is not None:
        raise ValueError(f"{path}: {shown(strange)} holds control characters; is this a list of names, one a line?")
    outside = [name for name in names if ".." in Path(name).parts or Path(name).is_absolute()]
    if outside:
        raise ValueError(f"{path}: {cut(outside[0])} leads out of the data set's folder; lists hold bare names")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{path}: {cut(twice)} is listed twice; keep one of the lines")
    return names


def listed_pairs(names: list[str], *, images: tuple[Path, str], labels: tuple[Path, str], fix: str) -> list[Pair]:
    """Pairs for listed names from (folder, suffix) of the images and of the labels. `fix` ends the error message.

    Raises:
        FileNotFoundError: a listed file is missing, naming the first ones and their count.
    """
    pairs = [Pair(name, images[0] / (name + images[1]), labels[0] / (name + labels[1])) for name in names]
    for folder, suffix in (images, labels):
        there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        missing = [name for name in names if name + suffix not in there]
        if missing:
            raise FileNotFoundError(
                f"{folder}: {len(missing)} of {len(names)} listed files are not there, "
                f"such as {cut(missing[0])}{suffix}; {fix}"
            )
    return pairs


def distinct_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """The first `count` (at most 256) colours of PASCAL VOC's rule, RGB 0..255: all different, the first is black.

    The bits of the index are dealt out to red, green and blue in turn, from the highest bit of a colour downwards.
    """
    assert count <= 256, "the rule repeats its colours after 256"
    return tuple(_colour(index) for index in range(count))


def _colour(index: int) -> tuple[int, int, int]:
    red, green, blue = (sum((index >> 3 * step + channel & 1) << 7 - step for step in range(3)) for channel in range(3))
    return red, green, blue
