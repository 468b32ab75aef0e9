import hashlib
from pathlib import Path

import numpy as np
import pytest

from segattn.contracts import IGNORE
from segattn.datasets.cityscapes import Cityscapes
from segattn.datasets.folder import FolderDataset
from segattn.synthetic import write as synthetic
from segattn.synthetic.write import draw_street, write_synthetic

OFFICIAL = {1, 7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}


def digest(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*.png")}


def test_it_is_a_cityscapes_data_set(tmp_path: Path) -> None:
    root = write_synthetic(tmp_path / "streets", train=3, val=2, size=(64, 128), seed=4)
    train, val = Cityscapes(root, "train"), Cityscapes(root, "val")
    assert (len(train), len(val)) == (3, 2)
    assert train[0].image.shape == (64, 128, 3)
    assert not np.array_equal(train[0].image, train[1].image)
    assert not np.array_equal(train[0].image, val[0].image)
    assert len({sample.name for sample in (*train, *val)}) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["streets"]


def test_it_is_a_folder_of_ones_own(tmp_path: Path) -> None:
    sizes = {"train": 2, "val": 1, "size": (64, 128)}
    root = write_synthetic(tmp_path / "own", **sizes, layout="folder")  # type: ignore[arg-type]
    streets = Cityscapes(write_synthetic(tmp_path / "streets", **sizes), "train")  # type: ignore[arg-type]
    own = FolderDataset(root, "train")
    assert (len(own), len(FolderDataset(root, "val"))) == (2, 1)
    assert own.classes.names == ("road", "pavement", "building", "sign", "nature", "sky", "person", "vehicle")
    for ours, theirs in zip(own, streets, strict=True):
        assert ours.mask is not None
        assert theirs.mask is not None
        assert np.array_equal(ours.image, theirs.image)
        for group, members in (("road", {"road"}), ("nature", {"vegetation", "terrain"}), ("sky", {"sky"})):
            wanted = np.isin(theirs.mask, [streets.classes.names.index(name) for name in members])
            assert np.array_equal(ours.mask == own.classes.names.index(group), wanted)
        assert np.array_equal(ours.mask == IGNORE, theirs.mask == IGNORE)


def test_the_seed_decides(tmp_path: Path) -> None:
    first = digest(write_synthetic(tmp_path / "a", train=2, val=1, size=(48, 96), seed=1))
    assert digest(write_synthetic(tmp_path / "b", train=2, val=1, size=(48, 96), seed=1)) == first
    assert not set(digest(write_synthetic(tmp_path / "c", train=2, val=1, size=(48, 96), seed=2)).values()) & set(
        first.values()
    )


def test_scenes_hold_all_classes_where_streets_have_them() -> None:
    seen: dict[int, int] = {}
    for seed in range(40):
        image, ids = draw_street(np.random.default_rng(seed), (128, 256))
        values, counts = np.unique(ids, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            seen[value] = seen.get(value, 0) + count
        assert ids[100, 128] in (7, 24, 25, 26, 27, 28, 31, 32, 33)  # road, or somebody on it
        assert 20 < image.mean() < 235
        assert image.std() > 15
    assert set(seen) == OFFICIAL
    total = sum(seen.values())
    assert 0.2 < seen[7] / total < 0.5
    assert seen[1] / total < 0.06


def test_image_follows_the_ids() -> None:
    """Neighbours of different labels differ more than neighbours of one label: the edges are where the ids say."""
    across, inside = [], []
    for seed in range(6):
        image, ids = draw_street(np.random.default_rng(seed), (128, 256))
        step = np.abs(np.diff(image.astype(int), axis=1)).mean(-1)
        edge = ids[:, 1:] != ids[:, :-1]
        across.append(step[edge].mean())
        inside.append(step[~edge].mean())
    assert np.mean(across) > 3 * np.mean(inside)


@pytest.mark.parametrize("size", [(33, 57), (200, 100), (32, 32)])
def test_any_size(size: tuple[int, int]) -> None:
    image, ids = draw_street(np.random.default_rng(0), size)
    assert image.shape == (*size, 3)
    assert ids.shape == size


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(synthetic, "_write", fail)
    with pytest.raises(OSError, match="disk full"):
        write_synthetic(tmp_path / "a", train=1, val=1, size=(32, 64))
    assert list(tmp_path.iterdir()) == []


def test_full_folders_and_wrong_sizes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").touch()
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_synthetic(tmp_path, train=1, val=0)
    (tmp_path / "empty").mkdir()
    root = write_synthetic(tmp_path / "empty", train=1, val=0, size=(32, 64))
    assert Cityscapes(root, "train")[0].mask is not None
    assert (Cityscapes(root, "train")[0].mask == IGNORE).any()
    with pytest.raises(ValueError, match="expected at least one"):
        write_synthetic(tmp_path / "b", train=0, val=0)
    with pytest.raises(ValueError, match="32 pixels or more"):
        write_synthetic(tmp_path / "b", train=1, val=0, size=(16, 64))
