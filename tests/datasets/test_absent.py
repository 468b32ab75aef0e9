"""Classes that no mask holds are found before a network is trained without them, and the mend that is offered mends."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segattn.contracts import Classes, Sample
from segattn.datasets.absent import require_all_classes, write_mend
from segattn.datasets.camvid import CamVid
from segattn.datasets.check import CheckReport, check_named
from segattn.datasets.folder import FolderDataset

OWN: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "data" / "own_data.py"))
classes, own_data = OWN["classes"], OWN["own_data"]
CRACK = classes("background", "crack")
ABC = classes("a", "b", "c")


def check(root: Path, split: str = "train") -> CheckReport:
    return check_named("folder", root, split)


def absent(report: CheckReport) -> str:
    (problem,) = [one for one in report.problems if one.kind == "absent class"]
    return f"{problem.path}: {problem.what}; {problem.fix}"


SURE = [
    (CRACK, [[0, 255]], "`labels: {0: background, 255: crack}`", [0, 255]),
    (CRACK + "ignore: [255]\n", [[0, 255]], "`labels: {0: background, 255: crack}` and `ignore: []`", [0, 255]),
    (CRACK + "labels: {0: background, 1: crack}\n", [[0, 255]], "{0: background, 1: crack, 255: crack}", [0, 255]),
    (CRACK + "labels: {0: background, 255: crack}\n", [[0, 1]], "{0: background, 255: crack, 1: crack}", [0, 1]),
    (CRACK + "ignore: [0]\n", [[0, 1]], "`labels: {0: background, 1: crack}` and `ignore: []`", [0, 1]),
    (CRACK, [[0, 0], [128, 0]], "`labels: {0: background, 128: crack}`", [0, 128]),
    (ABC, [[0, 128, 255]], "`labels: {0: a, 128: b, 255: c}`", [0, 128, 255]),
    (ABC, [[1, 2, 3]], "`labels: {1: a, 2: b, 3: c}`", [1, 2, 3]),
    (ABC, [[1, 2, 3, 255]], "`labels: {1: a, 2: b, 3: c}`", [1, 2, 3]),
    (ABC + "ignore: [0]\n", [[0, 1, 2, 3]], "`labels: {1: a, 2: b, 3: c}`", [1, 2, 3]),
    (ABC, [[1000, 1001, 1002]], "`labels: {1000: a, 1001: b, 1002: c}`", [1000, 1001, 1002]),
    (ABC, [[0, 1, 7]], "`labels: {0: a, 1: b, 7: c}`", [0, 1, 7]),
]


@pytest.mark.parametrize(("text", "masks", "line", "ids"), SURE)
def test_ids_that_must_be_the_missing_classes(
    tmp_path: Path, text: str, masks: list[Sequence[int]], line: str, ids: list[int]
) -> None:
    root = own_data(tmp_path / "data", text, *masks)
    report = check(root)
    assert not report.ok
    assert line in absent(report)
    assert f"`segattn data check {root} --fix` does it" in absent(report)
    with pytest.raises(ValueError, match=r"dataset\.yaml: not one pixel of .*--allow-absent-classes"):
        require_all_classes(FolderDataset(root, "train"))
    assert report.mend is not None
    write_mend(report.mend)
    assert check(root).ok
    dataset = FolderDataset(root, "train")
    assert [dataset.training_id(raw) for raw in ids] == list(range(len(ids)))
    require_all_classes(dataset)


UNSURE = [
    (ABC, [[0, 1, 255]], "`labels: {0: a, 1: b, 255: c}`"),  # 255 may be the border between things, as in VOC
    (ABC + "labels: {0: a, 1: b, 2: c}\nignore: [255]\n", [[0, 1, 255]], "255: c}` and `ignore: []`"),
    (ABC + "labels: {0: a, 1: b, 2: c, 9: ignore}\n", [[0, 1, 9]], "9: c}`"),
    (CRACK, [[0, 128, 255]], "`labels: {0: background, 128: crack}`"),
    (ABC, [[0, 9]], "`labels: {0: a, 2: c, 9: b}`"),
]


@pytest.mark.parametrize(("text", "masks", "line"), UNSURE)
def test_ids_that_may_be_something_else_are_left_to_the_user(
    tmp_path: Path, text: str, masks: list[Sequence[int]], line: str
) -> None:
    report = check(own_data(tmp_path / "data", text, *masks))
    assert "which id is which class is yours to say" in absent(report)
    assert line in absent(report)
    assert report.mend is None


def test_the_share_of_what_is_ignored_is_told(tmp_path: Path) -> None:
    root = own_data(tmp_path / "data", CRACK, [0, 0, 0, 255], [0, 0, 0, 0], [0])
    said = absent(check(root))
    assert "not one pixel of crack in 3 masks, while they hold ids that no class is trained from: 255 (576 " in said
    assert "8.33%" in said


def test_a_class_that_is_simply_not_there(tmp_path: Path) -> None:
    root = own_data(tmp_path / "data", CRACK, [0])
    said = absent(check(root))
    assert said.endswith(
        "not one pixel of crack in 1 mask; correct the masks, or the list of classes; "
        "`segattn train --allow-absent-classes` trains without them"
    )
    with pytest.raises(ValueError, match=r"crack in 1 mask; correct the masks.*allow_absent_classes=True"):
        require_all_classes(FolderDataset(root, "train"))


def test_other_splits_than_train_may_lack_a_class(tmp_path: Path) -> None:
    root = own_data(tmp_path / "data", CRACK, [0, 255], split="val")
    report = check(root, "val")
    assert report.ok
    assert report.absent == ("crack",)
    (note, *_) = [note for note in report.notes if "not one pixel" in note]
    assert "`labels: {0: background, 255: crack}`" in note


def test_published_data_sets_may_lack_one(camvid: Path) -> None:
    for path in (camvid / "labels/train").iterdir():
        OWN["put"](path, [3])
    require_all_classes(CamVid(camvid, "train"))


def test_many_classes_are_told_in_a_bounded_line(tmp_path: Path) -> None:
    names = [f"{number:03d}" * 30 for number in range(200)]
    root = own_data(tmp_path / "data", classes(*(f"'{name}'" for name in names)), [0, 255])
    report = check(root)
    assert "and 194 more" in absent(report)
    assert len(absent(report)) < 2000
    assert report.absent[0] == names[1]


class InMemory:
    """A data set of Python's own; `ids` of each mask."""

    classes = Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)))

    def __init__(self, *ids: int) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        mask = np.full((4, 4), self.ids[index], np.uint8)
        return Sample(np.zeros((4, 4, 3), np.uint8), mask, str(index), Path(f"{index}.png"))


def test_data_sets_of_python_are_looked_through_too() -> None:
    require_all_classes(InMemory(0, 255, 1))
    with pytest.raises(ValueError, match=r"masks: not one pixel of b in 2 masks, while .* 255 \(16 pixels, 50\.00%\)"):
        require_all_classes(InMemory(0, 255))


def test_no_more_is_read_than_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = FolderDataset(own_data(tmp_path / "data", CRACK, *[[0, 1]] * 9), "train")
    read: list[int] = []
    monkeypatch.setattr(
        FolderDataset, "read_stored_ids", lambda self, index: read.append(index) or np.eye(2, dtype=int)
    )
    require_all_classes(dataset)
    assert len(read) == 1
