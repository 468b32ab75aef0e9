"""Classes without a pixel in the training masks, and the dataset.yaml that mends it.

Masks of 0 and 255 are the commonest: 255 is ignored unless `dataset.yaml` says otherwise, and a network would be
trained on the background alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from segattn.contracts import IGNORE, SegmentationDataset, counted, cut, shown
from segattn.datasets.base import PairedDataset
from segattn.datasets.catalog import DATASETS
from segattn.datasets.description import DESCRIPTION, Description
from segattn.datasets.folder import FolderDataset
from segattn.files import decoded, read_regular, write_file
from segattn.progress import track
from segattn.yaml_reader import compose, read_yaml, read_yaml_file

_SHOWN = 5
_LONGEST_LINE = 1000


@dataclass(frozen=True)
class Absence:
    """The classes that are missing.

    Attributes:
        where: dataset.yaml, or "masks" where the data set is one of Python's.
        classes: without a pixel, in the order of the training ids.
        unused: id in the masks that no class is trained from -> its pixels.
        pixels: of all masks that were read.
        masks: how many were.
        mend: what dataset.yaml would say if the ids were those classes; None where that can't be told.
        sure: nothing else can be meant.
    """

    where: str
    classes: tuple[str, ...]
    unused: Mapping[int, int]
    pixels: int
    masks: int
    mend: Mend | None = None
    sure: bool = False

    @property
    def what(self) -> str:
        """The finding in words."""
        more = f" and {len(self.classes) - _SHOWN} more" if len(self.classes) > _SHOWN else ""
        found = f"not one pixel of {cut(', '.join(self.classes[:_SHOWN]))}{more} in {counted(self.masks, 'mask')}"
        if not self.unused:
            return found
        ids = [f"{value} ({count} pixels, {100 * count / self.pixels:.2f}%)" for value, count in self.unused.items()]
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        return f"{found}, while they hold ids that no class is trained from: {', '.join(ids[:_SHOWN])}{more}"

    @property
    def fix(self) -> str:
        """Advice, but for training all the same."""
        if self.mend is None:
            return "correct the masks, or the list of classes"
        root = quote(str(Path(self.where).parent))
        by = f"`segattn data check {root} --fix` does it" if self.sure else "which id is which class is yours to say"
        line = as_line(self.mend)
        line = line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
        return f"if these ids are those classes, write into {DESCRIPTION}: {line} ({by})"


def absence(
    dataset: SegmentationDataset, pixels: Mapping[int, int], meaning: Mapping[int, int | None], masks: int
) -> Absence | None:
    """The classes missing in a data set whose masks hold `pixels` of each id; None where nothing is.

    The ids of published data sets are known, so that in a part of one a class may well be missing: None for them too.

    Args:
        meaning: the training id of each of these ids, `IGNORE`, or None for one that has no class.
    """
    seen = {meaning[value] for value in pixels}
    absent = tuple(name for index, name in enumerate(dataset.classes.names) if index not in seen)
    if not absent or not masks or _is_published(dataset):
        return None
    unused = {value: pixels[value] for value in sorted(pixels) if meaning[value] in (None, IGNORE)}
    total = sum(pixels.values())
    if not isinstance(dataset, FolderDataset):
        return Absence("masks", absent, unused, total, masks)
    mend, sure = _mend(dataset.description, absent, pixels, meaning) if unused else (None, False)
    return Absence(str(dataset.description.path), absent, unused, total, masks, mend, sure)


def require_all_classes(dataset: SegmentationDataset) -> None:
    """Read masks until every class has been seen, in a fixed order that is spread over the data set.

    That takes some of the masks where no class is rare, and all of them, with a progress bar on the standard error
    stream, where one is missing. Of published data sets, whose ids are known, nothing is read.

    Raises:
        ValueError: a class has no pixel, or a mask can't be read.
    """
    if _is_published(dataset):
        return
    pixels: Counter[int] = Counter()
    meaning: dict[int, int | None] = {}
    missing: set[int | None] = set(range(len(dataset.classes)))
    masks = 0
    for ids, table in track(_masks(dataset), "looking for every class", len(dataset)):
        masks += 1
        counts = np.bincount(ids.ravel())
        for value in np.flatnonzero(counts).tolist():
            pixels[value] += int(counts[value])
            if value not in meaning:
                meaning[value] = table(value)
                missing -= {meaning[value]}
        if not missing:
            return
    found = absence(dataset, pixels, meaning, masks)
    if found is not None:
        raise ValueError(
            f"{found.where}: {found.what}; {found.fix}. To train without them, give --allow-absent-classes"
            " (in Python allow_absent_classes=True)"
        )


def _is_published(dataset: SegmentationDataset) -> bool:
    return type(dataset) in DATASETS.values() and not isinstance(dataset, FolderDataset)


def _masks(dataset: SegmentationDataset) -> Iterator[tuple[NDArray[np.integer], Callable[[int], int | None]]]:
    """Each mask as it is stored, or as training ids where the data set keeps its files to itself; and what ids mean."""
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    if isinstance(dataset, PairedDataset):
        for index in order:
            label = dataset.pairs[index].label
            if label is not None:
                yield dataset.read_stored_ids(index), dataset.training_id
        return
    count = len(dataset.classes)
    for index in order:
        mask = dataset[index].mask
        if mask is not None:
            yield mask, lambda value: value if value < count or value == IGNORE else None


def _mend(
    description: Description, absent: tuple[str, ...], pixels: Mapping[int, int], meaning: Mapping[int, int | None]
) -> tuple[Mend, bool]:
    """The lines of dataset.yaml that would mend it, and whether that is sure to be meant.

    Ids in a row where none are given, such as 1 to K, are the classes in their order. Otherwise the ids without a class
    are those without a pixel, both in ascending order; of more ids than classes the most frequent, of fewer all. Ids
    that are ignored may well be meant so, unless a single class would be left to train.
    """
    says, names = read_yaml_file(description.path), description.classes.names
    in_use = [value for value in sorted(pixels) if meaning[value] != IGNORE]
    unused = [value for value in sorted(pixels) if meaning[value] in (None, IGNORE)]
    if "labels" not in says and len(in_use) == len(names) == in_use[-1] - in_use[0] + 1:
        given, sure = dict(zip(in_use, names, strict=True)), True
    else:
        chosen = sorted(sorted(unused, key=lambda value: -pixels[value])[: len(absent)])
        given = dict(zip(chosen, absent, strict=False))
        alone = len(in_use) - sum(meaning[value] is None for value in in_use) < 2
        sure = len(unused) == len(absent) and (alone or all(meaning[value] is None for value in chosen))
    if "labels" in says:
        labels = says["labels"] | given
    else:
        kept = {raw: name for raw, name in description.labels.items() if name not in (*given.values(), "ignore")}
        labels = dict(sorted((kept | given).items()))
    ignore = tuple(raw for raw in says.get("ignore", ()) if raw not in given)
    return Mend(str(description.path), labels, ignore if len(ignore) < len(says.get("ignore", ())) else None), sure


@dataclass(frozen=True)
class Mend:
    """The lines that a dataset.yaml should have.

    Attributes:
        path: of the file.
        labels: id -> class name or "ignore", as the key `labels` is to hold them.
        ignore: the list of the key `ignore`; None where it stays as it is.
    """

    path: str
    labels: Mapping[int, str]
    ignore: tuple[int, ...] | None = None

    @property
    def keys(self) -> dict[str, Any]:
        """The keys to write, as plain data."""
        ignore = {} if self.ignore is None else {"ignore": list(self.ignore)}
        return {"labels": dict(self.labels), **ignore}


def as_line(mend: Mend) -> str:
    """The keys as they are to be written, such as `labels: {0: background, 255: crack}`."""
    return " and ".join(f"`{key}: {_inline(value)}`" for key, value in mend.keys.items())


def write_mend(mend: Mend) -> None:
    """Write the keys into the file, which holds either what it held or all of them.

    Raises:
        ValueError: the file is laid out so that this can't be done safely; nothing is written then.
        OSError: it can't be written.
    """
    path = Path(mend.path).resolve()  # not a link's own name, which would become a file
    data = read_regular(path)
    text = decoded(data)
    expected = {**read_yaml(text), **mend.keys}
    for key, value in mend.keys.items():
        text = _with_key(text, key, value)
    try:
        same = read_yaml(text) == expected
    except ValueError:
        same = False
    if not same:
        raise ValueError(f"{mend.path}: laid out so that it can't be changed safely; write into it {as_line(mend)}")
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    write_file(path, mark + text.encode("utf-8"))


def _with_key(text: str, key: str, value: Any) -> str:
    """The text with the value of a key of its one mapping replaced, or with the key added."""
    node = compose(text)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"a mapping was expected, not {shown(text)}")
    for key_node, value_node in node.value:
        if key_node.value == key:
            if isinstance(value, Mapping) and isinstance(value_node, yaml.MappingNode):
                return _with_entries(text, value_node, value)
            start, end = value_node.start_mark.index, _end(value_node)
            between = text[key_node.end_mark.index : start]
            start = key_node.end_mark.index + between.index(":") + 1 if "\n" in between else start
            return f"{text[:start].rstrip(' ')} {_inline(value)}{text[end:]}"
    line = f"{key}: {_inline(value)}"
    if node.flow_style:
        place = text.rindex("}", 0, int(node.end_mark.index))
        return f"{text[:place].rstrip().rstrip(',')}, {line}{text[place:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    place = _end(node)
    line_end = text.find("\n", place)
    if line_end < 0:
        return f"{text}{newline}{line}{newline}"
    return f"{text[: line_end + 1]}{line}{newline}{text[line_end + 1 :]}"


def _with_entries(text: str, node: yaml.MappingNode, entries: Mapping[int, str]) -> str:
    """The text with the values of some keys of a mapping replaced, and those added that it lacks."""
    there = {read_yaml(text[key.start_mark.index : key.end_mark.index]): value for key, value in node.value}
    added = {raw: name for raw, name in entries.items() if raw not in there}
    edits = [
        (value.start_mark.index, value.end_mark.index, _inline(entries[raw]))
        for raw, value in there.items()
        if raw in entries and value.value != entries[raw]
    ]
    if added:
        end = _end(node.value[-1][1])
        if node.flow_style:
            edits.append((end, end, "".join(f", {raw}: {_inline(name)}" for raw, name in added.items())))
        else:
            newline = "\r\n" if "\r\n" in text else "\n"
            line_end = text.find("\n", end)
            place = len(text) if line_end < 0 else line_end + 1
            before = newline if line_end < 0 else ""
            indent = " " * node.value[-1][0].start_mark.column
            lines = "".join(f"{indent}{raw}: {_inline(name)}{newline}" for raw, name in added.items())
            edits.append((place, place, before + lines))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _end(node: yaml.Node) -> int:
    """The place of a node's last character: a mapping or list in lines "ends" only where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _inline(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
