"""A full disk: every command that writes says so in one line that names the file, and spoils nothing that was there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat

from segattn.cli.main import main

resource = pytest.importorskip("resource")

Command = Callable[..., str]
SHORT = (
    *("--schedule.iterations", "2", "--schedule.warmup", "null", "--training.validate_every", "2"),
    *("--training.batch_size", "2", "--training.workers", "0", "--training.checkpoint_every", "1"),
    *("--augmentation.3.height", "48", "--augmentation.3.width", "64"),
)


@contextmanager
def full(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes, which is how a full disk looks from inside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def desk(camvid: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the commands below read, in which they run."""
    desk = camvid.parent
    monkeypatch.chdir(desk)
    cv2.imwrite("photo.png", np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    (desk / "model.safetensors").symlink_to(trained)
    torch.save({"a": torch.zeros(1000), "b": {"c"}}, "whole.pth")
    (desk / "run").mkdir()
    record = {"kind": "train", "step": 1, "loss": 1.0, "lr": 0.1, "images_per_second": 1.0, "data_wait": 0.0}
    (desk / "run" / "log.jsonl").write_text(json.dumps(record) + "\n")
    for folder in ("coco/images", "coco/annotations", "coco/imageLists"):
        (desk / folder).mkdir(parents=True)
    for split in ("train", "test"):
        (desk / f"coco/imageLists/{split}.txt").write_text(f"{split}\n")
        cv2.imwrite(f"coco/images/{split}.jpg", np.zeros((50, 70, 3), np.uint8))
        ids = np.random.default_rng(0).choice([0, 1, 11, 13, 92, 182], (50, 70)).astype(np.float64)
        names = np.array([f"class {i}" for i in range(182)], object)[:, None]
        savemat(f"coco/annotations/{split}.mat", {"S": ids, "names": names}, do_compression=True)
    return desk


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("evaluate model.safetensors --data.root camvid --output out", "out/scores.json"),
        ("evaluate model.safetensors --data.root camvid --submission out", "out/val0.png"),
        ("predict photo.png --model model.safetensors --output out", "out/photo_labels.png"),
        ("report run", "run/curves.svg"),
        ("data synthetic out --train 1 --val 1 --height 64 --width 64", "leftImg8bit.png"),
        ("data prepare coco_stuff10k --root coco", "coco/annotations_png/train.png"),
        ("data check camvid --root camvid --output out.json", "out.json"),
        ("data stats camvid --root camvid --output out.json", "out.json"),
        ("data show camvid --root camvid --output out.png", "out.png"),
        ("weights convert model.safetensors out.safetensors --recipe attanet_light_camvid", "out.safetensors"),
        ("weights extract whole.pth out.safetensors", "out.safetensors"),
        ("weights push model.safetensors ./out --licence mit", "out/model.safetensors"),
    ],
)
def test_the_file_is_named_and_nothing_is_left(
    words: str, file: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path for path in desk.rglob("*") if path.is_file()}
    with full(100):
        assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith("segattn: error: ")
    assert error.endswith(f"{file}: can't be written (File too large)\n")
    assert {path for path in desk.rglob("*") if path.is_file()} == before
    with full(0):
        assert main(words.split()) == 2
    assert "can't be written (File too large)" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [0, 100, 2_000, 1_000_000, 4_000_000])
def test_a_training_names_the_file_and_goes_on_once_there_is_room(
    limit: int, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "attanet_light_camvid", "--data.root", str(camvid), "--output", str(tmp_path / "run"), *SHORT]
    with full(limit):
        assert main(words) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"segattn: error: {tmp_path / 'run'}/")
    assert last.endswith(": can't be written (File too large)")
    left = [
        path.name for path in (tmp_path / "run").iterdir() if path.suffix in (".pt", ".safetensors", ".part", ".lock")
    ]
    assert left == []
    assert main(words) == 0


def test_a_checkpoint_that_does_not_fit_leaves_the_old_one(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["train", "attanet_light_camvid", "--data.root", str(camvid), "--output", str(run), *SHORT]
    assert main([*words, "--schedule.iterations", "4", "--training.validate_every", "4"]) == 0
    files = {name: (run / name).read_bytes() for name in ("state.pt", "last.safetensors", "best.safetensors")}
    state = torch.load(run / "state.pt", weights_only=True)
    state["progress"] |= {"step": 1, "validated": 0}
    torch.save(state, run / "state.pt")
    files["state.pt"] = (run / "state.pt").read_bytes()
    capsys.readouterr()
    with full(100_000):
        assert main([*words, "--schedule.iterations", "4", "--training.validate_every", "4"]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last == f"segattn: error: {run / 'state.pt'}: can't be written (File too large)"
    assert {name: (run / name).read_bytes() for name in files} == files
    assert main([*words, "--schedule.iterations", "4", "--training.validate_every", "4"]) == 0
