from __future__ import annotations

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pytest

from segattn.reports.curves import _series, _smooth, draw_curves


def train_record(step: int, **changes: Any) -> dict[str, Any]:
    record = {
        "kind": "train", "step": step, "loss": 3.0 / step, "loss/main": 2.0 / step, "loss/aux": 1.0 / step,
        "lr": 0.01, "lr_by_group": [0.01, 0.1], "images_per_second": 20.0, "data_wait": 0.25, "seconds_left": 1.0,
    }  # fmt: skip
    return {**record, **changes}


def validation_record(step: int, miou: float | None) -> dict[str, Any]:
    return {"kind": "validation", "step": step, "miou": miou, "macc": 60.0, "aacc": 90.0}


def write_log(folder: Path, records: list[dict[str, Any]], tail: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return folder


def texts_of(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Every piece of text in the image; drawn as text rather than as outlines."""
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    draw_curves(folder)
    root = ET.parse(folder / "curves.svg").getroot()
    return "\n".join("".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text"))


def test_a_run_becomes_a_png_and_an_svg(tmp_path: Path) -> None:
    folder = write_log(tmp_path, [*map(train_record, (10, 20, 30)), validation_record(20, 40.0)])
    path = draw_curves(str(folder))
    assert path == folder / "curves.png"
    image = cv2.imread(str(path))
    assert image.shape[1] >= 1200
    assert image.std() > 5
    assert sorted(file.name for file in folder.iterdir()) == ["curves.png", "curves.svg", "log.jsonl"]


def test_panels_name_the_loss_terms_the_best_score_and_the_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [validation_record(step, miou) for step, miou in ((10, 40.0), (20, 55.25), (30, 50.0))]
    words = texts_of(monkeypatch, write_log(tmp_path / "my_run", [*map(train_record, range(2, 31)), *scores]))
    for expected in ("my_run", "sum", "main", "aux", "mIoU", "best mIoU 55.25 % at step 20", "images per second"):
        assert expected in words
    assert "25 % of the time waiting for data" in words
    assert "median 20" in words
    assert "parameter groups" in words


def test_equal_rates_and_a_single_term_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [train_record(step, lr_by_group=[0.01, 0.01]) for step in (10, 20)]
    for record in records:
        del record["loss/aux"]
    words = texts_of(monkeypatch, write_log(tmp_path, records))
    assert "parameter groups" not in words
    assert "sum" not in words


def test_values_that_were_not_finite_are_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [train_record(10), train_record(20, loss=None, images_per_second=None), train_record(30)]
    steps, values = _series(records, "loss")
    assert steps.tolist() == [10, 20, 30]
    assert math.isnan(values[1])
    words = texts_of(monkeypatch, write_log(tmp_path, [*records, validation_record(20, None)]))
    assert "best" not in words


def test_a_run_of_nothing_but_gaps_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = dict.fromkeys(("loss", "loss/main", "loss/aux", "lr", "images_per_second", "data_wait"))
    records = [train_record(step, **gaps, lr_by_group=[None, None]) for step in (10, 20)]
    assert "no record yet" in texts_of(monkeypatch, write_log(tmp_path, records))


def test_long_curves_are_smoothed_without_a_shift() -> None:
    line = np.linspace(5.0, 1.0, 400)
    assert _smooth(line)[10:-10] == pytest.approx(line[10:-10])
    wavy = line + np.where(np.arange(400) % 2, 0.3, -0.3)
    assert np.abs(_smooth(wavy) - line)[10:-10].max() < 0.05
    wavy[100] = math.nan
    assert np.isnan(_smooth(wavy)).sum() == 1


def test_a_half_written_last_line_is_left_out(tmp_path: Path) -> None:
    assert draw_curves(write_log(tmp_path, [train_record(10)], tail='{"kind": "tra')).is_file()


def test_drawing_twice_gives_the_same_svg(tmp_path: Path) -> None:
    folder = write_log(tmp_path, [*map(train_record, (10, 20)), validation_record(20, 40.0)])
    draw_curves(folder)
    first = (folder / "curves.svg").read_bytes()
    draw_curves(folder)
    assert (folder / "curves.svg").read_bytes() == first


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder holds no log\.jsonl; expected a folder that"):
        draw_curves(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"absent: no such folder"):
        draw_curves(tmp_path / "absent")


def test_a_log_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"log\.jsonl: no record yet"):
        draw_curves(write_log(tmp_path, []))


@pytest.mark.parametrize("line", ["no json", '{"kind": "other", "step": 1}', '{"kind": "train"}', "[1]"])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "log.jsonl").write_text(f"{line}\n{json.dumps(train_record(10))}\n")
    with pytest.raises(ValueError, match=r"log\.jsonl, line 1: expected a record"):
        draw_curves(tmp_path)
    assert not list(tmp_path.glob("curves*"))


def test_matplotlib_is_imported_only_to_draw() -> None:
    code = "import sys, segattn.reports.curves; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
