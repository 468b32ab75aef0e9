"""The lower bounds of the dependencies, the extras' too, are those that `make test-lowest` runs the tests with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REQUIREMENT = re.compile(r'"([\w.-]+)(?:\[[\w,-]+\])?(?:(>=|==)([\d.]+))?(?:; [^"]*)?"(?:,|\n|\])')


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def groups() -> dict[str, list[tuple[str, str, str]]]:
    """Name, sign and version of each requirement: of the package itself under "core", and of each extra."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = text.partition("\n[project.optional-dependencies]\n")[2].partition("\n[")[0]
    lists = {"core": text.partition("\ndependencies = [")[2].partition("\n]")[0]}
    lists.update(re.findall(r"^([\w-]+) = \[(.*?)\]$", extras, re.MULTILINE | re.DOTALL))
    return {
        group: [(normal(name), sign, version) for name, sign, version in REQUIREMENT.findall(body + "\n")]
        for group, body in lists.items()
    }


def bounds(group: str) -> dict[str, tuple[int, ...]]:
    return {name: release(version) for name, sign, version in groups()[group] if sign}


def lowest() -> dict[str, tuple[int, ...]]:
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition(";")[0].split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): release(version) for name, version in pins}


def test_all_groups_are_found() -> None:
    assert {"core", "export", "runtime", "raster", "scale", "app", "log", "quantize", "dev"} <= groups().keys()
    assert len(groups()["core"]) >= 12
    assert ("ray", ">=") in [(name, sign) for name, sign, _ in groups()["scale"]]


@pytest.mark.parametrize("group", groups())
def test_every_dependency_is_pinned_to_its_lower_bound(group: str) -> None:
    stated, pinned = bounds(group), lowest()
    assert {name: pinned.get(name) for name in stated if name != "torch"} == {
        name: version for name, version in stated.items() if name != "torch"
    }
    assert pinned["torch"] >= bounds("core")["torch"]


@pytest.mark.parametrize("group", groups())
def test_every_dependency_has_a_lower_bound(group: str) -> None:
    assert [name for name, sign, _ in groups()[group] if not sign] == []


def test_one_dependency_has_one_lower_bound() -> None:
    seen: dict[str, set[tuple[int, ...]]] = {}
    for group in groups():
        for name, version in bounds(group).items():
            seen.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in seen.items() if len(versions) > 1} == {}


def test_the_environment_of_the_lowest_versions_has_every_extra() -> None:
    command = re.search(r"constraints-lowest\.txt -e '\.\[([\w,-]+)\]'", (ROOT / "Makefile").read_text("utf-8"))
    assert command is not None
    installed = {name for group in ("core", *command[1].split(",")) for name, _, _ in groups()[group]}
    missing = {group: {n for n, _, _ in listed} - installed for group, listed in groups().items()}
    assert {group: names for group, names in missing.items() if names} == {}
