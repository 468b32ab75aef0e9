from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import segattn
from segattn.reports.origin import Origin
from segattn.reports.page import printable, write_html

SOURCES = Path(segattn.__file__).parent


def test_a_value_that_is_missing_is_an_error_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="curves"):
        write_html(tmp_path / "page.html", "training", title="a title", origin=Origin())
    assert not list(tmp_path.iterdir())


def test_text_is_escaped_in_elements_and_attributes(tmp_path: Path) -> None:
    values = {"curves": [], "left_out": 0, "validations": [(1, {"\"><b>'&": "one.jpg"})], "names": ["\"><b>'&"]}
    path = write_html(tmp_path / "a" / "page.html", "training", title="<b>", origin=Origin(split="<b>"), **values)
    text = path.read_text(encoding="utf-8")
    assert "<b>" not in text
    assert 'data-name="&#34;&gt;&lt;b&gt;&#39;&amp;"' in text
    assert "<h1>&lt;b&gt;</h1>" in text


def test_bytes_of_a_name_that_are_no_text_are_shown_in_words() -> None:
    assert printable("b\udcffd <\u00e4>") == "b\\udcffd <\u00e4>"


def test_templates_refer_to_nothing_outside() -> None:
    for file in (SOURCES / "reports" / "templates").iterdir():
        assert not re.search(r"https?:|url\(|@import|//|\|safe|<link", file.read_text(encoding="utf-8")), file
