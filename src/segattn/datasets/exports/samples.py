"""What is exported: a split of a folder data set, or the labels that `segattn predict` wrote, with their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segattn.contracts import IGNORE, Classes, cut, nearest, shown
from segattn.datasets.base import LabelMap, Pair, PairedDataset, describe_folder, distinct_colours, find_files
from segattn.datasets.catalog import CLASSES
from segattn.datasets.folder import FolderDataset
from segattn.datasets.imports.source import clean_name
from segattn.files import read_text, require_folder
from segattn.yaml_reader import read_yaml_file

_LABELS = "_labels.png"
_DESCRIPTION = "dataset.yaml"
_LARGEST = 1 << 20


def open_samples(root: Path, split: str, images: Path | None, classes: str | None) -> PairedDataset:
    """The samples to export.

    Args:
        root: a folder with dataset.yaml, or one of label images: NAME_labels.png as `segattn predict` writes them, or
            NAME.png.
        split: of the data set; label images have none.
        images: the folder of the images that label images are of.
        classes: whose ids label images hold: see `named_classes`.

    Raises:
        FileNotFoundError, ValueError: something is missing or wrong, naming it.
    """
    require_folder(root, "a data set or labels were to be read from it")
    if (root / _DESCRIPTION).exists():
        return FolderDataset(root, split)
    labels = find_files(root, (_LABELS,)) or find_files(root, (".png",))
    if not labels:
        raise FileNotFoundError(
            f"{root}: {_DESCRIPTION} or label images (NAME{_LABELS}) were looked for, found {describe_folder(root)}"
        )
    if images is None or classes is None:
        raise ValueError(
            f"{root}: holds label images; --images says where their images are, --classes what the ids mean"
        )
    named = named_classes(classes)
    require_folder(images, "the images were to be read from it")
    found = find_files(images)
    alone = [name for name in labels if name not in found]
    if alone:
        raise FileNotFoundError(f"{images}: no image {cut(alone[0])}, whose labels are {labels[alone[0]]}")
    known = {number: number for number in range(len(named))} | {IGNORE: IGNORE}
    pairs = [Pair(name, found[name], path) for name, path in sorted(labels.items())]
    return PairedDataset(
        named, pairs, LabelMap(known, hint="give the --classes of the model that wrote it"), upright=True
    )


def named_classes(text: str) -> Classes:
    """The classes of a data set by its name (camvid, cityscapes, ...), of a dataset.yaml or the folder that it is in,
    or of a text file with a name on each line.

    Raises:
        ValueError, FileNotFoundError: it is none of these, or can't be read.
    """
    if text in CLASSES:
        return CLASSES[text]
    path = Path(text)
    path = path / _DESCRIPTION if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(
            f"--classes {cut(text)}: neither a file nor one of {', '.join(CLASSES)}.{nearest(text, CLASSES)}"
        )
    rows: Any
    if path.suffix.lower() in (".yaml", ".yml"):
        content = read_yaml_file(path)
        rows = content.get("classes") if isinstance(content, dict) else None
    else:
        rows = [line for line in read_text(path, "list of classes", largest=_LARGEST).splitlines() if line.strip()]
    if not isinstance(rows, list) or not 1 <= len(rows) <= 254:
        raise ValueError(f"{path}: 1 to 254 classes were expected, found {shown(rows)}")
    names = tuple(clean_name(row.get("name") if isinstance(row, dict) else row) for row in rows)
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: a class is there twice")
    return Classes(names, distinct_colours(len(names)))
