"""Sample predictions: which are written, and what they are called."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.contracts import IGNORE, Classes, Sample
from segattn.training.samples import SampleImages, steps_with_images

CLASSES = Classes(names=("road", "sky"), palette=((200, 20, 20), (20, 20, 200)))


def sample(name: str, size: tuple[int, int] = (40, 60)) -> Sample:
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = 1
    mask[:, :10] = IGNORE
    return Sample(np.full((*size, 3), 90, np.uint8), mask, name, Path(f"{name}.png"))


def predict(images: SampleImages, step: int, length: int, shard: tuple[int, int] = (0, 1)) -> None:
    write = images.writer(step)
    for index in range(*((shard[0], length, shard[1]))):
        write(sample(f"p{index}"), np.ones((40, 60), np.uint8))


@pytest.mark.parametrize(("length", "count", "names"), [(10, 4, "0 3 6 9"), (3, 8, "0 1 2"), (1, 4, "0"), (9, 1, "0")])
def test_they_are_spread_evenly_over_the_set(tmp_path: Path, length: int, count: int, names: str) -> None:
    images = SampleImages(tmp_path, CLASSES, length, count=count)
    predict(images, 600, length)
    assert [path.stem for path in images.files(600)] == [f"p{name}" for name in names.split()]
    assert images.files(600)[0].parent == tmp_path / "samples" / "step_000600"


@pytest.mark.parametrize("world", [2, 3])
def test_processes_write_the_same_ones_together(tmp_path: Path, world: int) -> None:
    predict(SampleImages(tmp_path / "one", CLASSES, 11, count=4), 5, 11)
    for rank in range(world):
        shard = (rank, world)
        predict(SampleImages(tmp_path / "many", CLASSES, 11, count=4, shard=shard), 5, 11, shard)
    one, many = (steps_with_images(tmp_path / name)[5] for name in ("one", "many"))
    assert [path.name for path in one] == [path.name for path in many]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in many]


def test_names_with_folders_stay_in_the_folder(tmp_path: Path) -> None:
    images = SampleImages(tmp_path, CLASSES, 1, count=1)
    images.writer(1)(sample("../a/b"), np.ones((40, 60), np.uint8))
    assert [path.name for path in images.files(1)] == [".._a_b.jpg"]


def test_files_are_images(tmp_path: Path) -> None:
    images = SampleImages(tmp_path, CLASSES, 1, count=1)
    predict(images, 1, 1)
    assert cv2.imread(str(images.files(1)[0])).shape[0] == 62
