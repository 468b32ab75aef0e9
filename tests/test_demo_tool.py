"""`make demo-page` refuses what would leave a wrong page behind; tests/browser makes and opens a whole one."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_page", ROOT / "tools/demo_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.shutil, "which", lambda _: "npm")
    return module


def npm(gives: bytes | None, says: str = "") -> Any:
    def run(call: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert call[1:3] == ["pack", "onnxruntime-web@1.30.0"]
        if gives is not None:
            (Path(call[-1]) / "package.tgz").write_bytes(gives)
        return subprocess.CompletedProcess(call, int(gives is None), "", says)

    return run


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_a_folder_of_something_else_is_left_alone(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert tool.main([str(tmp_path)]) == 2
    assert "is there and is no demo page" in said(capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("gives", "says", "words"),
    [
        (b"another package", "", "its integrity is sha512-"),
        (None, "npm error code ENOTFOUND\nnpm error more", "npm pack onnxruntime-web@1.30.0: npm error code ENOTFOUND"),
    ],
)
def test_another_package_is_refused(
    tool: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    gives: bytes | None,
    says: str,
    words: str,
) -> None:
    monkeypatch.setattr(tool.subprocess, "run", npm(gives, says))
    assert tool.main([str(tmp_path / "page")]) == 2
    assert words in said(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_npm_is_told(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool.shutil, "which", lambda _: None)
    assert tool.main([str(tmp_path / "page")]) == 2
    assert "install Node.js with npm" in said(capsys)


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for file in (ROOT / "docs/demo").iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:(?!//localhost:PORT/)|@import|url\(", text), file
    page = (ROOT / "docs/demo/index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "unsafe-inline" not in page
