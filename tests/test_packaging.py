"""What leaves the project: a source distribution that is complete, and a wheel that is small and whole."""

from __future__ import annotations

import fnmatch
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.recipes.catalog import RECIPES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/segattn"
SETTINGS = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
LEFT_OUT = {".git", ".ci", ".venv", ".venv-lowest", "build", "dist", "demo", "runs", "__pycache__", "shared"}
BESIDE = (
    "README.md CHANGELOG.md CITATION.cff CONTRIBUTING.md PAPERS.md LICENSE NOTICE Makefile MANIFEST.in pyproject.toml"
    " hubconf.py setup.py constraints.txt constraints-lowest.txt"
)
DATA = {".safetensors", ".j2", ".typed", ".html", ".css", ".js"}


def test_whatever_is_no_python_in_the_package_is_in_the_wheel() -> None:
    packaged = re.findall(r'"([^"]+)"', SETTINGS.partition("package-data]")[2].partition("\n\n")[0])
    others = [
        file.relative_to(SOURCE).as_posix()
        for file in SOURCE.rglob("*")
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts
    ]
    assert len(others) >= 10
    assert [name for name in others if not any(fnmatch.fnmatch(name, pattern) for pattern in packaged)] == []
    assert {Path(name).suffix for name in others if name != "py.typed"} <= DATA


def test_the_python_that_runs_is_among_those_that_were_tried() -> None:
    tried = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', SETTINGS)
    assert f"3.{sys.version_info.minor}" in tried
    lowest = re.search(r'requires-python = ">=(3\.\d+)"', SETTINGS)
    assert lowest is not None
    assert min(tried, key=lambda text: int(text[2:])) == lowest[1]


def test_the_index_has_a_link_to_every_paper() -> None:
    table = SETTINGS.partition("\n[project.urls]\n")[2].partition("\n\n")[0]
    links = dict(re.findall(r'^"([^"]{1,32})" = "(https://[^"]+)"$', table, re.MULTILINE))
    assert len(links) == len(table.splitlines())
    papers = {f"https://arxiv.org/abs/{recipe.paper.arxiv}" for recipe in RECIPES.values()}
    assert papers <= set(links.values())


def test_no_link_on_the_index_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index has no file beside the description."""
    given: dict[str, str] = {}
    monkeypatch.setattr("setuptools.setup", lambda **words: given.update(words))
    runpy.run_path(str(ROOT / "setup.py"))
    text, readme = given["long_description"], (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    assert given["long_description_content_type"] == "text/markdown"
    words = re.sub(r"!\[[^\]]*\]\([^)]*\)\n+", "", readme)
    assert re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", words) == re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)


@pytest.mark.slow
def test_an_unpacked_source_distribution_installs_and_labels(tmp_path: Path) -> None:
    """In an environment of its own, which has this one's packages for its dependencies."""
    tree = tmp_path / "tree"

    def left_out(folder: str, names: list[str]) -> list[str]:
        """What building and working leave in the top folder: docs/demo is not of these."""
        here = LEFT_OUT if Path(folder) == ROOT else {"__pycache__"}
        return [name for name in names if name in here or name.endswith(".egg-info")]

    shutil.copytree(ROOT, tree, ignore=left_out)
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = str(binaries / "python")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(words, cwd=folder, env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(python, "-m", "pip", "install", "-q", "setuptools>=77")
    for kind in ("sdist", "wheel"):
        code = f"from setuptools import build_meta; build_meta.build_{kind}({str(tmp_path)!r})"
        run(python, "-c", code, folder=tree)

    (archive,) = tmp_path.glob("*.tar.gz")
    assert archive.stat().st_size < 30_000_000
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    expected = {
        path.relative_to(ROOT)
        for name in ("src", "tests", "docs", "examples", "benchmarks", "tools", "results")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and not {"__pycache__", "build"} & set(path.parts) and ".egg-info" not in str(path)
    } | set(map(Path, BESIDE.split()))
    missing = {path for path in expected if not (unpacked / path).is_file()}
    assert {path.as_posix() for path in missing if path.parts[0] != "results" or path.suffix != ".safetensors"} == set()

    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 20_000_000
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        about = next(content.read(name).decode() for name in names if name.endswith("/METADATA"))
    assert "Project-URL: DANet (paper), https://arxiv.org/abs/1809.02983" in about
    assert "Description-Content-Type: text/markdown" in about
    assert "](docs/" not in about
    assert {name for name in names if not name.startswith("segattn")} == set()
    for file in SOURCE.rglob("*"):
        if file.suffix in DATA | {".py"}:
            assert file.relative_to(SOURCE.parent).as_posix() in names

    run(python, "-m", "pip", "install", "-q", "--no-deps", ".", folder=unpacked)
    (site,) = (tmp_path / "venv").rglob("site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    installed = Path(run(python, "-c", "import segattn; print(segattn.__file__)").strip())
    assert installed.is_relative_to(tmp_path / "venv")
    assert cv2.imwrite(str(tmp_path / "photo.png"), np.full((64, 96, 3), 90, np.uint8))
    run(str(binaries / "segattn"), "predict", "photo.png", "--output", "labelled")
    assert {file.name for file in (tmp_path / "labelled").glob("photo*")} == {"photo_labels.png", "photo_overlay.png"}
