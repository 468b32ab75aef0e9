"""The page and the files: whole, of bounded size, escaped, without anything from elsewhere."""

from __future__ import annotations

import base64
import io
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import segattn
from segattn.contracts import Classes
from segattn.explaining.page import ATLAS_PIXELS, grid
from segattn.explaining.panels import MapPanel, Target
from segattn.explaining.view import View

IMAGE = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
NAMES = ("road", "<b>sky</b>", "car & co", "tree")


@cache
def view(backbone: str = "attanet_light", head: str = "danet") -> View:
    torch.manual_seed(1)
    model = segattn.build(backbone, head, num_classes=4).eval()
    model.classes = Classes(NAMES, Classes.numbered(4).palette)
    return segattn.explain(model, IMAGE, (5, 90), name="photo", title='A <script> & "title"')


@cache
def page() -> str:
    return view().page()


class Outline(HTMLParser):
    """The elements with their attributes; every one that is opened is closed."""

    VOID = ("meta", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def data() -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', page(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_is_sound_and_loads_nothing() -> None:
    outline = Outline(page())
    sources = [attributes["src"] for tag, attributes in outline.found if tag == "img"]
    assert len(sources) >= 6
    assert all(source is not None and source.startswith("data:image/") for source in sources)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|<iframe", re.sub(r"base64,[^\"]*", "", page()))
    assert "default-src 'none'" in page()
    assert all(attributes.get("alt") is not None for tag, attributes in outline.found if tag == "img")
    identifiers = [attributes["id"] for _, attributes in outline.found if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_names_are_escaped() -> None:
    assert "<h1>A &lt;script&gt; &amp; &#34;title&#34;</h1>" in page()
    assert "<b>sky" not in page()
    assert page().count("<script") == 2


def test_the_image_takes_the_focus_and_says_how() -> None:
    (scene,) = (attributes for _, attributes in Outline(page()).found if attributes.get("id") == "scene")
    assert scene["tabindex"] == "0"
    assert "arrow keys" in (scene["aria-label"] or "")


def test_the_classes_are_hidden_at_first() -> None:
    (over,) = (attributes for _, attributes in Outline(page()).found if attributes.get("id") == "over")
    assert "hidden" in over
    assert ".scene img[hidden] { display: none; }" in page()  # the rule for all its images would show it


def tiles(name: str) -> np.ndarray:
    """(points, h, w), 0..255, out of the atlas of a map."""
    found = re.search(rf'data-map="{name}".*?src="data:image/png;base64,([^"]+)"', page(), re.DOTALL)
    assert found is not None
    sheet = np.array(Image.open(io.BytesIO(base64.b64decode(found[1]))))
    columns = data()["grid"][1]
    h, w = sheet.shape[0] // (data()["grid"][0] + 1), sheet.shape[1] // columns
    return sheet.reshape(-1, h, columns, w).swapaxes(1, 2).reshape(-1, h, w)


def test_the_tiles_are_the_rows_of_the_points() -> None:
    (panel,) = (p for p in view().panels if p.name == "position_attention")
    assert isinstance(panel, MapPanel)
    assert panel.others is not None
    points = [tuple(point) for point in data()["points"]]
    assert points[-1] == (5, 90)
    shown = tiles("position_attention")
    for index in (0, 37, len(points) - 1):
        (values,) = panel.others([points[index]])
        top = float(data()["tops"]["position_attention"][index])
        np.testing.assert_allclose(shown[index] / 255 * top, values, atol=0.006 * top)
    assert f"<output>{data()['tops']['position_attention'][-1]}</output>" in page()


def test_bars_are_the_scores_of_the_points() -> None:
    (panel,) = (p for p in view().panels if p.name == "class_scores")
    assert panel.others is not None
    for index in (0, -1):
        ((best, value), *_) = data()["bars"]["class_scores"][index]
        (scores,) = panel.others([tuple(data()["points"][index])])
        assert best == int(scores.argmax())
        assert value == pytest.approx(float(scores.max()), abs=1e-4)
    assert data()["labels"]["class_scores"] == list(NAMES)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(512, 1024, (12, 16)), (1024, 512, (16, 12)), (3, 700, (3, 16)), (1, 1, (1, 1))]
)
def test_the_grid_s_points_lie_in_their_parts(height: int, width: int, expected: tuple[int, int]) -> None:
    points, (rows, columns) = grid(Target(0, 0, height, width))
    assert (rows, columns) == expected
    for i, (y, x) in enumerate(points):
        assert y * rows // height == i // columns  # as the page's script finds the part of a point
        assert x * columns // width == i % columns


def test_atlases_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = view("agent_pvt_t", "semantic_fpn")
    maps = [panel for panel in shown.panels if isinstance(panel, MapPanel) and panel.others is not None]
    assert len(maps) == 8
    monkeypatch.setattr("segattn.explaining.page.ATLAS_PIXELS", 200_000)
    text = shown.page()
    total = 0
    for found in re.findall(r'class="tiles" src="data:image/png;base64,([^"]+)"', text):
        width, height = Image.open(io.BytesIO(base64.b64decode(found))).size
        total += width * height
    assert 0 < total <= 1.1 * 200_000  # the last row of tiles holds one
    assert "in fewer cells than the network has" in " ".join(text.split())
    assert ATLAS_PIXELS == 4_000_000


def test_files_are_the_arrays_the_page_and_a_figure_each(tmp_path: Path) -> None:
    files = view().save(tmp_path / "new")
    assert sorted(files) == sorted((tmp_path / "new").iterdir())
    assert files[0].read_text(encoding="utf-8") == page()
    with np.load(files[1]) as stored:
        assert set(stored) == set(view().arrays)
        assert np.array_equal(stored["position_attention"], view().arrays["position_attention"])
    assert [file.name for file in files[2:]] == [f"photo_{panel.name}.png" for panel in view().panels]
    for file in files[2:]:
        figure = cv2.imread(str(file))
        assert min(figure.shape[:2]) > 150
        assert len(np.unique(figure.reshape(-1, 3), axis=0)) > 50


def test_a_map_s_figure_marks_the_pixel_and_has_the_image_under_it(tmp_path: Path) -> None:
    from segattn.explaining.drawing import draw

    (panel,) = (p for p in view().panels if p.name == "margin")
    targets = [Target(5, 5, 64, 96), Target(60, 90, 64, 96)]
    drawn = [cv2.imdecode(np.frombuffer(draw(panel, IMAGE, target), np.uint8), 1) for target in targets]
    changed = np.argwhere((drawn[0] != drawn[1]).any(2))
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert (bottom - top) / drawn[0].shape[0] > 0.5
    assert (right - left) / drawn[0].shape[1] > 0.5
    other = cv2.imdecode(np.frombuffer(draw(panel, 255 - IMAGE, Target(5, 5, 64, 96)), np.uint8), 1)
    assert (other != drawn[0]).any(2).mean() > 0.2


@pytest.mark.parametrize(("height", "width"), [(256, 512), (100, 400), (40, 400), (400, 100)])
@pytest.mark.parametrize("inches", [4.8, 5.0, 8.4])
def test_the_colour_bar_s_label_is_not_cut_off(height: int, width: int, inches: float) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from segattn.explaining.drawing import STYLE, fill, grey, size_of

    values = np.random.default_rng(0).random((4, 8), np.float32) / 100
    panel = MapPanel(name="m", title="", text="", unit="share of the pixel's attention, sums to 1", values=values)
    target = Target(height // 2, width // 2, height, width)
    with mpl.rc_context(STYLE):
        figure = Figure(size_of(panel, target, inches, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        fill(panel, figure, grey(np.zeros((height, width, 3), np.uint8)), target)
        figure.canvas.draw()
        axes = figure.axes[0]
        (bar,) = axes.child_axes
        label = bar.yaxis.label.get_window_extent()
        frame, beside = axes.get_window_extent(), bar.get_window_extent()
        power = bar.yaxis.get_offset_text().get_window_extent()
    assert " ".join(bar.get_ylabel().split()) == panel.unit
    assert label.y0 >= 0
    assert label.y1 <= figure.bbox.y1
    assert label.x1 <= figure.bbox.x1
    assert frame.y0 <= beside.y0 < beside.y1 <= frame.y1  # whatever room there is around the map
    assert power.x0 > frame.x1


def test_scores_are_rounded_once() -> None:
    from segattn.explaining.page import _largest

    (_, share), *_ = _largest(np.array([0.00248, 0.0], np.float32))
    assert f"{share:.3f}" == "0.002"
