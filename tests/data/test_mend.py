"""`--fix` changes the keys that it says and nothing else, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from segattn.datasets.absent import Mend, as_line, write_mend

CLASSES = "classes: [{name: a, color: [0, 0, 0]}, {name: b, color: [1, 1, 1]}]"
LABELS = {0: "a", 255: "b"}


def mended(path: Path, content: bytes, ignore: tuple[int, ...] | None = None) -> bytes:
    path.write_bytes(content)
    labels = {**yaml.safe_load(content).get("labels", {}), **LABELS}
    write_mend(Mend(str(path), labels, ignore))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{CLASSES}\n", f"{CLASSES}\nlabels: {{0: a, 255: b}}\n"),
        (CLASSES, f"{CLASSES}\nlabels: {{0: a, 255: b}}\n"),
        (f"# mine\n{CLASSES}  # two\n\n# end\n", f"# mine\n{CLASSES}  # two\nlabels: {{0: a, 255: b}}\n\n# end\n"),
        (f"{CLASSES}\nlabels: {{0: a, 1: b}}\n", f"{CLASSES}\nlabels: {{0: a, 1: b, 255: b}}\n"),
        (f"labels: {{0: a, 255: ignore}} # x\n{CLASSES}\n", f"labels: {{0: a, 255: b}} # x\n{CLASSES}\n"),
        (
            f"labels:\n  0: a  # first\n  255: ignore\n{CLASSES}\n",
            f"labels:\n  0: a  # first\n  255: b\n{CLASSES}\n",
        ),
        (f"labels:\n  0: a  # first\n\n{CLASSES}\n", f"labels:\n  0: a  # first\n  255: b\n\n{CLASSES}\n"),
        (f"{CLASSES}\nlabels:\n  0: a", f"{CLASSES}\nlabels:\n  0: a\n  255: b\n"),
        (f"{{{CLASSES}}}\n", f"{{{CLASSES}, labels: {{0: a, 255: b}}}}\n"),
        (f"{{{CLASSES},}}\n", f"{{{CLASSES}, labels: {{0: a, 255: b}}}}\n"),
        (f"{CLASSES}\r\nupright: true\r\n", f"{CLASSES}\r\nupright: true\r\nlabels: {{0: a, 255: b}}\r\n"),
        (f"---\n{CLASSES}\n", f"---\n{CLASSES}\nlabels: {{0: a, 255: b}}\n"),
    ],
)
def test_the_rest_of_the_file_stays(tmp_path: Path, before: str, after: str) -> None:
    text = mended(tmp_path / "dataset.yaml", before.encode()).decode()
    assert {**yaml.safe_load(text), "labels": None} == {**yaml.safe_load(before), "labels": None}
    assert {**yaml.safe_load(before).get("labels", {}), **LABELS} == yaml.safe_load(text)["labels"]
    assert text == after


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_other_alphabets_stay(tmp_path: Path, mark: bytes) -> None:
    before = mark + f"# größe\n{CLASSES}\n".encode()
    assert mended(tmp_path / "dataset.yaml", before) == before + b"labels: {0: a, 255: b}\n"


@pytest.mark.parametrize(
    "line", ["ignore: [255]", "ignore:\n  - 255", "ignore:\n- 255", "ignore: [\n  255,\n]", "ignore:  [255]  # void"]
)
def test_ignored_ids_are_taken_out(tmp_path: Path, line: str) -> None:
    text = mended(tmp_path / "dataset.yaml", f"{line}\n{CLASSES}\n".encode(), ()).decode()
    assert yaml.safe_load(text) == {**yaml.safe_load(CLASSES), "ignore": [], "labels": LABELS}
    assert "# void" in text or "# void" not in line


def test_what_a_link_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text(f"{CLASSES}\n")
    (tmp_path / "dataset.yaml").symlink_to("real.yaml")
    write_mend(Mend(str(tmp_path / "dataset.yaml"), LABELS))
    assert (tmp_path / "dataset.yaml").is_symlink()
    assert "labels" in (tmp_path / "real.yaml").read_text()


@pytest.mark.parametrize(
    "text",
    [
        f"base: &b {{0: a}}\nlabels: *b\n{CLASSES}\n",
        f"{CLASSES}\nlabels: &l {{0: a}}\nignore: *l\n",
        f"{CLASSES}\n...\n",
        f'{CLASSES}\n"labels": {{0: a}}\n',
        f"? labels\n: {{0: a}}\n{CLASSES}\n",
        f"{CLASSES}\nlabels: {{0: a, <<: {{255: ignore}}}}\n",
        f"{CLASSES}\nlabels:\n    {{0: a,\n     255: ignore}}\n",
        f"labels:\n  ? 0\n  : a\n{CLASSES}\n",
    ],
)
def test_odd_layouts_are_mended_or_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dataset.yaml"
    labels = {**yaml.safe_load(text).get("labels", {}), **LABELS}
    path.write_text(text)
    refusal = ""
    try:
        write_mend(Mend(str(path), labels))
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert path.read_text() == text
        assert refusal.startswith(f"{path}: laid out so that it can't be changed safely; write into it `labels: ")
    else:
        assert yaml.safe_load(path.read_text()) == {**yaml.safe_load(text), "labels": labels}
    assert [file.name for file in tmp_path.iterdir()] == ["dataset.yaml"]


def test_the_line_is_yaml() -> None:
    names = {0: "no", 1: "1:1", 2: "a: b", 3: "straße", 4: "ignore", 5: "x" * 90}
    line = as_line(Mend("", names, (9,)))
    labels, ignore = line.strip("`").split("` and `")
    assert yaml.safe_load(labels) == {"labels": names}
    assert yaml.safe_load(ignore) == {"ignore": [9]}
