"""Sample predictions: which, what is in them, and the page that shows them."""

from __future__ import annotations

import html
import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import cv2
import numpy as np
import pytest

from segattn.contracts import IGNORE, Classes, Sample
from segattn.pictures import side_by_side
from segattn.reports.training_page import write_page
from segattn.training.samples import SamplePictures, steps_with_pictures

CLASSES = Classes(names=("road", "sky"), palette=((200, 20, 20), (20, 20, 200)))


def sample(name: str, size: tuple[int, int] = (40, 60)) -> Sample:
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = 1
    mask[:, :10] = IGNORE
    return Sample(np.full((*size, 3), 90, np.uint8), mask, name, Path(f"{name}.png"))


def predict(pictures: SamplePictures, step: int, length: int, shard: tuple[int, int] = (0, 1)) -> None:
    write = pictures.writer(step)
    for index in range(*((shard[0], length, shard[1]))):
        write(sample(f"p{index}"), np.ones((40, 60), np.uint8))


def test_picture_truth_and_prediction_lie_side_by_side_in_the_colours_of_the_classes() -> None:
    picture = side_by_side(sample("a"), np.ones((40, 60), np.uint8), CLASSES)
    body = picture[22:]
    assert body.shape[0] == 40
    image, truth, prediction = (body[:, left : left + 60] for left in (0, 68, 136))
    assert (image == 90).all()
    assert (truth[:, :10] == 0).all()
    assert (truth[:20, 10:] == CLASSES.palette[1]).all()
    assert (truth[20:, 10:] == CLASSES.palette[0]).all()
    assert (prediction == CLASSES.palette[1]).all()
    assert picture.shape[1] > 3 * 68  # the legend


def test_large_pictures_are_made_smaller_and_labels_stay_labels() -> None:
    large = sample("a", (1024, 2048))
    assert large.mask is not None
    picture = side_by_side(large, large.mask, CLASSES)
    assert picture.shape[0] == 22 + 320
    colours = {tuple(colour) for colour in picture[22:, 648 : 648 + 640].reshape(-1, 3)}
    assert colours == {(0, 0, 0), *CLASSES.palette}


@pytest.mark.parametrize(("length", "count", "names"), [(10, 4, "0 3 6 9"), (3, 8, "0 1 2"), (1, 4, "0"), (9, 1, "0")])
def test_they_are_spread_evenly_over_the_set(tmp_path: Path, length: int, count: int, names: str) -> None:
    pictures = SamplePictures(tmp_path, CLASSES, length, count=count)
    predict(pictures, 600, length)
    assert [path.stem for path in pictures.files(600)] == [f"p{name}" for name in names.split()]
    assert pictures.files(600)[0].parent == tmp_path / "samples" / "step_000600"


@pytest.mark.parametrize("world", [2, 3])
def test_processes_write_the_same_ones_together(tmp_path: Path, world: int) -> None:
    predict(SamplePictures(tmp_path / "one", CLASSES, 11, count=4), 5, 11)
    for rank in range(world):
        shard = (rank, world)
        predict(SamplePictures(tmp_path / "many", CLASSES, 11, count=4, shard=shard), 5, 11, shard)
    one, many = (steps_with_pictures(tmp_path / name)[5] for name in ("one", "many"))
    assert [path.name for path in one] == [path.name for path in many]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in many]


def test_names_with_folders_stay_in_the_folder(tmp_path: Path) -> None:
    pictures = SamplePictures(tmp_path, CLASSES, 1, count=1)
    pictures.writer(1)(sample("../a/b"), np.ones((40, 60), np.uint8))
    assert [path.name for path in pictures.files(1)] == [".._a_b.jpg"]


def test_the_page_shows_the_last_ones_and_knows_all(tmp_path: Path) -> None:
    run = tmp_path / "a <run>"
    pictures = SamplePictures(run, CLASSES, 4, count=2)
    for step in (1000, 200):
        predict(pictures, step, 4)
    pictures.writer(200)(sample("odd & <b>"), np.ones((40, 60), np.uint8))
    (run / "samples" / "step_x").mkdir()
    page = write_page(run)
    assert page == run / "training.html"
    text = page.read_text()
    assert "<title>a &lt;run&gt;</title>" in text
    assert 'src="curves.svg"' in text
    assert re.findall(r'<img src="([^"]+)" alt', text) == [f"samples/step_001000/p{index}.jpg" for index in (0, 3)]
    found = re.search(r'id="shown">(.*)</script>', text)
    assert found is not None
    shown = json.loads(found[1])
    assert [step for step, _ in shown] == [200, 1000]
    for _, files in shown:
        for file in files.values():
            assert (run / file.replace("%20", " ").replace("%26", "&").replace("%3C", "<").replace("%3E", ">")).exists()
    assert "<b>" not in text
    assert "odd &amp; &lt;b&gt;" in text
    assert "http" not in text


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode there")
def test_hostile_names_are_escaped_and_their_pictures_are_found(tmp_path: Path) -> None:
    folder = tmp_path / 'a "run" <script>alert(1)<' / "samples" / "step_000001"
    folder.mkdir(parents=True)
    names = [b"<_script><script>alert(1)<_script>.jpg", b"\"><img src=x onerror='alert(1)'>.jpg", b"bad\xff.jpg"]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(b"")
    text = write_page(folder.parents[1]).read_text()
    assert text.count("<script") == 2  # the data, and the slider
    assert text.count("</script>") == 2
    assert text.count("<img") == 1 + len(names)
    sources = re.findall(r'<img src="([^"]*)" alt=""', text)
    assert sorted(unquote_to_bytes(source).rpartition(b"/")[2] for source in sources) == sorted(names)
    found = re.search(r'id="shown">(.*)</script>', text)
    assert found is not None
    (_, files) = json.loads(found[1])[0]
    assert sorted(files.values()) == sorted(sources)
    assert set(files) == {html.unescape(name) for name in re.findall(r'data-name="([^"]*)"', text)}


def test_a_run_without_samples_has_a_page_of_curves(tmp_path: Path) -> None:
    text = write_page(tmp_path).read_text()
    assert "curves.svg" in text
    assert "script" not in text


def test_files_are_pictures(tmp_path: Path) -> None:
    pictures = SamplePictures(tmp_path, CLASSES, 1, count=1)
    predict(pictures, 1, 1)
    assert cv2.imread(str(pictures.files(1)[0])).shape[0] == 62
