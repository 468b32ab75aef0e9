"""A dataset.yaml goes before what is assumed; contradictions and traps are refused, naming the file and the key."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segattn.contracts import IGNORE
from segattn.datasets.check import check_named
from segattn.datasets.description import read_description
from segattn.datasets.folder import FolderDataset

OWN: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("own_data.py")))
classes, own_data, put = OWN["classes"], OWN["own_data"], OWN["put"]
AB = classes("a", "b")


def written(folder: Path, text: str) -> Path:
    (folder / "dataset.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        ("", {0: "a", 1: "b", 255: "ignore"}),
        ("ignore: [255]\n", {0: "a", 1: "b", 255: "ignore"}),
        ("ignore: []\n", {0: "a", 1: "b"}),
        ("ignore: [0]\n", {0: "ignore", 1: "b"}),
        ("ignore: [1, 255]\n", {0: "a", 1: "ignore", 255: "ignore"}),
        ("labels: {0: a, 255: b}\n", {0: "a", 255: "b"}),
        ("labels: {0: a, 255: b}\nignore: []\n", {0: "a", 255: "b"}),
        ("labels: {0: a, 7: b}\nignore: [9]\n", {0: "a", 7: "b", 9: "ignore"}),
        ("labels: {0: ignore, 1: a, 2: b}\n", {0: "ignore", 1: "a", 2: "b", 255: "ignore"}),
        ("labels: {0: ignore, 1: a, 2: b}\nignore: [0]\n", {0: "ignore", 1: "a", 2: "b"}),
        ("labels: {65535: a, 0x10: b}\n", {65535: "a", 16: "b", 255: "ignore"}),
    ],
)
def test_what_is_said_goes_before_what_is_assumed(tmp_path: Path, lines: str, labels: dict[int, str]) -> None:
    assert read_description(written(tmp_path, AB + lines)).labels == labels


def test_an_id_that_is_ignored_does_not_train(tmp_path: Path) -> None:
    dataset = FolderDataset(own_data(tmp_path, AB + "ignore: [0]\n", [0, 1]), "train")
    assert np.unique(dataset[0].mask).tolist() == [1, IGNORE]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # contradictions and doubles
        (AB + "labels: {0: a, 1: b}\nignore: [1]\n", "labels.1 says 'b' and ignore lists 1 too: remove it from one of"),
        (AB + "labels: {0: a, 1: b, 1: a}\n", "line 4, column 22: key 1 twice; keep one of them"),
        (AB + "labels: {0: a, 0x0: b}\n", "key 0 twice"),
        (AB + "ignore: [255]\nignore: []\n", "key 'ignore' twice"),
        (classes("a", "a"), "classes: a twice; names must differ"),
        # names
        (classes("no", "yes"), "classes.0.name: false; YAML reads yes, no, on and off as true and false: quote it"),
        (classes("a", "On"), "classes.1.name: true; YAML reads yes, no"),
        (classes("1", "b"), "classes.0.name: 1 is no text; put the name in quotes"),
        (classes("1:1", "b"), "1:1 is a number to the base 60 to YAML; quote it: '1:1'"),
        (classes("2024-01-01", "b"), "is a date to YAML; quote it: '2024-01-01'"),
        (classes("~", "b"), "classes.0.name: None is no text"),
        (classes("'  '", "b"), "classes.0.name: '  '; a name of 1 to 100 letters on one line was expected"),
        (classes('"a\\nb"', "b"), "a name of 1 to 100 letters on one line"),
        (classes('"\\e[2J"', "b"), "a name of 1 to 100 letters on one line"),
        (classes("x" * 101, "b"), "a name of 1 to 100 letters"),
        *(
            (
                classes("a", name),
                "classes.1.name: '.*' means in labels that an id neither trains nor scores, so no class",
            )
            for name in ("ignore", "Ignore", "IGNORE", "'ignore '")
        ),
        (classes(*(f"c{number}" for number in range(255))), "classes: 255 of them; 254 at most, as 254 and 255 have"),
        # ids
        (
            AB + "labels: {0: a, -1: b}\n",
            "labels: -1 is negative; masks hold 0..65535, and a -1 that was saved with 8 bits",
        ),
        (AB + "ignore: [-1]\n", "ignore: -1 is negative"),
        (AB + "labels: {0: a, 65536: b}\n", "labels: 65536 is too large; masks hold 0..65535"),
        (AB + "labels: {0: a, 1.0: b}\n", "labels: 1.0 is no id; whole numbers were expected"),
        (AB + "labels: {0: a, '1': b}\n", "labels: '1' is no id"),
        (AB + "labels: {no: a, yes: b}\n", "labels: false is no id; YAML reads yes, no"),
        (AB + "labels: {0: a, 1: no}\n", "labels.1: false is not a class; YAML reads yes, no"),
        (AB + "labels: {0: a, 1: B}\n", "labels.1: 'B' is not a class"),
        (AB + "labels: {0: a, 1: [b]}\n", r"labels.1: \['b'\] is not a class"),
        (AB + "labels: {a: 0, b: 1}\n", "labels: 'a' is no id"),
        (
            AB + "labels: [a, b]\n",
            r"labels: \['a', 'b'\]; a mapping of ids \(whole numbers\) to class names was expected",
        ),
        (AB + "labels: {}\n", "labels: {}; a mapping of ids"),
        (AB + "labels:\n", "labels: None; a mapping of ids"),
        (AB + "ignore: 255\n", "ignore: 255; a list of raw ids was expected, such as"),
        (AB + "ignore: [yes]\n", "ignore: true is no id"),
        (AB + "ignore: [[255]]\n", r"ignore: \[255\] is no id"),
        (AB + "ignore:\n", "ignore: None; a list of raw ids"),
        # the rest
        ("", "a mapping with the key classes was expected, this holds nothing"),
        ("[]", "a mapping with the key classes was expected, this holds a list"),
        ("3", "this holds a int"),
        ("classes: []", "classes: a list was expected, each entry a name, or {name: ..., color: .*}"),
        ("classes: {a: 1}", "classes: a list was expected"),
        ("classes: [a, no]", "classes.1: false; YAML reads yes, no, on and off as true and false: quote it"),
        ("classes: [a, [b]]", r"classes\.1: \['b'\] is no text"),
        ("classes: [a, ignore]", "classes.1: 'ignore' means in labels"),
        ("classes: [a, {name: a}]", "classes: a twice"),
        ("classes: [{color: [1, 2, 3]}]", r"classes\.0: {'color': \[1, 2, 3\]}; a name, or {name"),
        ("classes: [{name: a, colour: [1, 2, 3]}]", r"classes\.0: "),
        ("classes: [{name: a, color: null}]", r"classes\.0: "),
        ("classes: [{name: a, color: [1, 2, true]}]", r"classes\.0: "),
        ("classes: [{name: a, color: [1, 2, -3]}]", r"classes\.0: "),
        ("classes: [{name: a, color: [1, 2, .nan]}]", r"classes\.0: "),
        ("classes: [{name: a, color: red}]", r"classes\.0: "),
        ("classes: !!bool abc", "tags are not read"),
        (AB + "3: x\n", "unknown key 3"),
        (AB + "label: {}\n", r"unknown key 'label'\. Did you mean labels"),
        (AB + f"{'k' * 1000}: 1\n", "unknown key 'kkk"),
        (
            AB + "image_suffix: [1]\n",
            r"image_suffix: \[1\]; ends of file names were expected, such as \[.jpg, _rgb.png\]",
        ),
        (AB + "image_suffix: 1\n", "image_suffix: 1; ends of file names"),
        (AB + "mask_suffix: yes\n", "mask_suffix: True; ends of file names"),
        (AB + "mask_suffix: ''\n", "mask_suffix: ''; ends of file names"),
        (AB + "mask_suffix: []\n", r"mask_suffix: \[\]; ends"),
        (AB + "mask_suffix: {a: b}\n", "mask_suffix: {'a': 'b'}; ends"),
        (AB + "mask_suffix: a/b.png\n", "mask_suffix: 'a/b.png'; ends"),
        (AB + "images: 3\n", "images: 3; a folder was expected, such as images/{split}"),
        (AB + "images: ''\n", "images: ''; a folder was expected"),
        (AB + "images: [a]\n", r"images: \['a'\]; a folder"),
        (AB + 'images: "a\\0b"\n', "images: 'a\\\\x00b'; a folder"),
        (AB + "images: a/{split\n", "with {split} once and no other brace"),
        (AB + "images: '{split}/{split}'\n", "with {split} once"),
        (AB + "masks: ~/{split}\n", "masks: '~/{split}'; write the home folder's own path"),
        (AB + "upright: 1\n", "upright: 1; true .* or false .* was expected"),
        (AB + "upright: 'yes'\n", "upright: 'yes'; true"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_description(written(tmp_path, text))
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 'dataset.yaml'}: ")
    assert said.isprintable()
    assert len(said) < 1000


def test_254_classes_and_names_of_every_kind(tmp_path: Path) -> None:
    names = ["void", "'no'", "'1:1'", "'3'", "straße", "日本", "a b", *(f"c{number}" for number in range(247))]
    described = read_description(written(tmp_path, classes(*names)))
    assert described.classes.names[:7] == ("void", "no", "1:1", "3", "straße", "日本", "a b")
    assert described.labels[253] == "c246"
    assert 254 not in described.labels


def test_long_values_are_refused_at_once(tmp_path: Path) -> None:
    rows = ", ".join(["{name: " + "x" * 90 + ", color: [0, 0, 0]}"] * 2000)
    with pytest.raises(ValueError, match="classes: 2000 of them"):
        read_description(written(tmp_path, f"classes: [{rows}]\n"))


@pytest.mark.parametrize("name", ["images: gone/{split}", "images: gone", "masks: ../gone/{split}"])
def test_folders_that_are_not_there(tmp_path: Path, name: str) -> None:
    root = own_data(tmp_path / "data", AB + f"{name}\n", [0, 1])
    report = check_named("folder", root, "train")
    (problem,) = report.problems
    assert problem.kind == "layout"
    assert name.split()[1].replace("{split}", "train") in problem.what


@pytest.mark.parametrize("key", ["images", "masks"])
def test_an_absolute_folder_that_is_not_there(tmp_path: Path, key: str) -> None:
    gone = tmp_path / "gone"
    root = own_data(tmp_path / "data", AB + f"{key}: {gone}/{{split}}\n", [0, 1])
    with pytest.raises(FileNotFoundError) as error:
        FolderDataset(root, "train")
    assert str(error.value) == f"{gone}/train: no such folder; the key {key} of {root / 'dataset.yaml'} names it"


def test_folders_elsewhere(tmp_path: Path) -> None:
    elsewhere = own_data(tmp_path / "elsewhere", "", [0, 1], [1])
    for images, masks in (
        (f"{elsewhere}/images/{{split}}", "../elsewhere/masks/{split}"),
        ("../elsewhere/images/{split}", f"{elsewhere}/masks/{{split}}"),
    ):
        root = own_data(tmp_path / "data", AB + f"images: {images}\nmasks: {masks}\n")
        assert [pair.name for pair in FolderDataset(root, "train").pairs] == ["p0", "p1"]
        with pytest.raises(ValueError, match="has no split 'trian'; it has train"):
            FolderDataset(root, "trian")


def test_too_long_a_folder_is_one_line(tmp_path: Path) -> None:
    for folder in ("x" * 5000, "/" + "y" * 5000, "a/" * 3000):
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            FolderDataset(own_data(tmp_path, AB + f"images: {folder}\n"), "train")
        assert len(str(error.value)) < 1000


@pytest.mark.parametrize("split", ["", ".", "..", "../train", "train/", "a\\b", "a\0b", "x" * 5000])
def test_a_split_is_a_name(tmp_path: Path, split: str) -> None:
    root = own_data(tmp_path, AB, [0, 1])
    with pytest.raises((ValueError, FileNotFoundError), match="split") as error:
        FolderDataset(root, split)
    assert len(str(error.value)) < 1000


def test_images_and_masks_in_one_folder(tmp_path: Path) -> None:
    text = AB + "images: '{split}'\nmasks: '{split}'\nimage_suffix: _rgb.jpg\nmask_suffix: [_ids.png]\n"
    put(tmp_path / "train/x/a_rgb.jpg")
    put(tmp_path / "train/x/a_ids.png", [0, 1])
    assert [pair.name for pair in FolderDataset(written(tmp_path, text), "train").pairs] == ["x/a"]


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + (classes("straße", "b") + "ignore: [9]\n").replace("\n", "\r\n").encode()
    (tmp_path / "dataset.yaml").write_bytes(content)
    described = read_description(tmp_path)
    assert described.classes.names == ("straße", "b")
    assert described.labels[9] == "ignore"
