"""Files appear whole or not at all, and a full disk is told in one line that names the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_line_that_does_not_fit_leaves_no_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    code = (
        "file = Path(sys.argv[1]).open('ab', buffering=0)\n"
        "    files.append_line(file, Path(sys.argv[1]), b'first\\n')\n"
        "    files.append_line(file, Path(sys.argv[1]), bytes(200_000))"
    )
    assert limited(code, path) == f"{path}: can't be written (File too large)"
    assert path.read_bytes() == b"first\n"
