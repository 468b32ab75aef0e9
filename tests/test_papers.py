"""PAPERS.md is what the recipes say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from segattn.recipes.catalog import RECIPES

ROOT = Path(__file__).parents[1]
TITLES = {
    "AttaNet": "AttaNet",
    "DANet": "Dual Attention",
    "ACFNet": "ACFNet",
    "VAN": "Visual Attention",
    "Agent Attention": "Agent Attention",
}
WITHOUT_A_ROW = {"danet_r50_deepstem", "df2_backbone", "van_b0_fpn_newer"}
"""Fixtures of networks that no recipe has as a whole."""


@pytest.fixture(scope="module")
def papers_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("papers_page", ROOT / "tools/papers_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "PAPERS.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date(papers_page: ModuleType, page: str) -> None:
    assert page == papers_page.page(), "run python tools/papers_page.py"


def test_every_recipe_claim_and_idea_is_on_it(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(RECIPES)
    for recipe in RECIPES.values():
        for claim in recipe.claims:
            assert f"{claim.value:.2f}".removesuffix("0") in page
            assert claim.source in page
    for file in (ROOT / "src/segattn/attention").glob("[a-z]*.py"):
        assert f"(src/segattn/attention/{file.name})" in page
        assert f"(tests/attention/test_{file.name})" in page


def test_it_names_every_fixture_of_a_whole_network(papers_page: ModuleType, page: str) -> None:
    stored = {file.stem for file in (ROOT / "tests/parity/data").glob("*.npz")}
    stored = {name for name in stored if not re.search(r"_(cnn|mm)$", name)} - WITHOUT_A_ROW
    assert set(papers_page.FIXTURES) == stored
    assert {name for name in stored if f"[`{name}`]" not in page} == set()


@pytest.mark.parametrize("name", RECIPES)
def test_weights_are_linked_and_their_licence_is_given(page: str, name: str) -> None:
    checkpoint = RECIPES[name].checkpoint
    (row,) = re.findall(rf"^\| `{name}` \|.*", page, re.MULTILINE)
    cell = re.split(r" *\| ?", row)[6]
    licence = checkpoint.licence.partition(" (")[0]
    expected = {
        "none": "none",
        "shipped": f"shipped, {licence}",
        "released": f"[released]({checkpoint.url}), {licence}",
    }
    assert cell == expected[checkpoint.availability]
    if checkpoint.note:
        (line,) = [line for line in page.splitlines() if line.endswith(f": {checkpoint.note}") and f"`{name}`" in line]
        assert line.startswith("* ")
    assert RECIPES[name].paper is None or f"<{RECIPES[name].paper.code}>" in page


def test_the_readme_counts_right(papers_page: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("## What is reproduced")[2].partition("\n\nNot one")[0]
    stated = {
        row[0]: row[1:] for row in re.findall(r"^\| ([\w ]+) \| (\d+) \| (.+) \| (\d+|none) \|$", table, re.MULTILINE)
    }
    found: dict[str, list[int]] = {}
    for recipe in RECIPES.values():
        if recipe.paper is None or not recipe.claims:
            continue
        (name,) = (name for name in stated if recipe.paper.title.startswith(TITLES[name]))
        count = found.setdefault(name, [0, 0, 0])
        count[0] += 1
        count[1] += papers_page._parity(recipe).startswith("[`")
        count[2] += recipe.checkpoint.availability == "released"
        assert not recipe.results, f"{recipe.name} was measured: say so in README.md"
    for name, (rows, whole, released) in found.items():
        shown = re.match(r"\d*", stated[name][1])
        assert shown is not None
        assert (stated[name][0], shown[0] or "0", stated[name][2]) == (str(rows), str(whole), str(released or "none"))
    assert len(found) == 5


def test_protocols_are_those_of_the_claims(page: str) -> None:
    assert (
        "| 70.6 val, whole, 512x1024 or sliding: not said | released README | `whole_512x1024` or `attanet_slide` |"
        in page
    )
    score = "81.49 val, eight scales, flip; aAcc 96.41; chosen on it"
    assert f"| {score} | released README; 81.50 in the paper | `danet_multi_2018` |" in page
    assert "| 79.93 val, single scale, flip; aAcc 95.97; chosen on it | released README | `danet_single` |" in page
