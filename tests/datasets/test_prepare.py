"""Converting a data set once: every mask whole or absent, nothing done twice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from segattn.datasets import prepare as module
from segattn.datasets.base import Conversion, Plan
from segattn.datasets.images import read_ids
from segattn.datasets.prepare import PrepareReport, prepare


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """A data set "toy" of five masks; gives the list of the masks that were made, in order."""
    made: list[int] = []

    def make(index):
        made.append(index)
        return np.full((4, 6), index, np.uint8)

    def plan(root):
        masks = [Conversion(root / "masks" / f"{i}.png", lambda i=i: make(i)) for i in range(5)]
        return Plan(masks, {root / "lists" / "all.txt": [str(i) for i in range(5)]})

    monkeypatch.setitem(module.PLANS, "toy", plan)
    return made


def test_makes_everything_once(calls, tmp_path):
    report = prepare("toy", tmp_path)
    assert report == PrepareReport("toy", str(tmp_path), 5, 0, ())
    assert report.complete
    assert [int(read_ids(tmp_path / "masks" / f"{i}.png")[0, 0]) for i in range(5)] == list(range(5))
    assert (tmp_path / "lists/all.txt").read_text() == "0\n1\n2\n3\n4\n"

    again = prepare("toy", tmp_path)
    assert (again.made, again.kept) == (0, 5)
    assert calls == [0, 1, 2, 3, 4]


def test_goes_on_after_an_interruption(calls, tmp_path, monkeypatch):
    write = module.write_image

    def interrupted(path, image):
        if path.stem == "2":  # the process dies while this file is being written
            path.with_name(path.name + ".part").write_bytes(b"half of a PN")
            raise KeyboardInterrupt
        write(path, image)

    monkeypatch.setattr(module, "write_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare("toy", tmp_path)
    assert sorted(path.name for path in (tmp_path / "masks").glob("*.png")) == ["0.png", "1.png"]
    assert not (tmp_path / "lists").exists(), "the list says that all is there"

    monkeypatch.setattr(module, "write_image", write)
    calls.clear()
    report = prepare("toy", tmp_path)
    assert (report.made, report.kept) == (3, 2)
    assert calls == [2, 3, 4]
    assert not list(tmp_path.rglob("*.part"))
    assert read_ids(tmp_path / "masks/2.png").shape == (4, 6)


def test_an_empty_file_is_made_again(calls, tmp_path):
    prepare("toy", tmp_path)
    (tmp_path / "masks/3.png").write_bytes(b"")
    assert prepare("toy", tmp_path).made == 1
    assert read_ids(tmp_path / "masks/3.png").max() == 3


def test_a_bad_mask_does_not_stop_the_others(monkeypatch, tmp_path):
    def bad():
        raise ValueError("b.mat: is damaged; copy it again")

    masks = [
        Conversion(tmp_path / "a.png", lambda: np.zeros((2, 2))),
        Conversion(tmp_path / "b.png", bad),
        Conversion(tmp_path / "c.png", lambda: np.full((2, 2), 256)),
        Conversion(tmp_path / "d.png", lambda: np.full((2, 2), 0.5)),
    ]
    monkeypatch.setitem(module.PLANS, "toy", lambda root: Plan(masks, {tmp_path / "all.txt": ["a"]}))
    report = prepare("toy", tmp_path)
    assert report.made == 1
    assert not report.complete
    assert report.failed[0] == "b.mat: is damaged; copy it again"
    assert [line.split(":")[0] for line in report.failed] == ["b.mat", "c", "d"]
    assert "3 could not be made" in str(report)
    assert json.loads(report.to_json())["failed"] == list(report.failed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


@pytest.mark.parametrize("names", [("a.png", "A.png"), ("\u00e9.png", "e\u0301.png"), ("a.png", "a.png")])
def test_two_annotations_of_one_mask_are_refused(monkeypatch, tmp_path, names):
    masks = [Conversion(tmp_path / name, lambda: np.zeros((2, 2))) for name in names]
    monkeypatch.setitem(module.PLANS, "toy", lambda root: Plan(masks))
    with pytest.raises(ValueError, match=r"\.png: two annotations would write this mask; remove one of them"):
        prepare("toy", tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_what_can_be_prepared(tmp_path):
    with pytest.raises(ValueError, match=r"nothing to prepare.*pascal_context.*Did you mean pascal_context"):
        prepare("pascal_contxt", tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        prepare("voc2012", tmp_path / "none")
