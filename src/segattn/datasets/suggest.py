"""The dataset.yaml that a folder of images and masks lacks, from the files and the ids that are in it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import yaml

from segattn.contracts import IGNORE
from segattn.datasets.base import describe_folder, find_files
from segattn.datasets.description import DESCRIPTION, MOST_CLASSES
from segattn.datasets.images import files_below, read_ids
from segattn.files import write_file
from segattn.progress import track

_IMAGES = ("images", "image", "imgs", "img", "JPEGImages")
_MASKS = ("masks", "mask", "labels", "annotations", "SegmentationClass")
_HELD_OUT = 0.2


def suggested(root: str | Path) -> str:
    """The text of a dataset.yaml for the folder; every mask is read, with a progress bar on the standard error stream.

    Names that only its owner knows are made up: background for the id 0, "class 7" for 7.

    Raises:
        FileNotFoundError: no folders of images and masks are there, or one is empty.
        ValueError: a mask can't be read, or they hold more ids than there can be classes.
    """
    root = Path(root)
    images, masks = (_folder(root, names) for names in (_IMAGES, _MASKS))
    split = all(os.path.isdir(root / images / name) for name in ("train", "val"))
    keys: dict[str, object] = {}
    for key, folder in (("images", images), ("masks", masks)):
        if folder != key:
            keys[key] = f"{folder}/{{split}}" if split else folder
    suffix = _mask_suffix(root / images, root / masks)
    if suffix != ".png":
        keys["mask_suffix"] = suffix
    if not split:
        keys["val"] = _HELD_OUT
    ids = _ids(root / masks, suffix)
    names = {value: "background" if value == 0 else f"class {value}" for value in ids}
    labels = {} if ids == list(range(len(ids))) else {"labels": names}
    lines = [
        f"# written by `segattn data check --fix`: the classes of the ids {', '.join(map(str, ids))}; give them names",
        *(_line(key, value) for key, value in {"classes": list(names.values()), **labels, **keys}.items()),
    ]
    return "\n".join(lines) + "\n"


def write_suggested(root: str | Path) -> str:
    """Write `suggested` as the folder's dataset.yaml, which must not be there; its text.

    Raises:
        FileNotFoundError, ValueError: as `suggested`.
        OSError: it can't be written.
    """
    path = Path(root) / DESCRIPTION
    assert not os.path.lexists(path), "the owner's own file is never replaced"
    text = suggested(root)
    write_file(path, text.encode())
    return text


def _folder(root: Path, names: tuple[str, ...]) -> str:
    found = next((name for name in names if os.path.isdir(root / name)), None)
    if found is None:
        raise FileNotFoundError(
            f"{root}: no {DESCRIPTION} and no folder {names[0]} there, found {describe_folder(root)}; put images into"
            f" {root / 'images'} and masks into {root / 'masks'}"
        )
    return found


def _mask_suffix(images: Path, masks: Path) -> str:
    """The end of masks' names beyond those of their images, such as ".png" or "_mask.png"."""
    found = [path.relative_to(masks).as_posix() for path in files_below(masks)]
    if not found:
        raise FileNotFoundError(f"{masks}: no masks there, {describe_folder(masks)}")
    (kind, _), *_ = Counter(os.path.splitext(name)[1] for name in found).most_common(1)
    stems = [name.removesuffix(kind) for name in found if name.endswith(kind)]
    names = set(find_files(images))
    if names.isdisjoint(stems):
        beyond = {stems[0][end:] for end in range(len(stems[0])) if stems[0][:end] in names}
        fitting = [end for end in beyond if all(f"{stem}|".removesuffix(f"{end}|") in names for stem in stems)]
        return min(fitting, key=len, default="") + kind
    return kind


def _ids(masks: Path, suffix: str) -> list[int]:
    """What the masks hold, in ascending order; of 255 beside two others or more it is taken that it is ignored."""
    files = list(find_files(masks, (suffix,)).values())
    found: set[int] = set()
    for path in track(files, "reading masks", len(files)):
        found |= set(np.flatnonzero(np.bincount(read_ids(path).ravel())).tolist())
        if len(found) > MOST_CLASSES + 1:
            raise ValueError(
                f"{path}: up to here masks hold {len(found)} ids, and {MOST_CLASSES} classes are the most: are these"
                " numbers of objects, or shades of grey?"
            )
    if len(found) > 2:
        found -= {IGNORE}
    return sorted(found)


def _line(key: str, value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return f"{key}: " + text.removesuffix("\n").removesuffix("\n...")
