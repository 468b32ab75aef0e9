"""The page of `segattn app` in a browser: what people do on it, and what it must never do."""

from __future__ import annotations

import base64
import io
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image

import segattn
from segattn.pictures import colorize
from segattn.synthetic.write import draw_street

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser
LIGHT, LITE0 = "attanet_light_camvid", "attanet_lite0_camvid"
Open = Callable[..., "Page"]


@contextmanager
def served(*words: str) -> Iterator[str]:
    """The address of `segattn app` with these words, which must say nothing else and end well."""
    command = [sys.executable, "-m", "segattn", "app", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next((match[0] for line in process.stdout if (match := re.search(r"http://\S+", line))), None)
        try:
            assert address is not None, process.communicate()
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(LIGHT, LITE0, "--max-megabytes", "1", "--max-megapixels", "0.5") as found:
        yield found


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Open]:
    """Opens the page; afterwards no script may have failed, and no other host may have been asked."""
    contexts = []
    asked: list[str] = []
    failed: list[str] = []

    def opened(url: str = address, *, width: int = 1200, scheme: Any = "light") -> Page:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("console", lambda message: failed.append(message.text) if "Security Policy" in message.text else None)
        page.goto(url)
        page.get_by_role("button", name="Choose an image").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    hosts = {re.sub(r"^(\w+://[^/:]*|\w+:).*", r"\1", url, flags=re.DOTALL) for url in asked}
    assert hosts <= {"http://127.0.0.1", "data:", "blob:"}
    assert failed == []


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "street.png"
    cv2.imwrite(str(path), draw_street(np.random.default_rng(3), (240, 320))[0][..., ::-1])
    return path


@pytest.fixture(scope="module")
def prediction(street: Path) -> segattn.Prediction:
    return segattn.predict(segattn.create_model(LIGHT, weights="default"), street)


def hand_in(page: Page, file: Any) -> None:
    page.locator("#picker input[type=file]").set_input_files(file)


def labelled(page: Page, file: Any, models: int = 1) -> Locator:
    """The stages, once the labels of all models are drawn on them."""
    hand_in(page, file)
    page.wait_for_function("n => document.querySelectorAll('canvas[data-painted]').length === n", arg=models)
    return page.locator(".sa-stage")


def canvas(page: Page) -> np.ndarray:
    """(H, W, 4): the colours that lie over the first image."""
    address = page.evaluate("document.querySelector('.sa-stage canvas').toDataURL('image/png')")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.array(image.convert("RGBA"))


def message(page: Page) -> str:
    """What the page says is wrong."""
    alert = page.locator("[role=alert]:visible")
    alert.wait_for()
    return alert.inner_text()


def class_button(page: Page, name: str) -> Locator:
    return page.locator(f".sa-class[data-name='{name}']").first


def test_an_upload_is_labelled_as_python_does(visit: Open, street: Path, prediction: segattn.Prediction) -> None:
    page = visit()
    labelled(page, street)
    colours = canvas(page)
    assert np.array_equal(colours[..., :3], colorize(prediction.labels, prediction.classes))
    assert (colours[..., 3] == 255).all()
    rows = page.locator(".sa-class").all_inner_texts()
    shares = prediction.shares()
    expected = [[name, f"{100 * share:.1f}%" if share >= 0.001 else "<0.1%"] for name, share in shares.items()]
    assert [re.split(r"\s*\n\s*", row) for row in rows] == expected
    assert "320\u00d7240 pixels, read at 480\u00d7360" in page.locator("figcaption").first.inner_text()


def test_a_click_on_a_pixel_shows_its_scores_and_what_was_looked_at(
    visit: Open, street: Path, prediction: segattn.Prediction
) -> None:
    page = visit()
    stage = labelled(page, street).first
    box = stage.bounding_box()
    assert box is not None
    stage.click(position={"x": box["width"] * 0.25, "y": box["height"] * 0.8})
    heading = page.locator(".sa-answer h2")
    heading.wait_for()
    match = re.fullmatch(r"Pixel y (\d+), x (\d+)", heading.inner_text())
    assert match is not None
    y, x = int(match[1]), int(match[2])
    assert abs(y - 192) <= 1
    assert abs(x - 80) <= 1
    probabilities = prediction.probabilities[:, y, x]
    best = page.locator(".sa-bars li").first.inner_text().split("\n")
    assert best[0] == prediction.classes.names[int(probabilities.argmax())]
    assert float(best[-1].rstrip("%")) == pytest.approx(100 * probabilities.max(), abs=0.06)
    assert best[0] in page.locator(".sa-where").inner_text()
    page.locator(".sa-look img").nth(2).wait_for()
    page.wait_for_function("[...document.querySelectorAll('.sa-look img')].every(i => i.naturalWidth > 600)")
    assert page.locator(".sa-look h3").all_inner_texts()[1:] == [
        "Strips that the pixel looks at",
        "Strips that the pixel's whole row looks at",
    ]


def test_of_many_clicks_the_last_one_is_answered(visit: Open, street: Path) -> None:
    page = visit()
    stage = labelled(page, street).first
    for x in (40, 90, 140, 190):
        stage.click(position={"x": x, "y": 30})
    where = page.locator(".sa-where").inner_text().partition(":")[0]
    page.locator(".sa-answer h2", has_text=re.compile(f"Pixel {where}$")).wait_for()
    page.locator(".sa-look img").nth(2).wait_for()
    assert page.get_by_role("button", name="Scores and attention").is_visible()


def test_an_answer_about_the_last_image_is_not_shown_with_the_next(visit: Open, street: Path) -> None:
    page = visit()
    labelled(page, street).first.click()
    page.get_by_role("button", name="Asking").wait_for()
    page.get_by_role("button", name="Try a drawn street").click()
    page.locator(".sa-stage img[alt^='street-']").wait_for()
    page.wait_for_timeout(3000)
    assert not page.locator(".sa-answer").is_visible()


def test_the_legend_highlights_on_hover_and_hides_on_click(
    visit: Open, street: Path, prediction: segattn.Prediction
) -> None:
    page = visit()
    labelled(page, street)
    name = next(iter(prediction.shares()))
    of_class = prediction.labels == prediction.classes.names.index(name)
    button = class_button(page, name)
    button.hover()
    alpha = canvas(page)[..., 3]
    assert (alpha[of_class] == 255).all()
    assert (alpha[~of_class] < 60).all()
    button.click()
    alpha = canvas(page)[..., 3]
    assert (alpha[of_class] == 0).all()
    assert (alpha[~of_class] == 255).all()
    assert button.get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Show all classes").click()
    assert (canvas(page)[..., 3] == 255).all()
    assert button.get_attribute("aria-pressed") == "true"


def test_the_opacity_is_that_of_the_slider(visit: Open, street: Path) -> None:
    page = visit()
    labelled(page, street)
    layer = page.locator(".sa-stage canvas")
    assert layer.evaluate("e => getComputedStyle(e).opacity") == "0.55"
    page.get_by_label("Opacity").fill("20")
    assert layer.evaluate("e => getComputedStyle(e).opacity") == "0.2"


@pytest.mark.parametrize("what", ["labels (PNG)", "overlay (PNG)", "shares (JSON)"])
def test_downloads_are_what_predict_writes(
    visit: Open, street: Path, prediction: segattn.Prediction, what: str, tmp_path: Path
) -> None:
    page = visit()
    labelled(page, street)
    with page.expect_download() as started:
        page.get_by_role("link", name=what).click()
    assert started.value.suggested_filename.startswith(f"street_{LIGHT}_{what.split()[0]}.")
    data = Path(started.value.path()).read_bytes()
    if what.startswith("labels"):
        assert data == prediction.labels_png()
    elif what.startswith("overlay"):
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.array(image), prediction.overlay())
    else:
        assert f'"model": "{LIGHT}"' in data.decode()


def file(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def picture(size: tuple[int, int], kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, (90, 120, 60)).save(data, format=kind, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    ("handed", "expected"),
    [
        (file("list.png", b"milk, bread\n"), "list.png: not an image that can be read"),
        (file("cut.jpg", picture((300, 300), "JPEG")[:-400]), "cut.jpg: the file is cut short after"),
        (
            file("film.gif", picture((9, 9), "GIF", save_all=True, append_images=[Image.new("RGB", (9, 9))])),
            "film.gif: holds 2 images",
        ),
        (file("wide.png", picture((1000, 501), "PNG")), "wide.png: 1000x501, 0.5 megapixels, more than the 0.5"),
        (file("big.png", bytes(1_000_001)), "big.png: 1.0 MB, more than the 1 MB that are taken here"),
    ],
    ids=["text", "cut", "animated", "pixels", "bytes"],
)
def test_what_can_not_be_taken_is_said_and_the_next_image_is_labelled(
    visit: Open, street: Path, handed: dict[str, Any], expected: str
) -> None:
    page = visit()
    hand_in(page, handed)
    assert message(page).startswith(expected)
    assert "Traceback" not in page.inner_text("body")
    labelled(page, street)
    assert page.locator("[role=alert]:visible").count() == 0


def test_a_reload_begins_anew(visit: Open, street: Path) -> None:
    page = visit()
    labelled(page, street)
    page.reload()
    page.get_by_role("button", name="Choose an image").wait_for()
    assert page.locator(".sa-stage").count() == 0
    labelled(page, street)


def test_all_can_be_done_by_keyboard(visit: Open, street: Path) -> None:
    page = visit()
    labelled(page, street)
    page.get_by_label("Opacity").focus()
    focused = "document.activeElement.className"
    while page.evaluate(focused) != "sa-stage":
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    assert page.locator(".sa-where").inner_text().startswith("y 121, x 165: ")
    page.keyboard.press("Enter")
    page.locator(".sa-answer h2", has_text="Pixel y 121, x 165").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "sa-class sa-lit"
    assert (canvas(page)[..., 3] < 60).any()
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "false"
    assert (canvas(page)[..., 3] == 0).any()


def test_models_stand_side_by_side_and_one_must_be_chosen(visit: Open, street: Path) -> None:
    page = visit()
    labelled(page, street)
    page.get_by_role("checkbox", name=LITE0).check()
    page.wait_for_function("document.querySelectorAll('canvas[data-painted]').length === 2")
    boxes = [page.locator(".sa-stage").nth(i).bounding_box() for i in range(2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    page.locator(".sa-stage").nth(1).click()
    page.locator(".sa-look img").nth(5).wait_for()
    page.get_by_role("checkbox", name=LITE0).uncheck()
    page.get_by_role("checkbox", name=LIGHT).uncheck()
    assert message(page) == "choose a model"


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_images_are_pasted_and_dropped(visit: Open, street: Path, event: str) -> None:
    page = visit()
    page.evaluate(
        """([kind, text]) => {
          const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "handed.png", { type: "image/png" }));
          const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        }""",
        [event, base64.b64encode(street.read_bytes()).decode()],
    )
    page.wait_for_selector("canvas[data-painted]")
    assert page.locator(".sa-stage img").get_attribute("alt") == "handed"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_cut_off_and_text_can_be_read(visit: Open, street: Path, width: int, scheme: str) -> None:
    page = visit(width=width, scheme=scheme)
    stage = labelled(page, street).first
    stage.click()
    page.locator(".sa-look img").nth(2).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = stage.bounding_box()
    assert box is not None
    assert box["height"] <= 900
    parts = (".sa-head p", ".sa-class b", ".sa-look .sa-quiet", ".sa-error", "#models label span", ".sa-files a")
    for part in parts:
        assert contrast(page, part) >= 4.5, part


def contrast(page: Page, part: str) -> float:
    """WCAG's ratio of a text's colour and of what lies behind it."""
    text, behind = page.evaluate(
        """(part) => {
          let node = document.querySelector(part);
          const text = getComputedStyle(node).color;
          const bare = (node) => /^(rgba\\(.*, 0\\)|transparent)$/.test(getComputedStyle(node).backgroundColor);
          while (bare(node) && node.parentElement) node = node.parentElement;
          return [text, getComputedStyle(node).backgroundColor];
        }""",
        part,
    )
    values = []
    for colour in (text, behind):
        channels = np.array([float(value) for value in re.findall(r"[\d.]+", colour)[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        values.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(values) + 0.05) / (min(values) + 0.05)


def test_a_drawn_street_needs_no_file(visit: Open) -> None:
    page = visit()
    page.get_by_role("button", name="Try a drawn street").click()
    page.wait_for_selector("canvas[data-painted]")
    assert "640\u00d7480" in page.locator("figcaption").first.inner_text()


def test_the_time_limit_is_said(visit: Open, street: Path) -> None:
    with served(LIGHT, "--timeout", "0.001") as address:
        page = visit(address)
        assert page.get_by_label(LIGHT).count() == 0  # one model is no choice
        hand_in(page, street)
        assert message(page).startswith("stopped after 0.001 seconds, the most that a request may take here")
