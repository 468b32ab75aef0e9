"""The lower bounds of the dependencies are those that `make test-lowest` runs the tests with."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def bounds() -> dict[str, tuple[int, ...]]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    core = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    return {
        normal(name): release(version) for name, version in re.findall(r'^ *"([\w.-]+)>=([\d.]+)', core, re.MULTILINE)
    }


def lowest() -> dict[str, tuple[int, ...]]:
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): release(version) for name, version in pins}


def test_every_core_dependency_is_pinned_to_its_lower_bound() -> None:
    stated, pinned = bounds(), lowest()
    assert len(stated) >= 12
    assert "torch" in stated
    assert {name: pinned.get(name) for name in stated if name != "torch"} == {
        name: version for name, version in stated.items() if name != "torch"
    }
    assert pinned["torch"] >= stated["torch"]


def test_every_core_dependency_has_a_lower_bound() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    core = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    assert core.count('">=') == 0
    assert len(re.findall(r'^ *"', core, re.MULTILINE)) == len(bounds())
