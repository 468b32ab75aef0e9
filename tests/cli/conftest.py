"""The command line, in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from segattn.cli.main import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must succeed with nothing but `err` on the error stream, and gives what it prints."""

    def command(*words: object, err: str = "") -> str:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert (code, captured.err) == (0, err)
        return captured.out

    return command


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail with exit code 2 and one line, and gives that line."""

    def command(*words: object) -> str:
        assert main([str(word) for word in words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("segattn: error: ")
        assert error.endswith("\n")
        assert error.count("\n") == 1, error
        return error.removeprefix("segattn: error: ").rstrip("\n")

    return command
