"""One folder of images is shared out by names: the same for ever, whole groups, and no split empty."""

from __future__ import annotations

import unicodedata

import pytest

from segattn.datasets.splits import Division

NAMES = [f"drive{drive}_{frame:04d}" for drive in range(20) for frame in range(10)]


def test_shares_are_met_on_average_and_every_name_is_in_one_split() -> None:
    splits = Division(0.2, 0.1).divide(NAMES)
    assert sorted(name for names in splits.values() for name in names) == sorted(NAMES)
    assert 25 <= len(splits["val"]) <= 55
    assert 10 <= len(splits["test"]) <= 30
    assert set(splits) == {"train", "val", "test"}
    assert set(Division(0.2).divide(NAMES)) == {"train", "val"}


def test_a_name_stays_where_it_is_whatever_comes_beside_it() -> None:
    division = Division(0.2, 0.1)
    before, after = division.divide(NAMES[:100]), division.divide(NAMES[::-1])
    assert all(set(before[split]) <= set(after[split]) for split in division.splits)
    assert set(Division(0.2).divide(NAMES)["val"]) == set(after["val"]), "a test share takes nothing from val"


def test_the_places_are_written_down() -> None:
    """The split of somebody's data must be the same in every version."""
    splits = Division(0.25).divide([f"p{number}" for number in range(12)])
    assert splits["val"] == ["p0", "p2", "p7", "p9", "p11"]


def test_composed_and_decomposed_letters_are_one_name() -> None:
    names = [f"straße_ä{number}" for number in range(30)]
    apart = [unicodedata.normalize("NFD", name) for name in names]
    splits, others = Division(0.3).divide(names), Division(0.3).divide(apart)
    assert [unicodedata.normalize("NFC", name) for name in others["val"]] == splits["val"]


def test_names_that_are_no_text_have_a_place_too() -> None:
    Division(0.5).divide(["a\udcff", "b"])


@pytest.mark.parametrize(
    ("division", "group"),
    [
        (Division(0.3, prefix="_"), lambda name: name.partition("_")[0]),
        (Division(0.3, 0.2, folders=True), lambda name: name.rpartition("/")[0] or "."),
    ],
)
def test_groups_stay_together(division: Division, group: object) -> None:
    names = NAMES if division.prefix else [name.replace("_", "/") for name in NAMES]
    splits = division.divide(names)
    assert callable(group)
    groups = [{group(name) for name in names} for names in splits.values()]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("share", [0.001, 0.999])
def test_no_split_is_empty(count: int, share: float) -> None:
    splits = Division(share).divide([f"x{number}" for number in range(count)])
    assert {min(len(names), 1) for names in splits.values()} == {1}


@pytest.mark.parametrize(
    ("division", "words"),
    [
        (Division(0.2), "1 image: the splits train, val need 2 or more"),
        (Division(0.2, folders=True), "1 image of 1 folder:"),
        (Division(0.2, prefix="_"), "1 image of 1 prefix before '_':"),
        (Division(0.2, 0.1), "the splits train, val, test need 3 or more"),
    ],
)
def test_too_few_groups(division: Division, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        division.divide(["only_one"])
