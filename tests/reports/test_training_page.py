from __future__ import annotations

import base64
import html
import json
import os
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import segattn
from segattn.contracts import IGNORE, Classes, Sample
from segattn.recipes.serialize import to_yaml
from segattn.reports import training_page
from segattn.reports.training_page import write_page
from segattn.training.samples import SampleImages
from segattn.weights.checkpoint import describe_model, save_model

CLASSES = Classes(names=("road", "sky"), palette=((200, 20, 20), (20, 20, 200)))
RECORD = {"kind": "train", "loss": 1.0, "loss/main": 1.0, "lr": 0.1, "images_per_second": 2.0, "data_wait": 0.0}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with two records."""
    return begun(tmp_path / "a <run>")


def begun(folder: Path) -> Path:
    folder.mkdir(parents=True)
    records = [{**RECORD, "step": step, "date": "2026-01-02", "device": "cpu: one"} for step in (10, 20)]
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def sample(name: str, size: tuple[int, int] = (40, 60)) -> Sample:
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = 1
    mask[:, :10] = IGNORE
    return Sample(np.full((*size, 3), 90, np.uint8), mask, name, Path(f"{name}.png"))


def predict(images: SampleImages, step: int, length: int, shard: tuple[int, int] = (0, 1)) -> None:
    write = images.writer(step)
    for index in range(*((shard[0], length, shard[1]))):
        write(sample(f"p{index}"), np.ones((40, 60), np.uint8))


def shown_last(text: str) -> dict[str, str]:
    """The sources of the images that are shown without scripts, by name."""
    found = re.findall(r'data-name="([^"]*)">\n<div class="scroll"><img src="([^"]+)"', text)
    return {html.unescape(name): source for name, source in found}


def shown_earlier(text: str) -> list[tuple[int, dict[str, str]]]:
    found = re.search(r'id="earlier">(.*)</script>', text)
    assert found is not None
    return [(step, images) for step, images in json.loads(found[1])]


def decoded(source: str) -> np.ndarray:
    kind, _, data = source.partition(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def test_the_page_shows_the_last_ones_and_holds_all(run: Path) -> None:
    images = SampleImages(run, CLASSES, 4, count=2)
    for step in (1000, 200):
        predict(images, step, 4)
    images.writer(200)(sample("odd & <b>"), np.ones((40, 60), np.uint8))
    (run / "samples" / "step_x").mkdir()
    page = write_page(run)
    assert page == run / "training.html"
    text = page.read_text()
    assert "<title>a &lt;run&gt;</title>" in text
    assert sorted(shown_last(text)) == ["p0", "p3"]
    ((step, earlier),) = shown_earlier(text)
    assert step == 200
    assert sorted(earlier) == ["odd & <b>", "p0", "p3"]
    kept = cv2.imread(str(run / "samples/step_001000/p3.jpg"))
    assert np.abs(decoded(shown_last(text)["p3"]).astype(int) - kept).mean() < 3
    assert "<b>" not in text
    assert "odd &amp; &lt;b&gt;" in text


def test_the_page_is_one_file(run: Path) -> None:
    predict(SampleImages(run, CLASSES, 4, count=2), 10, 4)
    text = write_page(run).read_text()
    sources = re.findall(r'src="([^"]*)"', text)
    assert len(sources) == 4 + 2
    assert all(source.startswith("data:image/") for source in sources)
    curves = [base64.b64decode(s.partition(",")[2]).decode() for s in sources if s.startswith("data:image/svg+xml")]
    assert len(curves) == 4
    for curve in curves:
        width = float(re.search(r'<svg [^>]*width="([\d.]+)pt"', curve)[1])  # type: ignore[index]
        assert width < 390, "drawn as wide as a phone, so that text stays as large"
        assert "prefers-color-scheme: dark" in curve
        assert not re.search(r"https?:(?!//www\.w3\.org)", curve)
    assert not re.search(r"https?:|url\(|@import|<link", re.sub(r'"data:[^"]*"', "", text))


def test_the_head_names_recipe_weights_device_date_and_protocol(run: Path) -> None:
    recipe = segattn.recipe("attanet_light_camvid")
    (run / "recipe.yaml").write_text(to_yaml(recipe))
    model = segattn.create_model(recipe)
    save_model(run / "last.safetensors", model, describe_model(recipe, model.classes) | {"version": "0.0.9"})
    text = write_page(run).read_text()
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", text))
    assert facts.pop("weights").startswith("a &lt;run&gt;/last.safetensors, sha256 ")
    assert facts == {
        "recipe": "attanet_light_camvid",
        "data": "camvid",
        "split": f"{recipe.data.train_split}, validated on {recipe.data.val_split}",
        "steps": f"20 of {recipe.schedule.iterations:,}",
        "device": "cpu: one",
        "date": "2026-01-02",
        "segattn": "0.0.9",
        "protocol": recipe.validation.describe(),
    }
    (run / "recipe.yaml").write_text("name: old\nlosss: 1\n")
    assert "recipe.yaml is not one of this version of segattn" in write_page(run).read_text()


def test_of_many_validations_as_many_as_fit_are_shown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = SampleImages(run, CLASSES, 2, count=2)
    for step in range(10, 110, 10):
        predict(images, step, 2)
    size = sum(map(len, shown_last(write_page(run).read_text()).values()))
    monkeypatch.setattr(training_page, "EMBEDDED", 4 * size + size // 2)
    text = write_page(run).read_text()
    assert [step for step, _ in shown_earlier(text)] == [10, 40, 70]
    assert len(shown_last(text)) == 2
    assert "4 of 10 validations are on this page" in text


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode there")
def test_hostile_names_are_escaped_and_their_images_are_found(tmp_path: Path) -> None:
    folder = begun(tmp_path / 'a "run" <script>alert(1)<') / "samples" / "step_000001"
    folder.mkdir(parents=True)
    names = [b"<_script><script>alert(1)<_script>.jpg", b"\"><img src=x onerror='alert(1)'>.jpg", b"bad\xff.jpg"]
    done, data = cv2.imencode(".jpg", np.zeros((4, 4, 3), np.uint8))
    assert done
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(data.tobytes())
    (folder / "cut.jpg").write_bytes(b"")
    text = write_page(folder.parents[1]).read_text()
    assert text.count("<script") == 2  # the data, and the slider
    assert text.count("</script>") == 2
    assert text.count("<img") == 4 + len(names)
    assert sorted(shown_last(text)) == sorted(
        [r"bad\udcff", "<_script><script>alert(1)<_script>", "\"><img src=x onerror='alert(1)'>"]
    )


def test_a_run_without_samples_has_a_page_of_curves(run: Path) -> None:
    text = write_page(run).read_text()
    assert text.count("data:image/svg+xml") == 4
    assert "<script" not in text


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no log\.jsonl; expected a folder that `segattn train` wrote"):
        write_page(tmp_path)
    assert not list(tmp_path.iterdir())
