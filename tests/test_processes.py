"""Scoring and labelling by several processes on this machine (gloo), by the command line as torchrun starts it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.processes import ending_together, gathered, place, processes_here


def launch(processes: int, *words: str) -> list[tuple[int, str, str]]:
    """(exit code, standard output, standard error) of each rank of `segattn WORDS`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    children = []
    for rank in range(processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        environment = {**os.environ, **own, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        environment["SOURCE_DATE_EPOCH"] = "1790000000"  # so that no midnight comes between
        command = [sys.executable, "-m", "segattn", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        children.append(subprocess.Popen(command, env=environment, text=True, **pipes))
    try:
        ends = [child.communicate(timeout=120) for child in children]
    finally:
        for child in children:
            child.kill()
    return [(child.returncode, *end) for child, end in zip(children, ends, strict=True)]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CamVid's layout with five small frames to score."""
    root, rng = tmp_path_factory.mktemp("camvid"), np.random.default_rng(0)
    for number in range(5):
        for folder in ("val", "valannot"):
            (root / folder).mkdir(exist_ok=True)
        image = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
        cv2.imwrite(str(root / "val" / f"p{number}.png"), image)
        mask = rng.integers(0, 12, (6, 8), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        cv2.imwrite(str(root / "valannot" / f"p{number}.png"), mask)
    return root


def evaluated(root: Path, output: Path, processes: int) -> tuple[str, str, str]:
    words = ["evaluate", "attanet_light_camvid", "--data.root", str(root), "--device", "cpu", "--output", str(output)]
    ends = launch(processes, *words)
    assert [code for code, _, _ in ends] == [0] * processes, ends
    assert all(not out for _, out, _ in ends[1:]), "one process speaks"
    return (
        ends[0][1].replace(str(output), ""),
        (output / "scores.json").read_text(),
        (output / "report.html").read_text(),
    )


def test_scores_and_report_are_the_same_for_one_and_three_processes(street: Path, tmp_path: Path) -> None:
    """Of 5 images, so shards are uneven. To the last byte."""
    one, three = (evaluated(street, tmp_path / str(count), count) for count in (1, 3))
    assert len(json.loads(one[1])["images"]) == 5
    assert three == one


def test_predict_labels_each_image_once(street: Path, tmp_path: Path) -> None:
    def labelled(processes: int) -> tuple[dict[str, bytes], list[str]]:
        folder = tmp_path / str(processes)
        words = ["predict", str(street / "val"), "--size", "native", "--device", "cpu", "--output", str(folder)]
        ends = launch(processes, *words)
        assert [code for code, _, _ in ends] == [0] * processes, ends
        lines = "".join(out for _, out, _ in ends).replace(str(folder), "").splitlines()
        timed = [line for line in lines if "images/s" in line]
        assert len(timed) == 1
        return {file.name: file.read_bytes() for file in folder.iterdir()}, sorted(set(lines) - set(timed))

    one, two = labelled(1), labelled(2)
    assert sorted(one[0]) == [
        ".segattn.json",
        *sorted(f"p{n}_{kind}.png" for n in range(5) for kind in ("labels", "overlay")),
    ]
    assert two == one


def test_processes_agree_on_what_was_made_by_another_model(street: Path, tmp_path: Path) -> None:
    """The one that comes late would else take the first one's new record for an old one, and keep old labels."""
    pyarrow = pytest.importorskip("pyarrow.parquet")
    command = ("predict", str(street / "val"), "--device", "cpu", "--parquet", "--output", str(tmp_path))
    for size in ("native", "96"):
        ends = launch(2, *command, "--size", size)
        assert [code for code, _, _ in ends] == [0, 0], ends
        assert "labelled before" not in "".join(out for _, out, _ in ends)
    names = [name for file in tmp_path.glob("*.parquet") for name in pyarrow.read_table(file)["name"].to_pylist()]
    assert sorted(names) == [f"p{n}" for n in range(5)]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_failure_in_one_process_ends_all_with_its_reason(broken: int, street: Path, tmp_path: Path) -> None:
    shutil.copytree(street, tmp_path, dirs_exist_ok=True)
    image = tmp_path / "val" / f"p{broken}.png"
    image.write_bytes(b"no image")
    ends = launch(2, "evaluate", "attanet_light_camvid", "--data.root", str(tmp_path), "--device", "cpu")
    assert [code for code, _, _ in ends] == [2, 2], ends
    said, other = ends[broken][2].strip(), ends[1 - broken][2].strip()
    assert said.startswith(f"segattn: error: {image}: "), ends
    assert "another process failed" in other
    if broken == 1:  # process 0 keeps what failed; with it gone nobody knows more
        reason = said.removeprefix("segattn: error: ")
        assert other == f"segattn: error: ended, as another process failed: process 1 of 2: {reason}"
    assert "Traceback" not in said + other


@pytest.mark.parametrize(("rank", "world"), [("2", "2"), ("-1", "2"), ("one", "2"), ("0", "0")])
def test_a_place_that_makes_no_sense_is_refused(rank: str, world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(ValueError, match="start with torchrun"):
        place()


@pytest.mark.parametrize("text", ["0", "two", "-1"])
def test_a_number_of_processes_here_that_makes_no_sense_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", text)
    with pytest.raises(ValueError, match="LOCAL_WORLD_SIZE"):
        processes_here()


def test_one_module_reads_what_launchers_say() -> None:
    source = Path(__file__).parents[1] / "src/segattn"
    readers = {file.name for file in source.rglob("*.py") if "WORLD_SIZE" in file.read_text(encoding="utf-8")}
    assert readers == {"processes.py"}


def test_alone_errors_pass_as_they_are_and_there_is_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(key, raising=False)
    assert place() == (0, 1)
    assert gathered("mine") == ["mine"]
    with pytest.raises(RuntimeError, match="gloo"), ending_together():
        raise RuntimeError("gloo")
