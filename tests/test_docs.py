"""What docs/ states as fact is what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from segattn.datasets.catalog import CLASSES, DATASETS
from segattn.datasets.check import _OFFICIAL
from segattn.datasets.headers import MAX_PIXELS
from segattn.datasets.prepare import PLANS
from segattn.evaluation.protocol import PROTOCOLS
from segattn.recipes.catalog import RECIPES

DOCS = Path(__file__).parents[1] / "docs"


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def headings(name: str) -> set[str]:
    lines = re.findall(r"^###? (.*)", text(name), re.MULTILINE)
    return {word for line in lines for word in line.partition(":")[0].split(", ")}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_has_a_section_and_its_description(name: str) -> None:
    assert name in headings("protocols.md")
    assert f"`{PROTOCOLS[name].describe()}`" in text("protocols.md")


def test_protocols_has_no_other_section_or_description() -> None:
    described = set(re.findall(r"`(\w+): ", text("protocols.md")))
    assert described == set(PROTOCOLS)
    assert {word for word in headings("protocols.md") if re.fullmatch(r"[a-z]\w*", word)} == set(PROTOCOLS)


def test_published_scores_in_protocols_are_the_recipes() -> None:
    claimed = {f"{claim.value:g}" for recipe in RECIPES.values() for claim in recipe.claims}
    quoted = set(re.findall(r"\b[3-8]\d\.\d+\b", text("protocols.md"))) - {"81.50"}  # the paper's own, for 81.49
    assert {f"{float(value):g}" for value in quoted} <= claimed


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_a_section_and_a_true_row(name: str) -> None:
    assert name in headings("datasets.md")
    row = re.search(rf"^\| `{name}` \| (.*) \| (.*) \| (.*) \|$", text("datasets.md"), re.MULTILINE)
    assert row is not None
    classes, splits, prepare = row.groups()
    assert (prepare != "no") == (name in PLANS)
    if name != "folder":
        assert classes == str(len(CLASSES[name]))
        assert dict(re.findall(r"(\w+) \((\d+)\)", splits)) == {k: str(v) for k, v in _OFFICIAL[name].items()}


def test_the_largest_image_is_the_one_that_is_said() -> None:
    assert f"2^{MAX_PIXELS.bit_length() - 1} pixels" in text("security.md")
    assert 1 << (MAX_PIXELS.bit_length() - 1) == MAX_PIXELS


def test_importing_everything_opens_no_connection() -> None:
    code = """
import importlib, pkgutil, socket
class Refused(socket.socket):
    def connect(self, *address): raise SystemExit(f"connects to {address}")
    connect_ex = connect
socket.socket = Refused
socket.create_connection = socket.getaddrinfo = Refused.connect
import segattn
for module in pkgutil.walk_packages(segattn.__path__, "segattn."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("quiet")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "quiet", done.stderr


def test_no_code_runs_what_a_file_says() -> None:
    """No eval, no exec, no unpickling, no unsafe YAML, and torch.load for our own state.pt alone, weights_only=True."""
    source = Path(__file__).parents[1] / "src/segattn"
    forbidden = re.compile(r"(?<![\w.])(eval|exec)\(|pickle\.loads?\(|yaml\.(unsafe_|full_)?load\(|allow_pickle=True")
    loads = 0
    for file in source.rglob("*.py"):
        code = file.read_text(encoding="utf-8")
        assert not forbidden.search(code), file
        for call in re.findall(r"torch\.load\((?!`)[^)]+\)", code):
            loads += 1
            assert "weights_only=True" in call, (file, call)
    assert loads == 1
