"""Tables on terminals, in pipes and as JSON."""

from __future__ import annotations

import pytest
from rich.table import Table

from segattn.cli.screen import print_json, print_table


def table() -> Table:
    table = Table("class", "two\nlines")
    table.add_row("[red]", "1")
    table.add_section()
    table.add_row("[/] :car:", "first  of\nsecond\tof")
    return table


def test_a_pipe_gets_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(table())
    assert capsys.readouterr().out == "class\ttwo lines\n[red]\t1\n[/] :car:\tfirst of; second of\n"


def test_a_terminal_gets_a_frame_and_names_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    print_table(table())
    lines = capsys.readouterr().out.splitlines()
    assert any("[red]" in line for line in lines)
    assert any("[/] :car:" in line for line in lines)


def test_json_is_ascii_and_never_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"straße": 1.5})
    assert capsys.readouterr().out == '{\n "stra\\u00dfe": 1.5\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        print_json(float("nan"))
