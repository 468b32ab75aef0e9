from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

import segattn
from segattn.contracts import IGNORE, Classes, Sample
from segattn.evaluation.metrics import ConfusionMatrix, Scores, image_score
from segattn.evaluation.protocol import ATTANET_SLIDE, MULTI_FLIP, WHOLE, Protocol
from segattn.reports.highlights import WIDTH
from segattn.reports.origin import Origin, WeightsFile
from segattn.reports.scores import Report

CLASSES = Classes(("road", "sky", "car"), ((128, 64, 128), (70, 130, 180), (0, 0, 142)))
ORIGIN = Origin(
    recipe="a_recipe",
    weights=(WeightsFile("runs/one/last.safetensors", "0123456789abcdef" * 4),),
    data="streets",
    split="val",
    protocol=WHOLE.describe(),
    device="cpu: a processor, 2 cores",
    date="2026-01-02",
)
VOID_TAGS = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """The elements of a page as (tag, attributes) and as text by tag; fails on tags that don't nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return "\n".join(text for tag, text in self.texts if tag != "style")


class Samples(list[Sample]):
    """A data set of these samples."""

    def __init__(self, samples: Iterable[Sample] = (), classes: Classes = CLASSES) -> None:
        super().__init__(samples)
        self.classes = classes


def sample(name: str, mask: np.ndarray) -> Sample:
    image = np.random.default_rng(len(name)).integers(0, 256, (*mask.shape, 3), np.uint8)
    return Sample(image, mask, name, Path(f"{name}.png"))


def with_wrong_pixels(mask: np.ndarray, share: float, classes: int) -> np.ndarray:
    """The mask with the first `share` of its pixels given to the next class."""
    labels = np.where(mask == IGNORE, 0, mask).ravel()
    wrong = round(share * labels.size)
    labels[:wrong] = (labels[:wrong] + 1) % classes
    return labels.reshape(mask.shape).astype(np.uint8)


def scored(
    folder: Path,
    cases: list[tuple[Sample, np.ndarray]],
    classes: Classes = CLASSES,
    protocol: Protocol = WHOLE,
    title: str = "a title",
) -> tuple[Scores, Path]:
    report = Report(folder, Samples((item for item, _ in cases), classes))
    confusion, images = ConfusionMatrix(len(classes)), []
    for index, (item, labels) in enumerate(cases):
        assert item.mask is not None
        counts = confusion.update(labels, item.mask)
        images.append(image_score(counts, index, item.name, str(item.image_path)))
        report.add(item, labels)
    scores = Scores(confusion.counts, classes.names, protocol.absent, protocol.describe(), tuple(images))
    return scores, report.write(scores, title=title, origin=replace(ORIGIN, protocol=scores.protocol))


def some_cases(count: int, classes: int = 3, shape: tuple[int, int] = (30, 40)) -> list[tuple[Sample, np.ndarray]]:
    """Images 0, 1, ... of which each has more wrong pixels than the one before."""
    generator = np.random.default_rng(0)
    cases = []
    for number in range(count):
        mask = generator.integers(0, classes, shape).astype(np.uint8)
        mask[-2:] = IGNORE
        cases.append((sample(f"image-{number:03d}", mask), with_wrong_pixels(mask, 0.8 * number / count, classes)))
    return cases


def shown_images(page: Page) -> dict[str, list[str]]:
    """Names of the images below each heading."""
    shown: dict[str, list[str]] = {}
    for tag, text in page.texts:
        if tag == "h3":
            shown[text] = []
        elif tag == "b" and text.startswith("image-"):
            shown[list(shown)[-1]].append(text)
    return shown


def test_page_holds_the_scores_and_nests(tmp_path: Path) -> None:
    scores, path = scored(tmp_path, some_cases(12), protocol=MULTI_FLIP)
    assert path == tmp_path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    for value in (scores.miou, scores.macc, scores.aacc):
        assert ("b", f"{value:.2f}") in page.texts
    for name, score in scores.per_class.items():
        assert ("td", name) in page.texts
        assert ("b", f"{score.iou:.2f} %") in page.texts
        assert ("td", f"{score.acc:.2f} %") in page.texts
        assert ("td", f"{100 * score.pixels / scores.confusion.sum():.1f} %") in page.texts
    assert ("b", "12") in page.texts
    assert ("h1", "a title") in page.texts
    assert ("title", "a title") in page.texts
    assert page.texts.count(("small", "%")) == 3
    assert "multi_flip" in page.text
    assert "scales 0.5 0.75 1 1.25 1.5 1.75" in page.text


def test_the_head_says_where_the_scores_come_from_and_every_section_of_what(tmp_path: Path) -> None:
    page = Page(scored(tmp_path, some_cases(12))[1].read_text(encoding="utf-8"))
    values = [text for tag, text in page.texts if tag == "dd"]
    assert values == [
        "a_recipe",
        "one/last.safetensors, sha256 0123456789ab",
        "streets",
        "val",
        "cpu: a processor, 2 cores",
        "2026-01-02",
        segattn.__version__,
        WHOLE.describe(),
    ]
    assert "0123456789abcdef" * 4 in str(page.all("dd")[1]["title"])
    headings = [text for tag, text in page.texts if tag == "h2"]
    assert headings == ["Classes", "Confusion", "Images"]
    assert page.texts.count(("small", "streets val, whole")) == len(headings)


def test_a_class_that_is_absent_and_one_that_is_never_found_look_different(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[4:] = 1
    _, path = scored(tmp_path, [(sample("one", mask), np.zeros_like(mask))])
    rows = {row.split("</td>")[0].rpartition(">")[2]: row for row in path.read_text().split("<tr")[2:5]}
    assert "<b>0.00 %</b>" in rows["sky"]
    assert "absent" not in rows["sky"]
    assert "\u2013 absent: neither labelled nor predicted" in rows["car"]
    assert "0.00" not in rows["car"]


def test_bars_are_as_long_as_the_iou_and_in_the_palette(tmp_path: Path) -> None:
    scores, path = scored(tmp_path, some_cases(3))
    styles = [attributes.get("style") for attributes in Page(path.read_text()).all("i")]
    for (_, score), colour in zip(scores.per_class.items(), ("#804080", "#4682b4", "#00008e"), strict=True):
        assert f"width:{score.iou:.2f}%;background-color:{colour}" in styles


def test_confusion_is_normalised_by_row(tmp_path: Path) -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:4] = 1
    labels = mask.copy()
    labels[:1] = 2  # a quarter of "sky" is taken for "car"
    _, path = scored(tmp_path, [(sample("one", mask), labels)])
    page = Page(path.read_text())
    hints = [attributes.get("title") or "" for attributes in page.all("td")]
    assert "sky as car: 25.00 %, 10 pixels" in hints
    assert "sky as sky: 75.00 %, 30 pixels" in hints
    assert "road as road: 100.00 %, 60 pixels" in hints
    assert ("td", "25.0 %") in page.texts


def test_many_classes_give_a_picture_and_pairs(tmp_path: Path) -> None:
    classes = Classes.numbered(150)
    _, path = scored(tmp_path, some_cases(3, 150, (60, 80)), classes)
    page = Page(path.read_text())
    (heat,) = [attributes for attributes in page.all("img") if attributes.get("class") == "heat"]
    image = decoded(heat["src"], cv2.IMREAD_UNCHANGED)
    assert image.shape == (600, 600, 4)
    assert (image[::4, ::4][np.arange(150), np.arange(150), 3] > 0).all()
    assert not any(attributes.get("class") == "confusion" for attributes in page.all("table"))
    assert len([text for tag, text in page.texts if text == "taken for"]) == 1
    assert path.stat().st_size < 3_000_000


@pytest.mark.parametrize("count", [11, 19])
def test_fewer_classes_give_a_table(tmp_path: Path, count: int) -> None:
    _, path = scored(tmp_path, some_cases(3, count, (60, 80)), Classes.numbered(count))
    page = Page(path.read_text())
    assert [attributes.get("class") for attributes in page.all("table")] == ["classes", "confusion", "pairs"]
    assert len([hint for a in page.all("td") if " as " in (hint := a.get("title") or "")]) >= 2 * count


def test_best_middle_and_worst_are_shown(tmp_path: Path) -> None:
    scores, path = scored(tmp_path, some_cases(15)[::-1])
    page = Page(path.read_text())
    assert shown_images(page) == {
        "Best": ["image-000", "image-001", "image-002"],
        "Middle": ["image-006", "image-007", "image-008"],
        "Worst": ["image-014", "image-013", "image-012"],
    }
    assert f"mIoU {scores.images[0].miou:.2f}" in page.text
    assert len(page.all("img")) == 9 * 4


def test_images_show_what_they_say(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[:, 40:] = 1
    mask[:20] = IGNORE
    labels = np.zeros((60, 80), np.uint8)
    _, path = scored(tmp_path, [(sample("one", mask), labels)])
    views = {str(a["alt"]): decoded(a["src"])[..., ::-1].astype(int) for a in Page(path.read_text()).all("img")}
    assert list(views) == ["image of one", "prediction of one", "truth of one", "mistakes of one"]
    assert all(view.shape == (60, 80, 3) for view in views.values())
    right, wrong, ignored = (
        views["mistakes of one"][part].mean((0, 1)) for part in (np.s_[30:, :30], np.s_[30:, 50:], np.s_[:10, :])
    )
    assert np.ptp(right) < 12
    assert wrong[0] > wrong[1] + 100
    assert ignored.max() < 80
    truth, prediction = views["truth of one"], views["prediction of one"]
    assert np.abs(truth[30:, :30] - prediction[30:, :30]).mean() < 3
    assert np.abs(truth[30:, 50:] - prediction[30:, 50:]).mean() > 15


@pytest.mark.parametrize(("shape", "size"), [((1024, 2048), (480, 240)), ((700, 500), (480, 672)), ((7, 9), (9, 7))])
def test_images_are_small_and_keep_their_shape(tmp_path: Path, shape: tuple[int, int], size: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    _, path = scored(tmp_path, [(sample("one", mask), mask)])
    for attributes in Page(path.read_text()).all("img"):
        assert decoded(attributes["src"]).shape[1::-1] == size
        assert (attributes["width"], attributes["height"]) == (str(size[0]), str(size[1]))
        assert size[0] <= WIDTH


def test_of_many_images_the_middle_is_exact_and_only_those_shown_are_read_again(tmp_path: Path) -> None:
    cases = some_cases(120, shape=(16, 16))
    read: list[int] = []

    class Counting(Samples):
        def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
            read.append(index)
            return super().__getitem__(index)

    report, images = Report(tmp_path, Counting(item for item, _ in cases)), []
    confusion = ConfusionMatrix(3)
    for index, (item, labels) in enumerate(cases):
        assert item.mask is not None
        images.append(image_score(confusion.update(labels, item.mask), index, item.name, str(item.image_path)))
        report.add(item, labels)
    assert not read
    scores = Scores(confusion.counts, CLASSES.names, images=tuple(images))
    page = Page(report.write(scores, title="many", origin=ORIGIN).read_text())
    ranking = [image.name for image in sorted(images, key=lambda image: (-image.miou, -image.index))]
    shown = shown_images(page)
    assert shown["Best"] == ranking[:3]
    assert shown["Worst"] == ranking[:-4:-1]
    assert shown["Middle"] == ranking[59:62]
    assert len(read) == 9


@pytest.mark.parametrize("world", [2, 3])
def test_reports_of_several_processes_give_one(tmp_path: Path, world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = some_cases(23, shape=(16, 16))
    scores, path = scored(tmp_path / "one", cases)
    dataset = Samples(item for item, _ in cases)
    reports = [Report(tmp_path / "many", dataset, shard=(rank, world)) for rank in range(world)]
    for index, (item, labels) in enumerate(cases):
        reports[index % world].add(item, labels)
    sent: list[dict[int, object]] = []
    monkeypatch.setattr("segattn.reports.scores.gathered", lambda part: [sent.append(part) or part])
    for report in reports:
        report.gather(scores)
    assert sum(map(len, sent)) == 9
    monkeypatch.setattr("segattn.reports.scores.gathered", lambda _: sent)
    reports[0].gather(scores)
    many = reports[0].write(scores, title="a title", origin=ORIGIN)
    assert many.read_bytes() == path.read_bytes()


def test_images_without_labels_are_not_shown(tmp_path: Path) -> None:
    empty = sample("image-empty", np.full((8, 8), IGNORE, np.uint8))
    cases = [*some_cases(3), (empty, np.zeros((8, 8), np.uint8))]
    _, path = scored(tmp_path, cases)
    page = Page(path.read_text())
    assert "image-empty" not in page.text
    assert len(page.all("img")) == 3 * 4
    assert ("b", "4") in page.texts


def test_absent_classes_are_said(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    labels = mask.copy()
    labels[0, 0] = 1
    scores, path = scored(tmp_path / "a", [(sample("one", mask), labels)])
    text = Page(path.read_text()).text
    assert scores.absent_classes == ("car",)
    assert "Neither labelled nor predicted in any image: car. Such classes are left out of the mean IoU." in text
    assert "absent: neither labelled nor predicted" in text
    assert "Predicted but nowhere labelled, so with an IoU of 0 and without an accuracy: sky." in text
    assert "not labelled" in text

    scores, path = scored(tmp_path / "b", [(sample("one", mask), labels)], protocol=ATTANET_SLIDE)
    assert np.isnan(scores.miou)
    page = Page(path.read_text())
    assert "Such classes count as nan in the mean IoU." in page.text
    assert ("b", "\u2013") in page.texts


def test_a_set_without_absent_classes_says_nothing(tmp_path: Path) -> None:
    text = Page(scored(tmp_path, some_cases(3))[1].read_text()).text
    assert "Neither" not in text
    assert "nowhere labelled" not in text


def test_a_perfect_score_has_no_pairs(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 2]], np.uint8)
    _, path = scored(tmp_path, [(sample("one", mask), mask)])
    assert "No pixel was confused." in Page(path.read_text()).text


@pytest.mark.parametrize("count", [3, 40])
def test_names_are_escaped(tmp_path: Path, count: int) -> None:
    nasty = '<script>alert("1")</script>&\'"'
    names = (nasty, *(f"<b>{number}" for number in range(count - 1)))
    classes = Classes(names, Classes.numbered(count).palette)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 1
    labels = 1 - mask
    _, path = scored(tmp_path, [(sample(nasty, mask), labels)], classes, title=nasty)
    assert nasty not in path.read_text()
    page = Page(path.read_text())
    assert not page.all("script")
    assert ("h1", nasty) in page.texts
    assert ("td", nasty) in page.texts
    assert f"image of {nasty}" in [attributes.get("alt") for attributes in page.all("img")]
    hints = [attributes.get("title") or "" for attributes in page.all("td")]
    assert count > 30 or f"{nasty} as <b>0: 100.00 %, 32 pixels" in hints
    tags = {tag for tag, _ in page.elements}
    assert not {name for _, attributes in page.elements for name in attributes if name.startswith("on")}
    assert "b" in tags
    assert {text for tag, text in page.texts if tag == "b" and text.startswith("<")} == {nasty}


def test_nothing_refers_to_anything_outside(tmp_path: Path) -> None:
    _, path = scored(tmp_path, some_cases(12))
    html = path.read_text()
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "base", "a"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert not {"href", "srcset", "onload", "onclick"} & set(attributes)
        assert "src" not in attributes or str(attributes["src"]).startswith("data:image/")
    words = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", html)
    assert not re.search(r"https?:|url\(|@import|//", words)


def test_json_beside_it_reads_back(tmp_path: Path) -> None:
    scores, _ = scored(tmp_path, some_cases(5))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "scores.json"]
    again = Scores.from_json((tmp_path / "scores.json").read_text())
    assert (again.confusion == scores.confusion).all()
    assert again.miou == scores.miou
    assert again.images == scores.images


def test_a_report_without_images_is_whole(tmp_path: Path) -> None:
    confusion = np.array([[5, 1, 0], [0, 3, 0], [0, 2, 1]])
    path = Report(tmp_path, Samples()).write(Scores(confusion, CLASSES.names), title="numbers", origin=ORIGIN)
    page = Page(path.read_text())
    assert not page.all("img")
    assert ("h2", "Images") not in page.texts


def test_scores_of_other_classes_are_refused(tmp_path: Path) -> None:
    scores = Scores(np.eye(2, dtype=np.int64), ("a", "b"))
    with pytest.raises(ValueError, match=r"scores of the classes \('a', 'b'\), but the report is of"):
        Report(tmp_path, Samples()).write(scores, title="", origin=ORIGIN)
    assert not list(tmp_path.iterdir())


def test_samples_without_truth_are_refused(tmp_path: Path) -> None:
    item = Sample(np.zeros((4, 4, 3), np.uint8), None, "one", Path("one.png"))
    with pytest.raises(ValueError, match=r"one\.png: has no mask"):
        Report(tmp_path, Samples()).add(item, np.zeros((4, 4), np.uint8))


def test_a_folder_that_cannot_be_made_is_known_before_scoring(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file: nothing can be written there"):
        Report(tmp_path / "file", Samples())


def decoded(source: str | None, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    assert source is not None
    data = base64.b64decode(source.split(",", 1)[1])
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert image is not None
    return image
