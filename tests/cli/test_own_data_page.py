"""docs/own-data.md: its commands as written, on twelve painted images in a flat folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segattn.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs/own-data.md").read_text(encoding="utf-8")
(YAML,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TWO, FURTHER = (
    [shlex.split(line, comments=True) for line in block.splitlines()]
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)


def paint(root: Path, *, palette: bool) -> None:
    """Discs on noise; masks hold 0 and 255, or 0 and 1 with a palette."""
    random = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for index in range(12):
        image = random.integers(0, 90, (70, 90, 3), np.uint8)
        mask = np.zeros((70, 90), np.uint8)
        place = tuple(random.integers(20, 50, 2).tolist())
        cv2.circle(image, place, 14, (60, 60, 230), -1)
        cv2.circle(mask, place, 14, 1 if palette else 255, -1)
        assert cv2.imwrite(str(root / f"images/part_{index}.jpg"), image)
        file = Image.fromarray(mask)
        if palette:
            file.putpalette([0, 0, 0, 220, 20, 60])
        file.save(root / f"masks/part_{index}.png")


def run(words: list[str]) -> None:
    assert words[0] == "segattn"
    assert main(words[1:]) == 0, words


@pytest.mark.parametrize("palette", [True, False], ids=["palette masks", "masks of 0 and 255"])
def test_from_a_folder_to_labelled_images(
    palette: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segattn.recipes.own_data.LEAST_STEPS", 3)
    monkeypatch.setattr("segattn.recipes.own_data.EPOCHS", 1)
    paint(tmp_path / "my_data", palette=palette)
    if palette:
        (tmp_path / "my_data/dataset.yaml").write_text(YAML)
    else:
        assert "`segattn data check my_data --fix`" in PAGE
        run(["segattn", "data", "check", "my_data", "--fix"])
    assert len(TWO) == 2
    for words in TWO:
        run(words)
    said, noted = capsys.readouterr()
    assert "best mIoU" in said
    assert "runs/my_data: best.safetensors, the best on its validation split" in noted
    assert (tmp_path / "runs/my_data/best.safetensors").is_file()
    assert list((tmp_path / "runs/my_data/samples").glob("**/*.*"))
    assert len(list((tmp_path / "labelled").glob("*_overlay.png"))) == 12
    if palette:
        for words in FURTHER:
            run([word.replace("20", "1") for word in words])
        assert (tmp_path / "report/report.html").is_file()
        assert "1 more epoch of" in capsys.readouterr().out
