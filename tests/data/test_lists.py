"""List files: UTF-8 with or without a byte order mark, of any system's line ends, on every locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segattn.datasets.base import read_list


@pytest.mark.parametrize(
    "content",
    [
        "straße\nb\n".encode(),
        b"\xef\xbb\xbf" + "straße\r\nb\r\n".encode(),
        "\n\n  straße  \n\nb".encode(),
    ],
)
def test_what_editors_write(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.txt").write_bytes(content)
    assert read_list(tmp_path / "train.txt") == ["straße", "b"]


def test_the_locale_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes("straße\n".encode())
    code = "import pathlib, sys, segattn.datasets.base as l; print(ascii(l.read_list(pathlib.Path(sys.argv[1]))))"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "train.txt")], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "['stra\\xdfe']\n", done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\n".encode("utf-16"), r"train\.txt: line 1 is not UTF-8; save the file in that encoding"),
        (b"a\nstra\xdfe\n", r"train\.txt: line 2 is not UTF-8"),
        (b"", "the list names no samples; copy it again"),
        (b" \r\n\n", "the list names no samples"),
        (b"a\nb\na\n", "a is listed twice; keep one of the lines"),
        (b"a\n../b\n", r"\.\./b leads out of the data set's folder"),
        (b"/etc/passwd\n", "/etc/passwd leads out"),
        (b"a\0b\n", "holds control characters; is this a list of names"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_list(tmp_path / "train.txt")


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.txt").symlink_to("nothing.txt")
    with pytest.raises(
        ValueError, match=r"pipe\.txt: is a pipe \(FIFO\), not a regular file; a list file was expected"
    ):
        read_list(tmp_path / "pipe.txt")
    with pytest.raises(FileNotFoundError, match=r"link\.txt: is a link to nothing\.txt, which is not there"):
        read_list(tmp_path / "link.txt")
    with pytest.raises(FileNotFoundError, match=r"train\.txt: no such list; .* holds link\.txt, pipe\.txt"):
        read_list(tmp_path / "train.txt")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_list(tmp_path / "gone/train.txt")
