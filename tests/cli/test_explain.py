from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Command = Callable[..., str]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "photo.png"), pixels)
    return tmp_path / "photo.png"


def test_an_image_gives_a_page_arrays_and_figures(run: Command, photo: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    text = run("explain", photo, "--model", trained, "--at", "10,50", "--output", out)
    first, *panels, last = text.splitlines()
    assert first.startswith(f"{photo}: pixel y 10, x 50 is ")
    assert any(line.startswith("  Strips that the pixel looks at: ") for line in panels)
    assert last.split()[:2] == [str(out / "photo_explain.html"), str(out / "photo_explain.npz")]
    assert {file.name for file in out.iterdir()} >= {
        "photo_explain.html",
        "photo_strip_attention.png",
        "photo_margin.png",
    }
    page = (out / "photo_explain.html").read_text()
    assert "<h1>What attanet_light_camvid looked at in photo.png</h1>" in page
    assert "pixel y 10, x 50" in page
    for name, value in (("recipe", "attanet_light_camvid"), ("image", "photo, 48 x 64 pixels"), ("device", "cpu: ")):
        assert re.search(rf"<dt>{name}</dt><dd[^>]*>{value}", page), name
    assert f"best.safetensors, sha256 {hashlib.sha256(trained.read_bytes()).hexdigest()[:12]}" in page


def test_a_sheet_is_written_beside_the_figures(run: Command, photo: Path, trained: Path, tmp_path: Path) -> None:
    words = ("--show", "strip", "--sheet", "strip_attention_pixel, strip_attention", "--output", tmp_path / "out")
    text = run("explain", photo, "--model", trained, *words)
    assert str(tmp_path / "out" / "photo_sheet.jpg") in text.splitlines()[-1].split()
    sheet = cv2.imread(str(tmp_path / "out" / "photo_sheet.jpg"))
    assert sheet is not None
    assert sheet.shape[1] > 1000


def test_random_weights_are_refused_or_said(run: Command, fail: Command, photo: Path, tmp_path: Path) -> None:
    model = "light_ham_van_tiny_ade20k"
    error = fail("explain", photo, "--model", model, "--output", tmp_path / "out")
    assert "no weights given" in error
    assert "or --random to see what untrained ones look like. This model can show: margin, evidence, large" in error
    words = ("--model", model, "--random", "--show", "large_kernel", "--output", tmp_path / "out")
    text = run("explain", photo, *words)
    assert text.splitlines()[0].endswith(", with random weights")
    assert f"What {model}, with random weights, looked at" in (tmp_path / "out" / "photo_explain.html").read_text()
    with np.load(tmp_path / "out" / "photo_explain.npz") as arrays:
        first = dict(arrays)
    run("explain", photo, *words)
    with np.load(tmp_path / "out" / "photo_explain.npz") as arrays:
        assert all(np.array_equal(first[name], arrays[name]) for name in first)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--at", "48,0"], "48 rows (y from 0 to 47) and 64 columns (x from 0 to 63)"),
        (["--at", "12"], "expected Y,X, two whole numbers such as 180,240"),
        (["--at", "1,2,3"], "expected Y,X"),
        (["--at", "48,0"], "This model can show: margin, evidence, strip, fusion"),
        (["--at", "-1,2"], "--at: expected one argument. One that begins with - is joined by ="),
        (["--at=-1,2"], "pixel -1,2 (y,x) lies outside: the image has 48 rows"),
        (["--show", "agents"], "This model can show: margin, evidence, strip, fusion"),
        (["--show", "stripe"], "Did you mean strip?"),
        (["--show", ""], "This model can show: margin"),
        (
            ["--sheet", "strip"],
            "'strip' is not a panel of this view. Did you mean strip_attention_pixel, strip_attention? It has: ",
        ),
        (["--sheet", ""], "'' is not a panel"),
        (["--protocol", "slide_512"], "looks more than once"),
        (["--random"], "holds weights"),
    ],
)
def test_bad_input_is_one_line_and_no_file(
    fail: Command, photo: Path, trained: Path, tmp_path: Path, words: list[str], text: str
) -> None:
    assert text in fail("explain", photo, "--model", trained, "--output", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_no_image_is_one_line(fail: Command, trained: Path, tmp_path: Path) -> None:
    assert "IMAGE" in fail("explain", "--model", trained)
    assert f"{tmp_path / 'none.png'}: " in fail("explain", tmp_path / "none.png", "--model", trained)
    (tmp_path / "text.png").write_text("hello" * 99)
    error = fail("explain", tmp_path / "text.png", "--model", trained)
    assert "not an image" in error
    assert "This model can show: margin, evidence, strip, fusion" in error
