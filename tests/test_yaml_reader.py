"""YAML gives plain data, or one line that says where it is wrong and what to write; size, depth and aliases bounded."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from segattn.yaml_reader import DEEPEST, LARGEST, MOST_VALUES, YamlError, read_yaml, read_yaml_file


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "~",
        "a",
        "'no'",
        '"\\u00e9\\x41"',
        "[1, -2, +3, 0, 1_000, 0x1F, 0b101]",
        "[1.5, -0.5, 1.5e+3, .5, 1_0.5, 3.]",
        "[true, False, yes, NO, on, Off]",
        "{a: [1, {b: c}], d: null}",
        "a: |\n  two\n  lines\nb: >\n  one\n  line\n",
        "base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nboth: {<<: [*b, {z: 4}]}\n",
        "{1: a, 2.5: b, x: c}",
        "- &a [1]\n- *a\n",
        "1e-3",
        "?",
        "'1:1'",
        "08",
    ],
)
def test_plain_yaml_reads_as_everywhere(text: str) -> None:
    assert read_yaml(text) == yaml.safe_load(text)


def test_numbers_that_are_no_decimals() -> None:
    assert read_yaml("[.inf, -.INF]") == [math.inf, -math.inf]
    assert math.isnan(read_yaml(".nan"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: key 'a' twice; keep one of them"),
        ("{1: a, 0x1: b}", "line 1, column 8: key 1 twice"),
        ("{1: a, true: b}", "line 1, column 8: key True twice"),
        ("{<<: {a: 1}, <<: {b: 2}, a: 1, a: 2}", "key 'a' twice"),
        ("a: !!python/object:os.system x", r"line 1, column 4: tag .*python/object.*: tags are not read; remove it"),
        ("a: !!bool abc", "tags are not read"),
        ("a: !!timestamp abc", "tags are not read"),
        ("a: !!int '3'", "tags are not read"),
        ("a: !mine 3", "tags are not read"),
        ("!!map {a: 1}", "tags are not read"),
        ("!!str a: 1", "tags are not read"),
        ("- !!set {a}", "tags are not read"),
        ("1:1", "1:1 is a number to the base 60 to YAML; quote it: '1:1'"),
        ("1:30.5", "to the base 60"),
        ("-190:20:30", "to the base 60"),
        ("007", "007 is a number to the base 8 to YAML; write it without the leading 0, or quote it: '007'"),
        ("-017", "to the base 8"),
        ("0x_", "0x_ is no number; quote it"),
        ("2024-01-31", "2024-01-31 is a date to YAML; quote it: '2024-01-31'"),
        ("2024-01-31 10:20:30", "is a date"),
        ("2024-99-99", "is a date"),
        ("9" * 65, "a number of 65 digits"),
        ("[a, b]: c", r"\['a', 'b'\] as a key; text or a number was expected"),
        ("? {a: 1}\n: c", "as a key"),
        ("<<: 3", "<< takes mappings, not 3"),
        ("<<: [3]", "<< takes mappings, not 3"),
        ("a: *b", "line 1, column 4: found undefined alias 'b'"),
        ("a: [1", "line 1, column 6: while parsing a flow sequence"),
        ("a: b: c", "mapping values are not allowed here"),
        ("\ta: 1", "cannot start any token"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("%YAML 3.0\n--- a", "found incompatible YAML document"),
        ("a: \x00", "special characters are not allowed"),
        ("a: \x1b[2J", "special characters are not allowed"),
        ('"\\ud800"', "half a character"),
    ],
)
def test_what_is_refused_says_where_and_what_to_write(text: str, message: str) -> None:
    with pytest.raises(YamlError, match=message) as error:
        read_yaml(text)
    assert len(str(error.value)) < 500


def nested(depth: int, opening: str, closing: str) -> str:
    return opening * depth + closing * depth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (nested(DEEPEST + 2, "[", "]"), f"more than {DEEPEST} lists and mappings inside each other"),
        (nested(5000, "[", "]"), "inside each other"),
        (nested(5000, "{a: ", "}"), "inside each other"),
        (nested(5000, "- ", ""), "inside each other"),
        (nested(100_000, "[", ""), "inside each other"),
        ("\n".join(f"{' ' * depth}a:" for depth in range(500)), "inside each other"),
        ("a: &a [*a]", "aliases make more than|contain themselves"),
        ("&a {b: *a}", "contain themselves"),
        ("a: &a {<<: *a}", "contain themselves"),
        ("[" + "1," * MOST_VALUES + "]", f"more than {MOST_VALUES} values"),
        ("x" * (LARGEST + 1), f"{LARGEST + 1} characters, {LARGEST} are read at most"),
    ],
)
def test_size_and_depth_are_bounded(text: str, message: str) -> None:
    with pytest.raises(YamlError, match=message) as error:
        read_yaml(text)
    assert len(str(error.value)) < 500


def bomb(item: str) -> str:
    lines = [f"a0: &a0 {item.format('x')}"] + [f"a{n}: &a{n} {item.format(f'*a{n - 1}')}" for n in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "item", ["[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]", "{{p: {0}, q: {0}, r: {0}, s: {0}}}"]
)
def test_what_aliases_repeat_is_counted(item: str) -> None:
    with pytest.raises(YamlError, match="counting what aliases repeat"):
        read_yaml(bomb(item))


def test_what_merge_keys_repeat_is_counted() -> None:
    lines = ["a0: &a0 {k: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 10)]
    with pytest.raises(YamlError, match="counting what aliases repeat"):
        read_yaml("\n".join(lines))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: \xc3\xa9\n", {"a": "é"}),
        (b"\xef\xbb\xbfa: \xc3\xa9\r\nb: 1\r\n", {"a": "é", "b": 1}),
        (b"", None),
    ],
)
def test_files_are_utf8_with_or_without_a_mark_on_every_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, expected: Any
) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    assert read_yaml_file(tmp_path / "a.yaml") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: \xe9\n", "not readable as YAML: line 2 is not UTF-8; save the file in that encoding"),
        ("a: é".encode("utf-16"), "line 1 is not UTF-8"),
        (b"a: 1\na: 2\n", "not readable as YAML: line 2, column 1: key 'a' twice"),
        (bytes(LARGEST + 1), f"{LARGEST + 1} bytes, more than the {LARGEST} that are read of such a recipe file"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_yaml_file(path, "recipe file")
    assert str(error.value).startswith(f"{path}: ")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ValueError, match=r"pipe\.yaml: is a pipe \(FIFO\), not a regular file; a YAML file was"):
        read_yaml_file(tmp_path / "pipe.yaml")
    with pytest.raises(ValueError, match="/dev/zero: is a device"):
        read_yaml_file("/dev/zero")
    with pytest.raises(ValueError, match="is a folder"):
        read_yaml_file(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no\.yaml: no such YAML file"):
        read_yaml_file(tmp_path / "no.yaml")
