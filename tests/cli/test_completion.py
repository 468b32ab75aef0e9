"""Completion as the shells ask for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from segattn.evaluation.protocol import PROTOCOLS
from segattn.recipes.catalog import PAPERS, RECIPES

pytest.importorskip("fcntl")  # files are found by bash
Command = Callable[..., str]


def completed(line: str, folder: Path) -> set[str]:
    """What is offered for a half-typed line, as bash's function asks."""
    asking = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "bash", "_ARGCOMPLETE_IFS": "\n"}
    asking |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    asking |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(folder / "answer")}
    subprocess.run([sys.executable, "-m", "segattn"], env={**os.environ, **asking}, cwd=folder, check=True, timeout=60)
    return {word.rstrip() for word in (folder / "answer").read_text().split("\n") if word}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("segattn tr", {"train"}),
        ("segattn data ch", {"check"}),
        ("segattn train attanet_r", {name for name in RECIPES if name.startswith("attanet_r")}),
        ("segattn benchmark danet_r101_cityscapes fpn_van_t", {"fpn_van_tiny_ade20k"}),
        ("segattn weights convert a b --recipe fpn_van_t", {"fpn_van_tiny_ade20k"}),
        ("segattn list --method ", set(PAPERS)),
        ("segattn evaluate x --protocol w", {name for name in PROTOCOLS if name.startswith("w")}),
        ("segattn data stats cit", {"cityscapes"}),
        ("segattn predict a.jpg --device c", {"cpu", "cuda"}),
        ("segattn benchmark x --precision b", {"bf16"}),
        ("segattn completion z", {"zsh"}),
        ("segattn train attanet_r18_camvid --data.root x --schedule.l", {"--schedule.lr"}),
        ("segattn list --schedule.l", set()),
        ("segattn evaluate m", {"mine.yaml", "model.safetensors", "more/"}),
        ("segattn train mi", {"mine.yaml"}),
        ("segattn predict ph", {"photo.jpg"}),
        ("segattn list --max-parameters 1", set()),
    ],
)
def test_what_is_offered(line: str, expected: set[str], tmp_path: Path) -> None:
    for name in ("mine.yaml", "model.safetensors", "photo.jpg", "other.txt"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    offered = completed(line, tmp_path)
    assert offered == expected if line[-1] != " " else offered >= expected


def test_lists_are_offered_whole_and_by_their_parts(tmp_path: Path) -> None:
    assert completed("segattn train attanet_r18_camvid --losses", tmp_path) >= {"--losses", "--losses.0.weight"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_each_shell_reads(shell: str, run: Command, tmp_path: Path) -> None:
    code = run("completion", shell)
    assert "segattn" in code
    assert "_ARGCOMPLETE" in code
    if shutil.which(shell):
        (tmp_path / "code").write_text(code)
        subprocess.run([shell, "-n", tmp_path / "code"], check=True)


def test_another_shell_is_refused(fail: Command) -> None:
    assert "invalid choice: 'tcsh'" in fail("completion", "tcsh")


def test_only_a_shell_that_asks_pays_for_it() -> None:
    code = "import sys; from segattn.cli.main import main; main(['--version']); print('argcomplete' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
