"""A flat folder with a short dataset.yaml, and the dataset.yaml that a folder lacks."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from segattn.contracts import Classes
from segattn.datasets.description import palette, read_description
from segattn.datasets.folder import FolderDataset
from segattn.datasets.suggest import suggested, write_suggested

OWN: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "data" / "own_data.py"))
put = OWN["put"]
SHORT = "classes: [plate, defect]\nval: 0.25\n"


def flat(root: Path, text: str | None, *masks: Sequence[int], suffix: str = ".png", folder: str = "") -> Path:
    for number, ids in enumerate(masks):
        put(root / f"images/{folder}p{number}.jpg")
        put(root / f"masks/{folder}p{number}{suffix}", ids)
    if text is not None:
        (root / "dataset.yaml").write_text(text)
    return root


def names(root: Path, split: str) -> list[str]:
    return [pair.name for pair in FolderDataset(root, split).pairs]


def test_a_flat_folder_needs_no_moving_of_files(tmp_path: Path) -> None:
    root = flat(tmp_path, SHORT, *([[0, 1]] * 12))
    assert names(root, "val") == ["p0", "p11", "p2", "p7", "p9"]
    assert sorted(names(root, "train") + names(root, "val")) == sorted(f"p{number}" for number in range(12))
    assert FolderDataset(root, "train").classes.names == ("plate", "defect")
    with pytest.raises(ValueError, match="has no split 'test'; it has train, val"):
        FolderDataset(root, "test")
    (root / "dataset.yaml").write_text(SHORT + "test: 0.2\n")
    assert names(root, "val") == ["p0", "p11", "p2", "p7", "p9"]
    assert names(root, "test")


def test_groups_of_folders(tmp_path: Path) -> None:
    for drive in "abcdef":
        flat(tmp_path, SHORT + "groups: folder\n", [0, 1], [1], folder=f"{drive}/")
    train, val = ({name[0] for name in names(tmp_path, split)} for split in ("train", "val"))
    assert train
    assert val
    assert not train & val


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("val: 0\n", "val: 0; a share above 0 and below 1 was expected, such as 0.2"),
        ("val: 1\n", "val: 1; a share"),
        ("val: 20\n", "val: 20; a share"),
        ("val: -0.1\n", "val: -0.1; a share"),
        ("val: .nan\n", "val: nan; a share"),
        ("val: yes\n", "val: True; a share"),
        ("val: '0.2'\n", "val: '0.2'; a share"),
        ("val:\n", "val: None; a share"),
        ("val: 0.2\ntest: 0\n", "test: 0; a share"),
        ("val: 0.5\ntest: 0.5\n", "val, test: 0.5 and 0.5 leave nothing to train on"),
        ("test: 0.2\n", "test: without val, which says what share is held out"),
        ("groups: folder\n", "groups: without val"),
        ("val: 0.2\ngroups: folders\n", "groups: 'folders'; expected folder, or {prefix: _}"),
        ("val: 0.2\ngroups: {prefix: ''}\n", "groups: {'prefix': ''}; expected"),
        ("val: 0.2\ngroups: {prefix: 1}\n", "groups: {'prefix': 1}; expected"),
        ("val: 0.2\ngroups: {prefix: _, folder: 1}\n", "groups: {.*}; expected"),
        ("val: 0.2\ngroups: []\n", r"groups: \[\]; expected"),
        (
            "val: 0.2\nimages: images/{split}\n",
            "images: 'images/{split}' names a folder for each split, and val",
        ),
        ("val: 0.2\nmasks: masks/{split}\n", "masks: 'masks/{split}' names a folder for each split"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, lines: str, message: str) -> None:
    root = flat(tmp_path, "classes: [plate, defect]\n" + lines)
    with pytest.raises(ValueError, match=message) as error:
        read_description(root)
    assert str(error.value).startswith(f"{root / 'dataset.yaml'}: ")


def test_a_folder_that_has_splits_is_not_shared_out(tmp_path: Path) -> None:
    for split in ("train", "val"):
        flat(tmp_path, SHORT, [0, 1], folder=f"{split}/")
    with pytest.raises(ValueError, match="val shares out the folder images, which has the folders train and val"):
        FolderDataset(tmp_path, "train")


@pytest.mark.parametrize(("groups", "key"), [("", "val"), ("groups: {prefix: p}\n", "groups")])
def test_an_empty_split_is_refused(tmp_path: Path, groups: str, key: str) -> None:
    root = flat(tmp_path, SHORT + groups, [0, 1], *([[0, 1]] * 4 if groups else []))
    found = rf"dataset.yaml: {key}: \d images?( of 1 prefix .*)?: the splits train, val need 2"
    with pytest.raises(ValueError, match=found):
        FolderDataset(root, "train")


def test_a_palette_of_its_own() -> None:
    plain = palette([f"c{number}" for number in range(254)], [None] * 254)
    assert len(set(plain)) == 254
    assert palette(["c0", "c1"], [None, None]) == plain[:2], "a class keeps its colour when others come after it"
    first = Classes.numbered(1).palette[0]
    mixed = palette(["background", "x", "y"], [None, first, None])
    assert mixed[:2] == ((0, 0, 0), first)
    assert len(set(mixed)) == 3


@pytest.mark.parametrize(
    ("masks", "suffix", "text"),
    [
        ([[0, 255]], ".png", "classes: [background, class 255]\nlabels: {0: background, 255: class 255}\nval: 0.2\n"),
        ([[0, 1], [2, 255]], ".png", "classes: [background, class 1, class 2]\nval: 0.2\n"),
        ([[1, 2]], ".png", "classes: [class 1, class 2]\nlabels: {1: class 1, 2: class 2}\nval: 0.2\n"),
        ([[0, 1]], ".bmp", "classes: [background, class 1]\nmask_suffix: .bmp\nval: 0.2\n"),
        ([[0, 1]], "_mask.png", "classes: [background, class 1]\nmask_suffix: _mask.png\nval: 0.2\n"),
    ],
)
def test_the_description_that_a_folder_lacks(tmp_path: Path, masks: list[list[int]], suffix: str, text: str) -> None:
    root = flat(tmp_path, None, *masks, *masks, suffix=suffix)
    comment, _, rest = write_suggested(root).partition("\n")
    assert comment.startswith("#")
    assert rest == text
    assert len(FolderDataset(root, "train")) + len(FolderDataset(root, "val")) == 2 * len(masks)


def test_folders_for_each_split_and_other_names_are_seen(tmp_path: Path) -> None:
    for split in ("train", "val"):
        put(tmp_path / f"JPEGImages/{split}/a.jpg")
        put(tmp_path / f"labels/{split}/a.png", [0, 1])
    write_suggested(tmp_path)
    assert "val:" not in (tmp_path / "dataset.yaml").read_text()
    assert names(tmp_path, "val") == ["a"]


def test_what_can_be_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder images there, found nothing; put images"):
        suggested(tmp_path)
    put(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    with pytest.raises(FileNotFoundError, match="masks: no masks there"):
        suggested(tmp_path)
    put(tmp_path / "masks/a.png", list(range(300)), side=300)
    with pytest.raises(ValueError, match="masks hold 300 ids, and 254 classes are the most"):
        suggested(tmp_path)
    assert not (tmp_path / "dataset.yaml").exists()
