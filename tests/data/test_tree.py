"""Everyone sees the same files below a folder: links are followed, circles cut, leftovers passed over."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import pytest

from segattn.datasets import images as tree
from segattn.datasets.base import find_files
from segattn.datasets.camvid import CamVid
from segattn.datasets.check import check_named
from segattn.datasets.cityscapes import Cityscapes
from segattn.datasets.folder import FolderDataset
from segattn.datasets.images import files_below, is_leftover

OWN: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("own_data.py")))
classes, own_data, put = OWN["classes"], OWN["own_data"], OWN["put"]
AB = classes("a", "b")


def below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store",
        "._a.png",
        ".git",
        ".ipynb_checkpoints",
        "Thumbs.db",
        "thumbs.DB",
        "Desktop.ini",
        "__MACOSX",
        "@eaDir",
    ],
)
def test_leftovers(tmp_path: Path, name: str) -> None:
    assert is_leftover(name)
    touch(tmp_path / "file", name, "a.png", "b/c.png")
    touch(tmp_path / "folder", f"{name}/x.png", "a.png", f"b/{name}/x.png", "b/c.png")
    assert below(tmp_path / "file") == below(tmp_path / "folder") == ["a.png", "b/c.png"]


@pytest.mark.parametrize("name", ["a.b", "_a.png", "a..png", "thumbs.db.png", "-a"])
def test_ordinary_names(name: str) -> None:
    assert not is_leftover(name)


def test_links_are_followed_and_circles_cut(tmp_path: Path) -> None:
    touch(tmp_path / "other", "x.png", "deep/y.png")
    root = touch(tmp_path / "root", "a.png", "sub/b.png")
    (root / "linked").symlink_to(tmp_path / "other")
    (root / "relative").symlink_to("sub")
    (root / "file.png").symlink_to(tmp_path / "other/x.png")
    (root / "sub/up").symlink_to(root)
    (tmp_path / "other/deep/back").symlink_to(root)
    assert below(root) == ["a.png", "file.png", *("linked/x.png", "linked/deep/y.png", "relative/b.png", "sub/b.png")]
    (tmp_path / "start").symlink_to(root)
    assert len(below(tmp_path / "start")) == len(below(root))


@pytest.mark.parametrize("target", ["nothing", "itself"])
def test_a_link_to_nothing_is_an_error(tmp_path: Path, target: str) -> None:
    root = touch(tmp_path / "root", "a.png")
    (root / "itself").symlink_to(target if target == "itself" else tmp_path / "nothing.png")
    with pytest.raises(FileNotFoundError, match=r"root/itself: is a link to .*, which is not there; mend the link or"):
        below(root)


def test_a_hidden_link_to_nothing_is_none(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a.png")
    (root / ".#lock").symlink_to("user@host.1234")  # as Emacs leaves
    assert below(root) == ["a.png"]


def test_links_that_lead_to_each_other_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in "abcdefgh":
        (tmp_path / first).mkdir()
        for second in "abcdefgh":
            if first != second:
                (tmp_path / first / second).symlink_to(tmp_path / second)
    monkeypatch.setattr(tree, "MOST_FOLDERS", 1000)
    with pytest.raises(ValueError, match="more than 1000 folders below it; do links lead to each other there"):
        below(tmp_path)


def test_linked_folders_of_own_data(tmp_path: Path) -> None:
    root = own_data(tmp_path / "data", AB, [0, 1])
    for kind, ids, end in (("images", None, "jpg"), ("masks", [0, 1], "png")):
        put(tmp_path / f"{kind}_b/x.{end}", ids)
        (root / kind / "train/city_b").symlink_to(tmp_path / f"{kind}_b")
        (root / kind / "train/loop").symlink_to(root / kind / "train")
        (root / kind / "more").symlink_to(root / kind / "train")
        put(root / kind / f"train/._p0.{end}", ids)
        put(root / kind / f"train/.cache/z.{end}", ids)
    for split in ("train", "more"):
        assert [pair.name for pair in FolderDataset(root, split).pairs] == ["city_b/x", "p0"]
    assert check_named("folder", root, "train").ok


def test_linked_cities(tmp_path: Path) -> None:
    store, root = tmp_path / "store", tmp_path / "cityscapes"
    for kind, end, ids in (("leftImg8bit", "leftImg8bit", None), ("gtFine", "gtFine_labelIds", [7, 8])):
        put(store / kind / f"ulm/ulm_0_{end}.png", ids)
        put(root / kind / f"train/bonn/bonn_0_{end}.png", ids)
        (root / kind / "train/ulm").symlink_to(store / kind / "ulm")
    assert [Path(pair.name).name for pair in Cityscapes(root, "train").pairs] == ["bonn_0", "ulm_0"]


def test_leftovers_of_published_data(camvid: Path) -> None:
    for kind in ("images", "labels"):
        put(camvid / kind / "train/._train0.png", [0])
        touch(camvid / kind / "train", "Thumbs.db", ".DS_Store")
    assert len(CamVid(camvid, "train")) == 4


def test_links_to_nothing_are_named_by_data_sets(camvid: Path) -> None:
    (camvid / "images/train/train9.png").symlink_to(camvid / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"train9\.png: is a link to .*gone\.png, which is not there"):
        CamVid(camvid, "train")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(touch(tmp_path / "d", "b.png") / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: is a pipe \(FIFO\), not a regular file"):
        find_files(tmp_path / "d")
    os.mkfifo(touch(tmp_path / "e", "b.png") / "a.sock")  # of no suffix that is asked for
    assert list(find_files(tmp_path / "e")) == ["b"]


def test_names_that_meet(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png and a\.jpg have the same name but for the suffix; remove one"):
        find_files(touch(tmp_path / "d", "a.jpg", "a.png"))
    with pytest.raises(ValueError, match="have the same name but for the suffix"):
        find_files(touch(tmp_path / "e", "a.PNG", "a.png"))
    assert list(find_files(touch(tmp_path / "f", "a.png", "A.png", "x/a.png"))) == ["A", "a", "x/a"]
