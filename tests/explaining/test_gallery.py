"""docs/gallery.md: its pictures are there, and are what the commands under them draw."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
PICTURES = re.findall(r"!\[[^\]]+\]\((gallery/\w+\.jpg)\)", PAGE)
COMMANDS = re.findall(r"^segattn explain docs/gallery/street\.jpg .*", PAGE, re.MULTILINE)


def test_every_picture_has_its_command() -> None:
    assert len(PICTURES) == len(COMMANDS) >= 3
    made = {path.name for path in (ROOT / "docs/gallery").glob("*.jpg")} - {"street.jpg"}
    assert made == {Path(picture).name for picture in PICTURES}


@pytest.mark.slow
def test_the_picture_of_the_weights_that_ship_is_what_its_command_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main([*shlex.split(COMMANDS[0])[1:], "--output", str(tmp_path)]) == 0
    drawn, kept = (cv2.imread(str(path)) for path in (tmp_path / "street_sheet.jpg", ROOT / "docs" / PICTURES[0]))
    assert drawn.shape == kept.shape
    assert np.abs(drawn.astype(int) - kept).mean() < 5
