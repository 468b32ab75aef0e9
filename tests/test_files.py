"""Files appear whole or not at all, a full disk is told in one line, and only regular files are read."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segattn import files

pytest.importorskip("resource")

LIMIT = 100_000


def limited(code: str, *arguments: Path) -> str:
    """What `code` prints where no file may grow beyond LIMIT bytes, which is how a full disk looks from inside."""
    program = (
        "import resource, sys\nfrom pathlib import Path\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))\n"
        "from segattn import files\n"
        f"try:\n    {code}\nexcept OSError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "files.write_file(Path(sys.argv[1]), bytes(200_000))",
        "with files.atomic_path(Path(sys.argv[1])) as path: path.write_bytes(bytes(200_000))",
    ],
)
def test_what_does_not_fit_is_named_and_leaves_the_old_file(code: str, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    assert limited(code, path) == f"{path}: can't be written (File too large)"
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file.bin", b"old")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere", "nowhere: no such folder; it was wanted"),
        ("file.txt", "file.txt: is a file; give the folder that it lies in; it was wanted"),
        ("link", "link: is a link to gone, which is not there"),
    ],
)
def test_what_is_no_folder_is_called_what_it_is(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "link").symlink_to("gone")
    files.require_folder(tmp_path, "it was wanted")
    with pytest.raises(FileNotFoundError, match=text):
        files.require_folder(tmp_path / name, "it was wanted")


def test_files_that_belong_together_appear_all_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(b"old")

    def write_a_file_that_disagrees() -> None:
        with files.atomic_files(path) as folder:
            (folder / "a.xml").write_bytes(b"new")
            raise ValueError("disagrees")

    with pytest.raises(ValueError, match="disagrees"):
        write_a_file_that_disagrees()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.xml", b"old")]
    (tmp_path / ".a.xml.part").mkdir()  # left by a kill
    (tmp_path / ".a.xml.part" / "rest").touch()
    with files.atomic_files(path) as folder:
        (folder / "a.xml").write_bytes(b"new")
        (folder / "a.bin").write_bytes(b"newer")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.xml": b"new", "a.bin": b"newer"}


def test_what_does_not_fit_into_one_of_several_files_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    code = (
        "with files.atomic_files(Path(sys.argv[1])) as folder: "
        "(folder / 'a.xml').touch(); (folder / 'a.bin').write_bytes(bytes(200_000))"
    )
    assert limited(code, path) == f"{path}: can't be written (File too large)"
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_does_not_fit_leaves_no_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    code = (
        "file = Path(sys.argv[1]).open('ab', buffering=0)\n"
        "    files.append(file, Path(sys.argv[1]), b'first\\n')\n"
        "    files.append(file, Path(sys.argv[1]), bytes(200_000))"
    )
    assert limited(code, path) == f"{path}: can't be written (File too large)"
    assert path.read_bytes() == b"first\n"


def special(folder: Path, kind: str) -> Path:
    path = folder / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link to a pipe":
        os.mkfifo(folder / "target")
        path.symlink_to("target")
    return path


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("folder", "a folder"),
        ("pipe", "a pipe (FIFO)"),
        ("link to a pipe", "a pipe (FIFO)"),
        ("socket", "a socket"),
        ("device", "a device"),
    ],
)
def test_what_is_no_regular_file_is_named_and_not_opened(
    tmp_path: Path, kind: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    path = special(Path(), kind)
    for read in (files.require_regular, files.read_regular, files.read_text):
        with pytest.raises(ValueError, match="not a regular file") as error:
            read(path, "image")
        assert str(error.value) == f"{path}: is {what}, not a regular file; an image was expected"


@pytest.mark.parametrize("name", ["gone", "file/below", "link", "circle", "x" * 300, "a\0b"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises((FileNotFoundError, ValueError), match=r"no such file|which is not there") as error:
        files.require_regular(tmp_path / name)
    assert len(str(error.value)) < 600


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(11))
    assert files.read_regular(tmp_path / "a", largest=11) == bytes(11)
    with pytest.raises(ValueError, match="a: 11 bytes, more than the 10 that are read of such a list"):
        files.read_regular(tmp_path / "a", "list", largest=10)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a file of the system that says it is empty")
def test_files_that_say_they_are_empty_are_bounded_too() -> None:
    with pytest.raises(ValueError, match="more than the 10 that are read"):
        files.read_regular("/proc/self/status", largest=10)


@pytest.mark.parametrize(("first", "second"), [("a.png", "A.png"), ("\u00e9.png", "e\u0301.png"), ("a.png", "a.png")])
def test_two_sources_of_one_output_are_refused(first: str, second: str) -> None:
    outputs: dict[str, Path] = {}
    files.require_separate(outputs, Path("x"), first)
    files.require_separate(outputs, Path("x"), first)
    files.require_separate(outputs, Path("z"), "other.png")
    with pytest.raises(ValueError, match=f"x and y would both write {second}; rename one of them"):
        files.require_separate(outputs, Path("y"), second)


def test_a_source_is_not_written_over_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    os.link(tmp_path / "a", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("a")
    files.require_unread([tmp_path / "new", tmp_path / "gone/b"], [tmp_path / "a", tmp_path / "lost"])
    for name in ("a", "hard", "soft", "../" + tmp_path.name + "/a"):
        with pytest.raises(ValueError, match="would be written and is a source itself"):
            files.require_unread([tmp_path / name], [tmp_path / "a"])


def test_a_folder_that_went_away_is_told_of(tmp_path: Path) -> None:
    """As where a run's folder is removed while it trains; torch raises a RuntimeError."""
    path = tmp_path / "gone" / "state.pt"
    reason = r"state\.pt: can't be written \(its folder is not there any more\)"
    with (
        pytest.raises(OSError, match=reason),
        files.atomic_path(path) as temporary,
        files.translating_save(temporary),
    ):
        torch.save({}, temporary)
