from __future__ import annotations

import html
import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest

from segattn.contracts import IGNORE, Classes, Sample
from segattn.reports.training_page import write_page
from segattn.training.samples import SampleImages

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


def test_the_page_shows_the_last_ones_and_knows_all(tmp_path: Path) -> None:
    run = tmp_path / "a <run>"
    images = SampleImages(run, CLASSES, 4, count=2)
    for step in (1000, 200):
        predict(images, step, 4)
    images.writer(200)(sample("odd & <b>"), np.ones((40, 60), np.uint8))
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
def test_hostile_names_are_escaped_and_their_images_are_found(tmp_path: Path) -> None:
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
