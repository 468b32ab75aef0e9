"""The page of `segattn explain` in Chromium: a click or a key asks about another pixel, and nothing is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import segattn
from segattn.synthetic.write import draw_street

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 240, 320
ASKED = (200, 100)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = segattn.create_model("attanet_light_camvid", weights="default")
    street = draw_street(np.random.default_rng(4), (HEIGHT, WIDTH))[0]
    path = tmp_path_factory.mktemp("explained") / "street_explain.html"
    path.write_text(segattn.explain(model, street, at=ASKED).page(), encoding="utf-8")
    return path


@pytest.fixture(params=[(1400, "light"), (390, "dark")], ids=["1400 light", "390 dark"])
def page(chromium: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open; afterwards no script may have failed and nothing but the file itself may have been asked for."""
    width, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda asking: asked.append(asking.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("console", lambda message: failed.append(message.text))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert {url for url in asked if not url.startswith("data:")} == {file.as_uri()}
    assert failed == []


def pixel(page: Page) -> tuple[int, int, str]:
    found = re.fullmatch(r"pixel y (\d+), x (\d+): (.+)", page.inner_text("#where"))
    assert found is not None
    return int(found[1]), int(found[2]), found[3]


def state(page: Page) -> dict[str, Any]:
    """What changes with the pixel: the marks, the place of the tiles, the bars."""
    return {
        "marks": page.eval_on_selector_all(".mark", "marks => marks.map((m) => [m.style.left, m.style.top])"),
        "tiles": page.eval_on_selector_all(".tiles", "tiles => tiles.map((t) => [t.style.left, t.style.top])"),
        "bars": page.locator("[data-bars]").all_inner_texts(),
    }


def test_a_click_asks_about_the_pixel_under_it(page: Page) -> None:
    assert pixel(page)[:2] == ASKED
    first = state(page)
    box = page.locator("#image").bounding_box()
    assert box is not None
    for down, across in ((0.1, 0.5), (0.9, 0.5), (0.6, 0.05)):
        before = state(page)
        page.locator("#scene").click(position={"x": across * box["width"], "y": down * box["height"]})
        y, x, label = pixel(page)
        assert abs(y - down * HEIGHT) <= HEIGHT / 12 / 2 + 1
        assert abs(x - across * WIDTH) <= WIDTH / 16 / 2 + 1
        after = state(page)
        assert all(before[part] != after[part] for part in ("marks", "tiles", "bars"))
        assert after["bars"][0].startswith(f"{label}\n")
    told = "() => getComputedStyle(document.querySelector('.told'), '::before').content"
    assert page.evaluate(told) == '"For the first pixel: "'
    page.keyboard.press("Home")
    assert pixel(page)[:2] == ASKED
    assert state(page)["bars"] == first["bars"]
    assert page.evaluate(told) == "none"


def test_arrow_keys_move_the_pixel_and_stop_at_the_edge(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "scene"
    page.keyboard.press("ArrowRight")
    y, x, _ = pixel(page)
    assert (y, x) == (210, 130)  # the next column's point, in the row that 200 lies in
    page.keyboard.press("ArrowUp")
    assert pixel(page)[:2] == (y - HEIGHT // 12, x)
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert pixel(page)[1] == WIDTH // 16 // 2
    assert page.evaluate("window.scrollX") == 0


def test_the_classes_are_laid_over_the_image_on_demand(page: Page) -> None:
    assert page.is_hidden("#over")
    page.get_by_label("predicted classes").check()
    assert page.is_visible("#over")
    boxes = [page.locator(name).bounding_box() for name in ("#over", "#image")]
    assert boxes[0] == boxes[1]


def test_the_page_fits_its_width(page: Page) -> None:
    assert page.viewport_size is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
