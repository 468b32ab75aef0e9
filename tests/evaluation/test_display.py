"""Scores and samples where people look at them: one line, a table in a notebook, a data frame."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from segattn.contracts import Sample
from segattn.evaluation.metrics import ImageScore, Scores

SCORES = Scores(
    np.array([[30, 10, 0], [0, 60, 0], [0, 0, 0]]),
    ("road", "<b>sky</b>", "none"),
    protocol="whole: the image as it is",
    images=tuple(ImageScore(i, f"image{i}", f"image{i}.png", 1.0, 2.0) for i in range(500)),
)


def test_a_repr_is_one_line() -> None:
    expected = "Scores(miou=80.36, macc=87.50, aacc=90.00, classes=3, images=500, protocol='whole: the image as it is')"
    assert repr(SCORES) == expected
    sample = Sample(np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8), "a", Path("b/a.png"))
    assert repr(sample) == "Sample(name='a', image=(48, 64, 3), mask=(48, 64), image_path='b/a.png')"
    assert "mask=None" in repr(Sample(sample.image, None, "a", Path("a.png")))


def test_a_table_in_a_notebook() -> None:
    table = SCORES._repr_html_()
    assert table.count("<tr>") == 5
    assert "&lt;b&gt;sky&lt;/b&gt;" in table
    assert "<b>" not in table
    assert '>75.00</td><td style="text-align:right">75.00</td><td style="text-align:right">40<' in table
    assert 'none</td><td style="text-align:right">-</td>' in table
    assert "mIoU 80.36" in table


def test_a_data_frame() -> None:
    pytest.importorskip("pandas")
    frame = SCORES.to_frame()
    assert frame.index.name == "class"
    assert list(frame.columns) == ["iou", "acc", "pixels"]
    assert frame.loc["road", "iou"] == 75
    assert frame.loc["none"].isna().tolist() == [True, True, False]
    assert frame["iou"].mean() == pytest.approx(SCORES.miou)


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_frame\(\) needs pandas, which is not installed: pip install pandas"):
        SCORES.to_frame()
