"""The static page of docs/demo in Chromium: its labels are Python's, and what people do on it works."""

from __future__ import annotations

import base64
import functools
import http.server
import importlib.util
import io
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import segattn
from segattn.synthetic.write import draw_street

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
RECIPE = "attanet_light_camvid"
CAMERA = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
SOFTWARE_GPU = [
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
]
READY = "body[data-engine]"
FAILED = "#error:not([hidden])"
LABELLED = "#times:has-text(' ms ')"

Open = Callable[..., "Page"]
Pixels = NDArray[np.uint8]


def demo_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_page", ROOT / "tools/demo_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("npm") is None:
        pytest.skip("needs npm, which fetches ONNX Runtime Web")
    folder = tmp_path_factory.mktemp("page") / "demo-page"
    demo_page().make(folder)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Open]:
    """Opens the page; afterwards no script may have failed, and no other host may have been asked."""
    contexts, asked, failed = [], [], []

    def opened(
        browser: Browser = chromium,
        *,
        width: int = 1400,
        scheme: Any = "light",
        without: str = "",
        script: str = "",
        wait: str = READY,
        path: str = "",
    ) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("console", lambda message: failed.append(message.text) if "Security Policy" in message.text else None)
        if without:
            page.route(f"**/{without}", lambda route: route.fulfill(status=404))
        if script:
            page.add_init_script(script)
        page.goto(address + path)
        page.wait_for_selector(wait)
        return page

    yield opened
    for context in contexts:
        context.close()
    own = re.compile(rf"{re.escape(address)}|blob:{re.escape(address)}")
    assert [url for url in asked if not own.match(url)] == []
    assert failed == []


@functools.cache
def model() -> Any:
    return segattn.create_model(RECIPE, weights="default")


def street(height: int, width: int, seed: int = 2) -> Pixels:
    return draw_street(np.random.default_rng(seed), (height, width))[0]


def png(image: Pixels, name: str = "street.png") -> Any:
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    return {"name": name, "mimeType": "image/png", "buffer": data}


def hand_in(page: Page, file: Any, wait: str = LABELLED) -> None:
    page.set_input_files("#file", file)
    page.wait_for_selector(wait)


def saved(page: Page, button: str = "#labels") -> tuple[str, Image.Image]:
    with page.expect_download() as download:
        page.click(button)
    image = Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))
    image.load()
    return download.value.suggested_filename, image


def tinted(page: Page) -> NDArray[np.bool_]:
    """(pixels,): which of the overlay's have a colour."""
    address = page.evaluate("document.getElementById('over').toDataURL('image/png')")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image)[..., 3].ravel() > 0


def test_labels_are_those_of_python_at_the_size_of_training(visit: Open) -> None:
    image = street(360, 480)
    page = visit()
    assert "WASM (the processor, 1 thread)" in page.inner_text("#engine")
    assert page.input_value("#opacity") == "55"
    hand_in(page, png(image))
    expected = segattn.predict(model(), image)
    name, labels = saved(page)
    assert name == "street_labels.png"
    assert labels.mode == "P"
    palette = np.array(labels.getpalette()).reshape(-1, 3)
    assert palette[:11].tolist() == [list(colour) for colour in model().classes.palette]
    assert (np.asarray(labels) == expected.labels).mean() >= 0.9999
    shares = [line.split("\n") for line in page.locator("#legend button").all_inner_texts()]
    assert [name for name, _ in shares][: len(expected.shares())] == list(expected.shares())
    assert shares[0][1] == f"{100 * next(iter(expected.shares().values())):.1f} %"
    assert re.fullmatch(r"480 x 360: \d+ ms WASM, \d+ ms around it", page.inner_text("#times"))


@pytest.mark.parametrize("size", [(600, 800), (1080, 1500), (130, 200), (700, 300)])
def test_labels_of_other_sizes_are_those_of_python(visit: Open, size: tuple[int, int]) -> None:
    image = street(*size)
    page = visit()
    hand_in(page, png(image))
    expected = segattn.predict(model(), image)
    labels = np.asarray(saved(page)[1])
    assert labels.shape == size
    assert (labels == expected.labels).mean() >= 0.9999
    read = "" if expected.read_at == size else f", read at {expected.read_at[1]} x {expected.read_at[0]}"
    assert page.inner_text("#times").startswith(f"{size[1]} x {size[0]}{read}: ")


def test_a_turned_jpeg_is_labelled_upright(visit: Open, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.fromarray(np.rot90(street(360, 480)).copy()).save(path, quality=90, exif=exif)
    page = visit()
    hand_in(page, path)
    expected = segattn.predict(model(), path).labels
    labels = np.asarray(saved(page)[1])
    assert labels.shape == (360, 480)
    assert (labels == expected).mean() >= 0.999


def test_resized_pixels_are_those_of_python(visit: Open) -> None:
    from segattn.predicting.prediction import resized

    page = visit()
    sizes = [(720, 960), (1080, 1440), (700, 999), (90, 131), (9, 600), (600, 2), (1, 1)]
    targets = [(360, 480), (360, 480), (336, 480), (330, 480), (7, 480), (480, 2), (480, 480)]
    for size, to in zip(sizes, targets, strict=True):
        image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
        rgba = np.dstack([image, np.full(size, 255, np.uint8)])
        found = page.evaluate(
            "async ([rgba, from, to]) => { const { planes } = await import('./pixels.js');"
            "const made = planes(Uint8ClampedArray.from(atob(rgba), (c) => c.charCodeAt(0)), from, to);"
            "return btoa(Array.from(made, (value) => String.fromCharCode(value)).join('')) }",
            [base64.b64encode(rgba.tobytes()).decode(), list(size), list(to)],
        )
        planes = np.frombuffer(base64.b64decode(found), np.uint8).reshape(3, *to).transpose(1, 2, 0)
        assert np.abs(planes.astype(int) - resized(image, to)).max() <= 1
        assert (planes == resized(image, to)).mean() >= 0.999


def test_images_are_read_at_python_s_size(visit: Open) -> None:
    from segattn.evaluation.geometry import size_near

    sizes = [(height, width) for height in (1, 100, 431, 432, 960, 961, 3000) for width in range(1, 1300, 7)]
    found = visit().evaluate(
        "async (sizes) => { const { readingSize } = await import('./pixels.js');"
        "const facts = await (await fetch('model.json')).json();"
        "return sizes.map(([height, width]) => readingSize(height, width, facts)) }",
        [list(size) for size in sizes],
    )
    assert [tuple(size) for size in found] == [size_near(*size, (360, 480)) for size in sizes]


def test_pointing_at_a_class_shows_it_alone_and_a_click_hides_it(visit: Open) -> None:
    page = visit()
    hand_in(page, png(street(360, 480)))
    road = np.asarray(saved(page)[1]).ravel() == 3
    entry = page.locator("#legend button", has_text="road")
    assert tinted(page).all()
    entry.hover()
    assert np.array_equal(tinted(page), road)
    page.mouse.move(5, 5)
    assert tinted(page).all()
    entry.click()
    assert entry.get_attribute("aria-pressed") == "false"
    assert np.array_equal(tinted(page), ~road)
    entry.click()
    assert tinted(page).all()
    box = page.locator("#photo").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 3)
    assert re.fullmatch(r"road at x 2[34]\d, y 35\d", page.inner_text("#here"))


def test_everything_is_within_reach_of_the_keyboard(visit: Open) -> None:
    page = visit()
    hand_in(page, png(street(360, 480)))
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(18):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.innerText.split('\\n')[0]"))
    assert reached[:4] == ["file", "camera", "example", "opacity"]
    assert set(reached[4:15]) == set(model().classes.names)
    assert reached[15:17] == ["labels", "overlay"]
    page.focus("#opacity")
    page.keyboard.press("End")
    assert page.inner_text("#percent") == "100 %"
    assert page.eval_on_selector("#over", "(canvas) => getComputedStyle(canvas).opacity") == "1"
    page.keyboard.press("Tab")
    assert 0 < tinted(page).mean() < 1  # the class with the focus alone
    page.keyboard.press("Space")
    assert page.locator("#legend button").first.get_attribute("aria-pressed") == "false"


def test_the_overlay_is_saved_at_the_image_s_size(visit: Open) -> None:
    image = street(600, 1700)
    page = visit()
    hand_in(page, png(image))
    labels = np.asarray(saved(page)[1])
    name, overlay = saved(page, "#overlay")
    assert name == "street_overlay.png"
    colours = np.array(model().classes.palette)[labels]
    assert np.abs(np.asarray(overlay)[..., :3] - (0.45 * image + 0.55 * colours)).max() <= 2


def test_dropped_and_pasted_photos_are_labelled(visit: Open) -> None:
    page = visit()
    hand_over = (
        "async ([event, name]) => { const data = new DataTransfer();"
        "const blob = await (await fetch('example.png')).blob();"
        "data.items.add(new File([blob], name, { type: 'image/png' }));"
        "const kind = event === 'paste' ? new ClipboardEvent(event, { clipboardData: data, bubbles: true })"
        ": new DragEvent(event, { dataTransfer: data, bubbles: true, cancelable: true });"
        "document.body.dispatchEvent(kind) }"
    )
    for event, name in (("drop", "dropped.png"), ("paste", "pasted.png")):
        page.evaluate(hand_over, [event, name])
        page.wait_for_selector("#times:has-text('labelling')")
        page.wait_for_selector(LABELLED)
        assert saved(page)[0] == f"{name[:-4]}_labels.png"


def test_the_drawn_street_and_a_reload(visit: Open) -> None:
    page = visit()
    page.click("#example")
    page.wait_for_selector(LABELLED)
    assert page.is_hidden("#empty")
    page.reload()
    page.wait_for_selector(READY)
    assert page.is_visible("#empty")
    assert page.is_disabled("#labels")
    hand_in(page, png(street(360, 480)))


def test_the_webcam_is_labelled_live(visit: Open, chromium: Browser, chromium_path: str) -> None:
    browser = chromium.browser_type.launch(executable_path=chromium_path, args=CAMERA)
    page = visit(browser)
    page.click("#camera")
    page.wait_for_selector("#times:has-text('frames/s')")
    assert re.fullmatch(r"640 x 480: \d+\.\d frames/s, \d+ ms WASM", page.inner_text("#times"))
    assert page.inner_text("#camera") == "Stop the webcam"
    before = saved(page)[1]
    page.wait_for_timeout(1500)
    assert saved(page)[1].tobytes() != before.tobytes()  # the fake camera shows a moving disc
    page.click("#camera")
    assert page.inner_text("#camera") == "Webcam"
    name, labels = saved(page)
    assert (name, labels.size) == ("webcam_labels.png", (640, 480))
    hand_in(page, png(street(360, 480)), "#times:has-text('480 x 360')")
    browser.close()


def test_a_webcam_that_is_refused_is_said(visit: Open) -> None:
    page = visit()  # headless Chromium has no camera
    page.click("#camera")
    page.wait_for_selector(FAILED)
    assert page.inner_text("#error").startswith("The webcam can't be used: ")


def test_what_is_no_image_is_named(visit: Open, tmp_path: Path) -> None:
    page = visit()
    whole = png(street(360, 480))
    refused = [
        ({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"}, "notes.txt: is no image that"),
        ({"name": "empty.png", "mimeType": "image/png", "buffer": b""}, "empty.png: the file is empty."),
        ({**whole, "name": "cut.png", "buffer": whole["buffer"][:3000]}, "cut.png: is "),
    ]
    for file, words in refused:
        hand_in(page, file, f"{FAILED}:has-text('{words}')")
    large = tmp_path / "large.jpg"
    with large.open("wb") as sparse:
        sparse.truncate(65_000_000)
    hand_in(page, large, f"{FAILED}:has-text('large.jpg: 65 MB, more than the 64 MB')")
    wide = tmp_path / "wide.png"
    Image.new("1", (8000, 7000)).save(wide)
    hand_in(page, wide, f"{FAILED}:has-text('wide.png: 8000 x 7000 pixels, more than the 50 million')")
    low = png(street(40, 900)[:8], "low.png")
    hand_in(page, low, f"{FAILED}:has-text('low.png: An image of 900 x 8 pixels is too low')")
    assert page.is_visible("#empty")
    hand_in(page, whole)
    assert page.is_hidden("#error")


NO_NETWORK = "The network is missing: model.json is not beside this page."


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("model.json", NO_NETWORK),
        ("model.onnx", "model.onnx is missing (404)"),
        ("check.bin", "check.bin is missing (404)"),
        ("worker.js", "The network can't be started"),
        ("vendor/*.wasm", "No engine runs the network here. WebGPU: "),
    ],
)
def test_a_missing_file_is_named(visit: Open, file: str, words: str) -> None:
    page = visit(without=file, wait=FAILED)
    assert words in page.inner_text("#error")
    assert page.is_disabled("#file")


def test_a_browser_without_webassembly_is_told(visit: Open) -> None:
    page = visit(script="delete globalThis.WebAssembly", wait=FAILED)
    assert "it has no WebAssembly" in page.inner_text("#error")


def test_a_browser_that_changes_what_is_read_is_told(visit: Open) -> None:
    script = (
        "const read = CanvasRenderingContext2D.prototype.getImageData;"
        "CanvasRenderingContext2D.prototype.getImageData = function (...size) {"
        "const found = read.apply(this, size); found.data[0] ^= 1; return found }"
    )
    page = visit(script=script, wait=FAILED)
    assert "labels would be wrong" in page.inner_text("#error")


def test_an_engine_that_gives_other_labels_is_refused(chromium: Browser, address: str) -> None:
    page = chromium.new_page()
    page.route("**/check.bin", lambda route: route.fulfill(body=bytes(4 * 96 * 128)))
    page.goto(address)
    page.wait_for_selector(FAILED)
    assert "of its labels are those of Python, 99.9 % expected" in page.inner_text("#error")
    page.context.close()


def test_without_javascript_the_page_says_what_it_needs(chromium: Browser, address: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert "JavaScript is on" in page.inner_text("#engine")
    context.close()


def test_webgpu_gives_the_labels_of_python_too(visit: Open, chromium: Browser, chromium_path: str) -> None:
    browser = chromium.browser_type.launch(executable_path=chromium_path, args=SOFTWARE_GPU)
    page = visit(browser)
    if "WebGPU (" not in page.inner_text("#engine"):
        pytest.skip(f"this Chromium has no WebGPU by software: {page.inner_text('#engine')}")
    browser.close()


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_can_be_read(visit: Open, width: int, scheme: str, tmp_path: Path) -> None:
    page = visit(width=width, scheme=scheme)
    hand_in(page, png(street(360, 480)))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    back, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (back, ink)]
    assert (lightness[0] > lightness[1]) == (scheme == "light")
    assert abs(lightness[0] - lightness[1]) > 450
    for box in page.locator("button:visible, .button").all():
        place = box.bounding_box()
        assert place is not None
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= width
        assert place["height"] >= 36
