"""segattn predict --max-memory: what is said of whole looks and windows, and one line for each thing that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segattn.synthetic.write import draw_street

Command = Callable[..., str]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(draw_street(np.random.default_rng(0), (480, 640))[0]).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def words(photo: Path, tmp_path: Path) -> list[object]:
    return [photo, "--model", "attanet_light_camvid", "--output", tmp_path / "out", "--size", "native"]


def test_it_says_which_and_why(run: Command, words: list[object]) -> None:
    whole = run("predict", *words, "--max-memory", "1G")
    assert "\n  looked at as a whole, which takes about 40M" in whole
    windows = run("predict", *words, "--max-memory", "35M")
    assert "\n  looked at in windows of 256x256, blended: as a whole it takes about 40M, not 35M" in windows
    row = json.loads(run("predict", *words, "--max-memory", "35M", "--json"))["images"][0]
    assert row["window"] == 256
    assert json.loads(run("predict", *words, "--json"))["images"][0]["window"] is None


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--max-memory", "much"], "much: expected a size such as 200M or 2G"),
        (["--max-memory", "0.1"], "0.1: expected a size such as 200M or 2G"),
        (["--max-memory", "1G", "--engine", "auto"], "--max-memory: what --engine auto takes is not known"),
        (["--max-memory", "1G", "--protocol", "slide_512"], "max_memory: the protocol slide_512 says itself"),
    ],
)
def test_one_line_for_what_is_wrong(fail: Command, words: list[object], more: list[str], problem: str) -> None:
    assert problem in fail("predict", *words, *more)
