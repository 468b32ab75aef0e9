from __future__ import annotations

import pytest
from rich.console import Console
from rich.progress import DownloadColumn, MofNCompleteColumn, Progress, ProgressColumn

from segattn.progress import progress_bar, progress_columns, track


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


def shown(width: int, words: str, count: ProgressColumn, count_width: int) -> list[str]:
    """The lines of a bar on a terminal of that width."""
    console = Console(width=width, height=20, force_terminal=True, color_system=None)
    bar = Progress(*progress_columns(console, count, count_width), console=console)
    bar.add_task(words, total=12345, completed=6789)
    with console.capture() as captured:
        console.print(bar)
    return captured.get().splitlines()


@pytest.mark.parametrize("words", ["counting", "loss 0.1234  rate 1.00e-02  12.3 images/s  data 3%"])
@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_a_bar_is_one_line_that_begins_with_the_time_left(width: int, words: str) -> None:
    (line,) = shown(width, words, MofNCompleteColumn(), 11)
    assert len(line) <= width
    assert line.startswith("--:--  6789/12345 ")
    words_fit = len("--:--  6789/12345  ") + len(words) <= width
    assert line.rstrip().endswith(words if words_fit else "\N{HORIZONTAL ELLIPSIS}")
    room = width - len("0:00:00  6789/12345  ") - len(words)
    bar = line.count("\N{BOX DRAWINGS HEAVY HORIZONTAL}")  # of the part that is done
    assert bar == (0 if room < 4 else pytest.approx(min(40, room) * 6789 / 12345, abs=1))


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_download_is_one_line_too(width: int) -> None:
    (line,) = shown(width, "resnet101-imagenet.pth", DownloadColumn(), 19)
    assert len(line) <= width
    assert line.startswith("--:-- 6.8/12.3 kB ")
