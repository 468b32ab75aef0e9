from __future__ import annotations

import pytest

from segattn.progress import progress_bar, track


def test_the_items_pass_unchanged_and_pipes_stay_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter("abc"), "reading", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_on_the_error_stream(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # taken for a terminal
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bar("reading", 7) as done:
        print("a result")
        done(7)
    captured = capsys.readouterr()
    assert captured.out == "a result\n"
    assert "reading" in captured.err
